"""Rule 34: prefill then decode that differs from decode alone, or a cache that a rejected draft changed."""

from __future__ import annotations

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "cache_equality"
RULE = "34"
_DIFFERENCES = {
    "window_edge_difference": "near the edge of the window",
    "chunk_edge_difference": "at the edge of a prefill chunk",
    "layout_switch_difference": "where the layout of the cache changes",
    "prefill_decode_difference": "between prefill + decode and decode alone",
}
_CHANGED = "rejected_draft_changed_cache"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Read what the parity tests of a runtime recorded: logit differences, and whether a rewind was complete."""
    findings: list[Finding] = []
    looked = False
    for entry in _with_run_facts(subject):
        limit = policy.cache_difference_float32 if entry.dtype == "float32" else policy.cache_difference
        for name, where in _DIFFERENCES.items():
            value = entry.fact(name)
            if not isinstance(value, int | float):
                continue
            looked = True
            if value > limit:
                said = f"logits differ by {value:.3g} {where}, more than the {limit:g} that rounding explains"
                findings.append(_finding(entry, said, {name: float(value)}))
        if entry.fact(_CHANGED) is not None:
            looked = True
            if entry.fact(_CHANGED) is True:
                findings.append(_finding(entry, "a rejected draft left its keys and values in the cache", {}))
    unseen = () if looked or not subject.rows else ("no comparison of prefill + decode with decode alone",)
    return Answer(tuple(findings), unseen)


def _with_run_facts(subject: Subject) -> list[Entry]:
    """Rows with the facts that their runs recorded under these names."""
    wanted = (*_DIFFERENCES, _CHANGED)
    found = []
    for entry in row_entries(subject):
        facts = {
            name: run.facts[name]
            for run in subject.runs()
            if run.variant == entry.row.name
            for name in wanted
            if name in run.facts
        }
        row = entry.row.model_copy(update={"facts": {**entry.row.facts, **facts}})
        found.append(Entry(subject, entry.table, entry.label, row))
    return found


def _finding(entry: Entry, said: str, numbers: dict[str, float | str]) -> Finding:
    cells = tuple(
        Cell(row=f.row, metric=f.metric, table=entry.label) for f in entry.table.figures if f.row == entry.row.name
    )
    return Finding(
        check=NAME,
        severity="ERR",
        cells=cells or (Cell(row=entry.row.name, metric="tpot_s", table=entry.label),),
        numbers=numbers,
        summary=f"{entry.name}: {said}",
        cause="keys and values at some positions are not those of these tokens: a mask, a position or a rewind is off",
        remedy="Compare position by position with a full forward, starting at the edge that is named",
    )
