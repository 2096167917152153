"""Rule 20: claims about compute units that the placement of operations or the other rows contradict."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries, varying
from assay.judge.checks.policy import CheckPolicy

NAME = "compute_units"
RULE = "20"
_METRICS = ("prefill_s", "forward_s", "call_s", "ttft_s", "tpot_s")
_OPS = ("cpu_ops", "gpu_ops", "ane_ops")
_VARIES = ("compute_units", "device", *_OPS)


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare the rows of one model on several units: with each other, and with where their operations ran."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for group in varying([entry for entry in entries(subject) if entry.text("compute_units")], *_VARIES):
        findings += [*_totals(group, policy), *_all_units(group, policy)]
        cpu = next((entry for entry in group if _units(entry) == {"cpu"}), None)
        for entry in group:
            if entry is cpu or _units(entry) == {"cpu"}:
                continue
            share = _accelerated(entry)
            if share is None:
                unseen[f"no placement of the operations of {entry.name}"] = None
            elif cpu is not None:
                findings += _not_used(entry, cpu, share, policy)
    return Answer(tuple(findings), tuple(unseen))


def _units(entry: Entry) -> set[str]:
    text = entry.text("compute_units").casefold()
    found = {unit for unit, words in _WORDS.items() if any(word in text for word in words)}
    return {"cpu", "gpu", "ane"} if "all" in text else found


_WORDS = {"cpu": ("cpu",), "gpu": ("gpu",), "ane": ("ane", "neural", "npu")}


def _ops(entry: Entry) -> dict[str, float]:
    return {name: float(value) for name in _OPS if isinstance(value := entry.fact(name), int | float)}


def _accelerated(entry: Entry) -> float | None:
    ops = _ops(entry)
    total = sum(ops.values())
    return None if total <= 0 else 1 - ops.get("cpu_ops", 0.0) / total


def _not_used(entry: Entry, cpu: Entry, share: float, policy: CheckPolicy) -> list[Finding]:
    found = []
    for metric in _METRICS:
        ours, theirs = entry.value(metric), cpu.value(metric)
        if (
            ours is None
            or theirs is None
            or share >= policy.accelerated_ops
            or ours >= policy.accelerated_time * theirs
        ):
            continue
        found.append(
            Finding(
                check=NAME,
                severity="ERR",
                cells=(entry.cell(metric), cpu.cell(metric)),
                numbers={"accelerated_share": share, "seconds": ours, "cpu_seconds": theirs},
                summary=f"{entry.name} takes {ours:.4g} s, {cpu.name} {theirs:.4g} s ({metric}), and only "
                f"{share:.1%} of its "
                "operations ran on an accelerator",
                cause="the placement and the times are not of the same model or run",
                remedy="Take the placement and the time from one run, and print both for each row",
            )
        )
    return found


def _totals(group: list[Entry], policy: CheckPolicy) -> list[Finding]:
    totals = [(sum(ops.values()), entry) for entry in group if (ops := _ops(entry))]
    if len(totals) < 2:
        return []
    (least, few), (most, many) = min(totals, key=lambda t: t[0]), max(totals, key=lambda t: t[0])
    if most <= (1 + policy.op_totals) * least:
        return []
    cells = tuple(cell for _, entry in totals for cell in entry.cells(*_METRICS))
    return [
        Finding(
            check=NAME,
            severity="INFO",
            cells=cells,
            numbers={"least": least, "most": most},
            summary=f"{few.name} has {least:g} operations and {many.name} {most:g}, of one model",
            cause="units fuse operations differently, or the rows are of different models; the totals alone do "
            "not tell",
            remedy="Compare the outputs of both on one input",
        )
    ] if cells else []  # fmt: skip


def _all_units(group: list[Entry], policy: CheckPolicy) -> list[Finding]:
    found = []
    for metric in _METRICS:
        every = [e for e in group if "all" in e.text("compute_units").casefold() and e.value(metric) is not None]
        single = [e for e in group if e not in every and e.value(metric) is not None]
        if not every or not single:
            continue
        best = min(single, key=lambda e: e.value(metric) or 0.0)
        ours, theirs = every[0].value(metric) or 0.0, best.value(metric) or 0.0
        if theirs <= 0 or ours <= policy.all_units * theirs:
            continue
        found.append(
            Finding(
                check=NAME,
                severity="WARN",
                cells=(every[0].cell(metric), best.cell(metric)),
                numbers={"all_s": ours, "best_s": theirs},
                summary=f"{every[0].name} takes {ours:.4g} s and {best.name} alone {theirs:.4g} s ({metric})",
                cause="cause unknown; copies between units, or a planner that chose worse than the restriction "
                "does, do this",
                remedy="Look at the placement of both, and ship the restriction that is faster",
            )
        )
    return found
