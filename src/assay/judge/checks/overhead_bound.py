"""Rule 10: time that does not grow with the work: launches dominate, so precision cannot matter."""

from __future__ import annotations

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject, number
from assay.judge.checks.figures import entries
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import Timed, flat_layers, timed

NAME = "overhead_bound"
RULE = "10"
_BLOCKED = "no conclusion on precision or quantisation can rest on these rows: the products are not what takes the time"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare time per layer with FLOPs per layer over sizes, and times with the floor of their dispatches."""
    findings = list(_per_layer(subject, policy))
    floored, unseen = _floor(subject, policy)
    return Answer((*findings, *floored), unseen)


def _per_layer(subject: Subject, policy: CheckPolicy) -> list[Finding]:
    findings: list[Finding] = []
    for metric, flat in flat_layers(subject, policy):
        cells = tuple(dict.fromkeys(cell for pair in flat for cell in (pair[0].cell, pair[1].cell)))
        findings.append(_finding(metric, cells, flat[-1]))
    return findings


def _finding(metric: str, cells: tuple[Cell, ...], pair: tuple[Timed, Timed]) -> Finding:
    small, large = pair
    assert small.entry.shape is not None
    assert large.entry.shape is not None
    per_layer = small.seconds / small.entry.shape.layers, large.seconds / large.entry.shape.layers
    work = large.entry.shape.flops_per_token_and_layer / small.entry.shape.flops_per_token_and_layer
    return Finding(
        check=NAME,
        severity="WARN",
        cells=cells,
        numbers={"small_s_per_layer": per_layer[0], "large_s_per_layer": per_layer[1], "work_ratio": work},
        summary=f"a layer takes {1e3 * per_layer[0]:.4g} ms in {small.entry.name} and {1e3 * per_layer[1]:.4g} ms in "
        f"{large.entry.name}, which has {work:.3g} x the operations in each ({metric}): {_BLOCKED}",
        cause="the time of a layer does not depend on its size: launching operations takes it",
        remedy="Use a larger batch or longer sequences, or fewer and larger operations (compilation, captured graphs)",
    )


def _floor(subject: Subject, policy: CheckPolicy) -> tuple[list[Finding], tuple[str, ...]]:
    if not subject.rows:
        return [], ()
    if subject.roofs is None or subject.roofs.kind != "measured":
        return [], ("no measured dispatch floor (assay doctor --measure)",)
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    dispatches = {run.variant: run.facts["dispatches"] for run in subject.runs() if "dispatches" in run.facts}
    for entry in entries(subject):
        count, runtime = dispatches.get(entry.row.name), entry.text("runtime")
        floor = number(subject.roofs.dispatch_floor_s.get(runtime))
        if not isinstance(count, int) or floor is None:
            unseen[f"no number of dispatches of {entry.row.name}, or no floor of {runtime or 'its runtime'}"] = None
            continue
        least = count * floor
        short = [each for each in timed(entry) if each.seconds < policy.dispatch_floors * least]
        findings += [
            Finding(
                check=NAME,
                severity="WARN",
                cells=(each.cell,),
                numbers={"seconds": each.seconds, "dispatches": float(count), "floor_s": floor},
                summary=f"{entry.name} takes {each.seconds:.4g} s, of which {count} dispatches take {least:.3g} s at "
                f"least: {_BLOCKED}",
                cause="launching operations takes a large part of the time",
                remedy="Use a larger batch or model, or fewer and larger operations (compilation)",
            )
            for each in short
            if each.kind in ("prefill", "decode")
        ]
    return findings, tuple(unseen)
