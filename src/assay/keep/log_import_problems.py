"""What in an imported log contradicts what, does not add up, or is missing. It refuses to say which side is right."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

from assay.core.decisions import NEEDS_RUNS, NEEDS_TRIGGER, WITHOUT_RESULTS, Status
from assay.core.imported_log import ImportedEntry, ImportedProblem
from assay.core.records import Absent

Bodies = Mapping[int, Sequence[tuple[int, str]]]
FindStatus = Callable[[str], tuple[Status, str] | None]

_NUMBER = r"[-+−]?\d[\d,]*(?:\.\d+)?"
_CHANGE = re.compile(
    rf"(?P<a>{_NUMBER})\s*(?P<ua>[^\s\d(),;→>-]*)\s*(?:->|→|=>|\bto\b)\s*(?P<b>{_NUMBER})\s*(?P<ub>[^\s\d(),;]*)"
    rf"\s*[(,;:]\s*(?:about |~|≈|i\.e\. |a )?(?:(?P<percent>[-+−]?\d+(?:\.\d+)?)\s?%(?P<way>[^),;.]*)"
    rf"|(?:[x×](?P<times1>\d+(?:\.\d+)?)|(?P<times2>\d+(?:\.\d+)?)\s?[x×](?!\w)))"
)
_SUM = re.compile(
    rf"(?P<terms>{_NUMBER}(?:\s*[^\s\d+=]{{0,6}}\s*\+\s*{_NUMBER})+)\s*[^\s\d+=]{{0,6}}\s*=\s*(?P<sum>{_NUMBER})"
)
_NEVER = re.compile(
    r"\b(?:never again|do not (?:re-?)?try|don'?t (?:re-?)?try|never try|will not revisit)\b", re.IGNORECASE
)
_HOPED = re.compile(
    r"\b(?:expected|should (?:give|be|reach)|projected|estimated|predicted|we hope|theoretical)\b", re.IGNORECASE
)
_MEASURED = re.compile(r"\b(?:measured|observed|benchmark(?:ed)?|actual(?:ly)?)\b", re.IGNORECASE)
_POSITIVE = frozenset({"shipping", "prototype", "in_training"})
_SLACK = 0.5
"""A printed figure is true to half of its last digit."""


def problems_of(entries: Sequence[ImportedEntry], bodies: Bodies, find: FindStatus) -> tuple[ImportedProblem, ...]:
    """Everything that a careful reader would stumble over, by the lines where it stands."""
    found = [
        *_two_statuses(entries, bodies, find),
        *_reversed(entries, bodies),
        *_tables(entries, bodies, find),
        *_arithmetic(bodies),
        *_baselines(entries),
        *_missing(entries),
        *_predictions(entries, bodies),
    ]
    return tuple(sorted(found, key=lambda problem: problem.lines))


def _name(entry: ImportedEntry) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", entry.title.lower()))


def _alike(first: str, second: str) -> bool:
    """Whether two titles name one idea: most words of the shorter stand in the longer."""
    a, b = set(first.split()), set(second.split())
    return bool(a and b) and len(a & b) >= 0.75 * min(len(a), len(b)) and len(a & b) >= min(2, len(a), len(b))


def _two_statuses(entries: Sequence[ImportedEntry], bodies: Bodies, find: FindStatus) -> Iterator[ImportedProblem]:
    """A heading that says one status, and a line `Status:` under it that says another."""
    for entry in entries:
        for line, text in bodies[entry.line]:
            stated = re.match(
                r"^\W*(?:status|verdict|decision)\W*[:=](?P<text>.+)$", text.replace("*", ""), re.IGNORECASE
            )
            said = find(stated["text"]) if stated else None
            if said and not isinstance(entry.status, Absent) and said[0] != entry.status:
                yield ImportedProblem(
                    kind="contradiction",
                    lines=(entry.line, line),
                    found=f"{entry.title}: the heading says {entry.said!r}, its text says {said[1]!r}",
                )


def _reversed(entries: Sequence[ImportedEntry], bodies: Bodies) -> Iterator[ImportedProblem]:
    """Two entries on one idea whose statuses differ; a `never again` that did not last."""
    for first, second in combinations(entries, 2):
        if isinstance(first.status, Absent) or isinstance(second.status, Absent) or first.status == second.status:
            continue
        if not _alike(_name(first), _name(second)):
            continue
        never = [line for entry in (first, second) if entry.status not in _POSITIVE
                 for line, text in bodies[entry.line] if _NEVER.search(text)]  # fmt: skip
        dates = [date for entry in (first, second) if isinstance(date := entry.date, str)]
        when = f" ({' and '.join(dates)})" if dates else ""
        more = "; one of them says never again" if never else ""
        yield ImportedProblem(
            kind="contradiction",
            lines=(first.line, second.line, *never),
            found=f"{first.title} is {first.said!r}, {second.title} is {second.said!r}{when}{more}",
        )


def _tables(entries: Sequence[ImportedEntry], bodies: Bodies, find: FindStatus) -> Iterator[ImportedProblem]:
    """A row of a summary that names an entry and gives it another status."""
    for lines in bodies.values():
        for line, text in lines:
            if not text.lstrip().startswith("|"):
                continue
            cells = [cell.strip(" *`") for cell in text.strip().strip("|").split("|")]
            said = next((status for cell in cells[1:] if len(cell) < 40 and (status := find(cell))), None)
            title = " ".join(re.findall(r"[a-z0-9]+", cells[0].lower()))
            for entry in entries:
                same = title and (title == _name(entry) or _alike(title, _name(entry)))
                if said and same and not isinstance(entry.status, Absent) and said[0] != entry.status:
                    yield ImportedProblem(
                        kind="contradiction",
                        lines=(entry.line, line),
                        found=f"{entry.title}: its heading says {entry.said!r}, the table says {said[1]!r}",
                    )


def _arithmetic(bodies: Bodies) -> Iterator[ImportedProblem]:
    for lines in bodies.values():
        for line, text in lines:
            for found in _CHANGE.finditer(text):
                yield from _change(line, found)
            for found in _SUM.finditer(text):
                terms = re.findall(_NUMBER, found["terms"])
                total, slack = sum(_value(term) for term in terms), sum(_last_digit(term) for term in terms)
                if abs(total - _value(found["sum"])) > _SLACK * (slack + _last_digit(found["sum"])):
                    yield ImportedProblem(
                        kind="does not add up", lines=(line,), found=f"{found.group()}: the sum is {total:g}"
                    )


def _change(line: int, found: re.Match[str]) -> Iterator[ImportedProblem]:
    """A change from a to b whose percentage or factor is neither b/a nor a/b within what was printed."""
    if found["ua"] and found["ub"] and found["ua"] != found["ub"]:
        return
    a, b = _value(found["a"]), _value(found["b"])
    if a == 0 or b == 0:
        return
    spread = _SLACK * (_last_digit(found["a"]) / abs(a) + _last_digit(found["b"]) / abs(b))
    if found["percent"]:
        said, digit = _value(found["percent"]), _last_digit(found["percent"])
        true = 100 * (b / a - 1)
        signed = found["percent"][0] in "+-−"
        # By how much it changed; unsigned also: less by that, to that share, or by how much the other way round.
        wanted = (
            [(true, b / a)]
            if signed
            else [(true, b / a), (-true, b / a), (100 * b / a, b / a), (100 * a / b - 100, a / b)]
        )
        if min(abs(said - value) - 100 * spread * ratio for value, ratio in wanted) > _SLACK * digit:
            yield ImportedProblem(
                kind="does not add up", lines=(line,), found=f"{found.group()}: from {a:g} to {b:g} is {true:+.1f} %"
            )
        return
    printed = found["times1"] or found["times2"]
    said, digit = _value(printed), _last_digit(printed)
    ratios = (b / a, a / b)
    if min(abs(said - ratio) - spread * ratio for ratio in ratios) > _SLACK * digit:
        yield ImportedProblem(
            kind="does not add up", lines=(line,), found=f"{found.group()}: from {a:g} to {b:g} is {max(ratios):.3g} x"
        )


def _baselines(entries: Sequence[ImportedEntry]) -> Iterator[ImportedProblem]:
    """A baseline that is another number elsewhere."""
    by_label = defaultdict(list)
    for entry in entries:
        for figure in entry.figures:
            if "baseline" in figure.label.lower() and figure.unit not in ("%", "x"):
                by_label[figure.unit].append(figure)
    for unit, figures in by_label.items():
        values = sorted({figure.value for figure in figures})
        if len(values) > 1 and values[0] > 0 and values[-1] > 1.02 * values[0]:
            yield ImportedProblem(
                kind="contradiction",
                lines=tuple(figure.line for figure in figures),
                found=f"the baseline has {len(values)} values: {', '.join(f'{value:g} {unit}' for value in values)}",
            )


def _missing(entries: Sequence[ImportedEntry]) -> Iterator[ImportedProblem]:
    for entry in entries:
        status = entry.status
        if isinstance(status, Absent):
            continue
        if status in NEEDS_RUNS and not entry.figures:
            yield ImportedProblem(
                kind="missing", lines=(entry.line,), found=f"{entry.title}: {entry.said!r} without a number"
            )
        if status in NEEDS_TRIGGER and not entry.trigger:
            yield ImportedProblem(
                kind="missing", lines=(entry.line,), found=f"{entry.title}: {entry.said!r}, and nothing would reopen it"
            )


def _predictions(entries: Sequence[ImportedEntry], bodies: Bodies) -> Iterator[ImportedProblem]:
    """Predictions that stand where results belong, and results of what is only planned."""
    for entry in entries:
        lines = {figure.line for figure in entry.figures}
        told = [(line, text) for line, text in bodies[entry.line] if line in lines]
        hoped = [line for line, text in told if _HOPED.search(text)]
        if entry.status in NEEDS_RUNS and told and len(hoped) == len(told):
            yield ImportedProblem(
                kind="contradiction",
                lines=(entry.line, *hoped),
                found=f"{entry.title}: {entry.said!r}, and every number is a prediction",
            )
        measured = [line for line, text in told if _MEASURED.search(text) and not _HOPED.search(text)]
        if entry.status in WITHOUT_RESULTS and measured:
            yield ImportedProblem(
                kind="contradiction",
                lines=(entry.line, *measured),
                found=f"{entry.title}: {entry.said!r}, with results",
            )


def _value(printed: str) -> float:
    return float(printed.replace(",", "").replace("−", "-").replace("+", ""))


def _last_digit(printed: str) -> float:
    """The unit of the last printed digit: 0.1 of `25.4`."""
    return 10.0 ** -len(printed.partition(".")[2])
