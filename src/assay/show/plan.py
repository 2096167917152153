"""What a study will cost, as text, Markdown or JSON. It computes no number and shortens none."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from assay.core.records import Absent, Measured, Plan, PlannedCell, PlannedVariant
from assay.show.format import MISSING, bytes_text, one_line, significant

FORMATS = ("table", "markdown", "json")
_WIDTH = 80
_GAP = "  "

Table = tuple[str, list[str], list[list[str]]]
"""Title, headers, and rows whose first text is the variant."""


def render_plan(plan: Plan, format_name: str = "table") -> str:
    """A plan in one of `FORMATS`; the table fits 80 columns."""
    if format_name == "json":
        return plan.model_dump_json(indent=2)
    return "\n".join(_markdown(plan) if format_name == "markdown" else _text(plan))


def _text(plan: Plan) -> Iterator[str]:
    yield from _wrapped(f"Plan of {one_line(plan.name)}: {one_line(plan.model)}. Nothing was built or measured.")
    for line in _head(plan):
        yield from _wrapped(line)
    for title, headers, rows in _tables(plan):
        yield ""
        yield title
        yield from _aligned(headers, rows)
    yield ""
    for line in _remarks(plan):
        yield from _wrapped(line)


def _markdown(plan: Plan) -> Iterator[str]:
    yield f"# Plan of {_escaped(plan.name)}: {_escaped(plan.model)}"
    yield ""
    for line in _head(plan):
        yield f"{_escaped(line)}  "
    for title, headers, rows in _tables(plan):
        yield ""
        yield f"## {title}"
        yield ""
        yield f"| {' | '.join(headers)} |"
        yield f"|---|{'---:|' * (len(headers) - 1)}"
        for row in rows:
            yield f"| {' | '.join(map(_escaped, row))} |"
    yield ""
    for line in _remarks(plan):
        yield f"- {_escaped(line)}"


def _head(plan: Plan) -> Iterator[str]:
    kinds = {
        "measured": "Predicted for this machine",
        "published": "Predicted for hardware that is not here",
        "none": "No time is predicted",
    }
    yield f"{kinds[plan.roofs.kind]}: {one_line(plan.roofs.name)} ({one_line(plan.roofs.source)})"
    together = f"Memory of all workers of a round: at least {_bytes(plan.together_bytes)}"
    if isinstance(plan.available_bytes, Absent):
        yield f"{together} ({one_line(plan.available_bytes.reason)})"
    else:
        yield f"{together}; available: {_bytes(plan.available_bytes)}"


def _tables(plan: Plan) -> Iterator[Table]:
    headers = ["variant", "on disk", "bits per weight", "in memory", "worker"]
    yield "weights", headers, [_variant(row) for row in plan.rows]
    for workload in dict.fromkeys(cell.workload for cell in plan.cells):
        cells = [cell for cell in plan.cells if cell.workload == workload]
        if all(cell.tokens == 0 for cell in cells) and workload == "load":
            continue
        headers = ["variant", "FLOPs", "bytes", "memory", "operations", "predicted", "tok/s", "bound"]
        yield one_line(workload), headers, [_cell(cell) for cell in cells]


def _variant(row: PlannedVariant) -> list[str]:
    name = one_line(row.name)
    if isinstance(row.artifact, Absent):
        return [name, *[MISSING] * 4]
    sizes = row.artifact
    return [
        name,
        bytes_text(sizes.weight_bytes),
        significant(sizes.bits_per_weight, 4),
        bytes_text(sizes.resident_weight_bytes),
        _bytes(row.memory_bytes),
    ]


def _cell(cell: PlannedCell) -> list[str]:
    return [
        one_line(cell.row),
        _scaled(cell.flops, (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))),
        _bytes(cell.bytes_moved),
        _bytes(cell.memory_bytes),
        MISSING if isinstance(cell.dispatches, Absent) else f"{cell.dispatches:.0f}",
        _scaled(cell.seconds, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))),
        MISSING if isinstance(cell.tokens_per_s, Absent) else significant(cell.tokens_per_s, 3),
        MISSING if isinstance(cell.bound, Absent) else cell.bound,
    ]


def _remarks(plan: Plan) -> Iterator[str]:
    yield from (f"Warning: {one_line(warning)}" for warning in plan.warnings)
    yield "Memory is what a worker needs at least; the runtime's own process comes on top."
    reasons: dict[str, list[str]] = {}
    for cell in plan.cells:
        for title, value in (("FLOPs", cell.flops), ("time", cell.seconds), ("launching", cell.dispatch_s)):
            if isinstance(value, Absent) and cell.workload != "load":
                reasons.setdefault(one_line(value.reason), []).append(title)
    for reason, titles in reasons.items():
        yield f"Missing ({', '.join(dict.fromkeys(titles))}): {reason}"


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be; names too long for the line stand on a line of their own."""
    lines = [list(headers), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headers))]
    apart = sum(widths) + len(_GAP) * (len(widths) - 1) > _WIDTH
    for line in lines:
        numbers = _GAP.join(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        if apart:
            yield line[0]
            yield f"{_GAP}{numbers}"
        else:
            yield f"{line[0].ljust(widths[0])}{_GAP}{numbers}"


def _wrapped(line: str) -> Iterator[str]:
    yield from textwrap.wrap(line, _WIDTH, subsequent_indent=_GAP, break_long_words=False) or [""]


def _bytes(value: Measured) -> str:
    return MISSING if isinstance(value, Absent) else bytes_text(value)


def _scaled(value: Measured, units: Sequence[tuple[str, float]]) -> str:
    if isinstance(value, Absent):
        return MISSING
    unit, size = next((scale for scale in units if value >= scale[1]), units[-1])
    return f"{significant(value / size, 3)} {unit}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
