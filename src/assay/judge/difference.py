"""From two results to what changed between them. It refuses to call a change a speed-up: they were measured apart."""

from __future__ import annotations

from assay.core.difference import CellChange, ChangeKind, Difference, StatusChange
from assay.core.records import Absent, Estimate, Measured, Result, Row
from assay.judge.evidence import environment_differences, said

_NOT_IN = Absent(reason="this result does not have it")


def difference(before: Result, after: Result) -> Difference:
    """What changed from one result to another, numbers in the order of the later one's rows."""
    old, new = ({row.name: row for row in result.rows} for result in (before, after))
    both = [name for name in new if name in old]
    cells = [_cell(old[name], new[name], metric) for name in both for metric in _metrics(old[name], new[name])]
    changed = tuple(cell for cell in cells if cell is not None)
    gone, found = ({(f.check, f.summary): f"{f.severity} {f.summary}" for f in r.findings} for r in (before, after))
    return Difference(
        before=_title(before),
        after=_title(after),
        surroundings=_surroundings(before, after),
        rows_gone=tuple(name for name in old if name not in new),
        rows_new=tuple(name for name in new if name not in old),
        statuses=_statuses(before, after, both),
        cells=changed,
        unchanged=len(cells) - len(changed),
        findings_gone=tuple(text for key, text in gone.items() if key not in found),
        findings_new=tuple(text for key, text in found.items() if key not in gone),
    )


def _title(result: Result) -> str:
    return f"{result.name} ({result.study[:12]}, {result.created_utc})"


def _surroundings(before: Result, after: Result) -> tuple[str, ...]:
    pairs = (
        ("model", before.model.digest[:12], after.model.digest[:12]),
        ("text of the quality", before.text, after.text),
    )
    told = [f"{name}: {said(a)} against {said(b)}" for name, a, b in pairs if a != b]
    return (*environment_differences(before.environment, after.environment), *told)


def _metrics(old: Row, new: Row) -> list[str]:
    return list(dict.fromkeys([*new.metrics, *old.metrics]))


def _statuses(before: Result, after: Result, both: list[str]) -> tuple[StatusChange, ...]:
    old, new = ({verdict.variant: verdict.status for verdict in result.verdicts} for result in (before, after))
    return tuple(
        StatusChange(row=name, before=old[name], after=new[name])
        for name in both
        if name in old and name in new and old[name] != new[name]
    )


def _cell(old: Row, new: Row, metric: str) -> CellChange | None:
    """The change of one number, or None where there is none."""
    before, after = old.metrics.get(metric, _NOT_IN), new.metrics.get(metric, _NOT_IN)
    if isinstance(before, Absent) and isinstance(after, Absent):
        return None
    if isinstance(before, Absent) or isinstance(after, Absent):
        return CellChange(
            row=new.name,
            metric=metric,
            before=before,
            after=after,
            ratio=before if isinstance(before, Absent) else Absent(reason="the later result does not have it"),
            kind="appeared" if isinstance(before, Absent) else "vanished",
        )
    (low, was, high), (bottom, now, top) = _bounds(before), _bounds(after)
    if (low, was, high) == (bottom, now, top):
        return None
    ratio: Measured = now / was if was else Absent(reason="the earlier value is 0")
    kind: ChangeKind = "apart" if top < low or high < bottom else "within"
    if not isinstance(before, Estimate) and not isinstance(after, Estimate):
        kind = "exact"
    return CellChange(row=new.name, metric=metric, before=before, after=after, ratio=ratio, kind=kind)


def _bounds(value: float | Estimate) -> tuple[float, float, float]:
    return (value.low, value.value, value.high) if isinstance(value, Estimate) else (value, value, value)
