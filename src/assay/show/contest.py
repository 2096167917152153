"""A contest of two programs as a table of 80 columns, markdown or JSON. It computes no number."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from assay.core.errors import InputError
from assay.core.metrics import METRICS
from assay.core.records import Absent, Comparison, Contest, ContestSide, Estimate, Measured
from assay.show import format as shown
from assay.show.view import words

CONTEST_FORMATS = ("table", "markdown", "json")
WIDTH = 80

_ROWS = ("call_s", "call_p90_s", "call_p99_s", "call_cpu_s", "first_call_s", "import_s", "peak_rss_bytes")
_TITLES = {"import_s": "import of its module"}
_TIMES = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_DIGITS = 4


def render_contest(contest: Contest, format_: str = "table", *, colour: bool = False) -> str:
    """The contest in one of `CONTEST_FORMATS`.

    Raises:
        InputError: a contest has no such format.
    """
    match format_:
        case "table":
            return "\n".join(_table(contest, colour))
        case "markdown":
            return "\n".join(_markdown(contest))
        case "json":
            return contest.model_dump_json(indent=2)
    raise InputError(
        f"The format {format_!r} was asked for",
        "a comparison of two programs has none",
        f"Use {', '.join(CONTEST_FORMATS)}",
    )


# ------------------------------------------------------------------------------------------------ what is told


def _rows(contest: Contest) -> Iterator[tuple[str, str, str]]:
    """Title with unit, first side, second side; a row that neither has measured is a note."""
    for metric in _ROWS:
        values = [side.metrics.get(metric) for side in contest.sides]
        numbers = [_number(value) for value in values if value is not None and not isinstance(value, Absent)]
        if numbers:
            unit, factor = _scale(metric, min(numbers))
            title = _TITLES.get(metric, METRICS[metric].title)
            first, second = (_cell(value, factor) for value in values)
            yield f"{title}, {unit}", first, second


def _scale(metric: str, smallest: float) -> tuple[str, float]:
    if METRICS[metric].unit == "B":
        return "MB", 1e6
    return next(((unit, factor) for unit, factor in _TIMES if smallest >= factor), _TIMES[-1])


def _number(value: Measured | Estimate) -> float:
    if isinstance(value, Absent):
        return 0.0
    return value.value if isinstance(value, Estimate) else value


def _cell(value: Measured | Estimate | None, factor: float) -> str:
    if value is None or isinstance(value, Absent):
        return shown.MISSING
    if not isinstance(value, Estimate):
        return shown.significant(value / factor, _DIGITS)
    centre, low, high = (shown.significant(each / factor, _DIGITS) for each in (value.value, value.low, value.high))
    return f"{centre} ({low} … {high})"


def _headline(contest: Contest) -> str:
    found = contest.comparison
    verdict = {
        "better": "B is faster than A",
        "worse": "B is slower than A",
        "equivalent": "A and B are equivalent",
        "inconclusive": "Inconclusive",
        "not_comparable": "Not comparable",
    }[found.outcome]
    return f"{verdict}: {_ratio(found)}{shown.one_line(found.reason)}."


def _ratio(found: Comparison) -> str:
    if isinstance(found.ratio, Absent):
        return ""
    return f"B / A = {shown.ratio(found.ratio)} ({shown.ratio_interval(found.ratio)}); "


def _sentences(contest: Contest) -> Iterator[str]:
    """Everything beside the table, each a line of its own."""
    found, null = contest.comparison, contest.null_comparison
    if found.outcome == "inconclusive":
        effect = found.smallest_effect
        if isinstance(effect, Absent):
            yield f"Smallest effect that would have been found: unknown ({effect.reason})."
        else:
            yield f"Smallest effect found 4 times out of 5 with these rounds: {shown.percent(effect)}."
    for each in contest.further:
        title = METRICS[each.metric].title
        yield f"{title} (decides nothing): {_ratio(each)}{words(each.outcome)}."
    if found.outcome != "not_comparable":
        yield f"Noise, A against itself: {_ratio(null).replace('B / A', 'A / A')}{words(null.outcome)}."
    yield from (f"{note}." for note in contest.notes)
    yield from (
        f"{finding.severity} {finding.check}: {finding.summary}. {finding.remedy}." for finding in contest.findings
    )
    yield from _absent(contest.sides)
    if not contest.complete and found.outcome != "not_comparable":
        yield "The comparison ended before it was decided: more time (--budget) or rounds (--rounds) may decide it."


def _absent(sides: Sequence[ContestSide]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for side in (side for side in sides if side.calls):
        for metric in _ROWS:
            value = side.metrics.get(metric)
            if isinstance(value, Absent):
                reasons.setdefault(f"{METRICS[metric].title}: {shown.one_line(value.reason)}", []).append(side.name)
    yield from (f"{' and '.join(names)}, no {reason}." for reason, names in reasons.items())


def _taken(contest: Contest) -> str:
    machine = contest.environment.machine
    rounds = f"{contest.rounds} round{'' if contest.rounds == 1 else 's'}"
    calls = " and ".join(str(side.calls) for side in contest.sides)
    return f"{machine.system} {machine.architecture}, {rounds}, {calls} samples, {shown.duration(contest.elapsed_s)}"


# ------------------------------------------------------------------------------------------------ how it looks

_COLOURS = {"better": "32", "worse": "31", "equivalent": "36", "inconclusive": "33", "not_comparable": "31"}


def _table(contest: Contest, colour: bool) -> Iterator[str]:
    for side in contest.sides:
        yield from _wrapped(f"{side.name}: {shown.one_line(side.program)}", "   ")
    yield from _wrapped(f"{_taken(contest)}; {contest.sides[0].placement}")
    yield ""
    rows = [("", *(side.name for side in contest.sides)), *_rows(contest)]
    if len(rows) > 1:
        widths = [max(cell_len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            yield "  ".join(
                cell.ljust(width) if not column else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        yield ""
    for line in _wrapped(_headline(contest)):
        yield f"\x1b[{_COLOURS[contest.comparison.outcome]}m{line}\x1b[0m" if colour else line
    for sentence in _sentences(contest):
        yield from _wrapped(f"- {sentence}", "  ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _markdown(contest: Contest) -> Iterator[str]:
    yield f"**{_escaped(_headline(contest))}**"
    yield ""
    yield from (f"- {side.name}: {_code(side.program)}" for side in contest.sides)
    yield ""
    yield f"{_escaped(_taken(contest))}; {_escaped(contest.sides[0].placement)}."
    yield ""
    yield f"| | {' | '.join(side.name for side in contest.sides)} |"
    yield "|---|---:|---:|"
    yield from (f"| {' | '.join(row)} |" for row in _rows(contest))
    yield ""
    yield from (f"- {_escaped(sentence)}" for sentence in _sentences(contest))


def _code(text: str) -> str:
    line = shown.one_line(text)
    fence = "``" if "`" in line else "`"
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def _escaped(text: str) -> str:
    for letter in "\\`*_<>|":
        text = text.replace(letter, f"\\{letter}")
    return text
