"""Reads a decision log in Markdown: headings with a status, prose, numbers. It refuses to believe any of them.

What contradicts what, or does not add up, is looked for in `log_import_problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay.core.decisions import Status
from assay.core.errors import InputError
from assay.core.imported_log import ImportedEntry, ImportedFigure, ImportedLog
from assay.core.records import Absent
from assay.keep.log_import_problems import problems_of

_MAX_BYTES = 16 << 20
_WORDS: dict[Status, str] = {
    "shipping": r"shipping|shipped|ship it|adopted|accepted|merged|landed|in production|✅",
    "rejected": r"rejected|no-go|dead end|negative result|does not help|didn'?t help|❌",
    "abandoned": r"abandoned|dropped|given up",
    "shelved": r"shelved|parked|deferred|on hold|paused|postponed|⏸",
    "in_training": r"in training|training now",
    "prototype": r"prototype|experimental|wip|work in progress|proof of concept|🚧",
    "measured": r"measured|benchmarked",
    "planned": r"planned|todo|proposed|not started",
}
_STATUS = re.compile(
    "|".join(f"(?P<{status}>(?<![\\w-])(?:{words})(?![\\w-]))" for status, words in _WORDS.items()), re.IGNORECASE
)
_HEADING = re.compile(r"^(?P<level>#{1,6})\s+(?P<text>.+?)\s*#*\s*$")
_STATUS_LINE = re.compile(r"^\W*(?:status|verdict|decision|outcome)\W*[:=]\W*(?P<text>.+)$", re.IGNORECASE)
_ENTRY_TAIL = re.compile(r"(?:[\[(—–|:·]|\s-\s)(?P<tail>[^\[(—–|:·]*)[\])]?\s*$")
_DATE = re.compile(r"\b(20\d\d-[01]\d-[0-3]\d)\b")
_DATE_IN_HEADING = re.compile(r"\s*[\[(,]?\s*\b20\d\d-[01]\d-[0-3]\d\b\s*[\])]?")
UNIT = (
    r"tok(?:ens)?/s(?:ec)?|t/s|GB/s|[GT]FLOP/?s|ms|µs|us|min|[GMk]i?B|nats|dB|bits?|mJ|mW|%|[x×](?!\w)|[sWJh](?![\w/])"
)
_FIGURE = re.compile(rf"(?<![\w.,-])(?P<value>[-+−]?\d[\d,]*(?:\.\d+)?)\s?(?P<unit>{UNIT})")
_RATIO = re.compile(r"(?<!\w)[x×](?P<value>\d+(?:\.\d+)?)")
_REOPENS = re.compile(
    r"\b(?:revisit|re-?open|re-?try|look again|re-?visit|unless|until|once|when .* (?:ships?|lands?|available))\b",
    re.IGNORECASE,
)


@dataclass
class _Section:
    """A heading and the lines under it, before the next one."""

    line: int
    level: int
    text: str
    body: list[tuple[int, str]] = field(default_factory=list)


def read_log(path: Path) -> ImportedLog:
    """The entries of a log, and its problems.

    Raises:
        InputError: the file cannot be read, is no UTF-8 text, or has no entry.
    """
    asked = f"The decision log {str(path)!r} was asked for"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(asked, f"it is larger than {_MAX_BYTES} bytes", "Name a Markdown file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(asked, f"it cannot be read ({error.strerror})", "Name a readable file") from None
    except UnicodeDecodeError as error:
        raise InputError(asked, f"byte {error.start} is not UTF-8", "Save it as UTF-8 text") from None
    return parse_log(text, str(path))


def parse_log(text: str, name: str) -> ImportedLog:
    """The entries and problems of a log's text.

    Raises:
        InputError: no heading of it has a status or a figure.
    """
    sections = list(_sections(text.splitlines()))
    entries = _entries(sections)
    if not entries:
        raise InputError(
            f"The decision log {name!r} was asked for",
            "no heading in it has a status or a figure under it",
            "Give each experiment a heading such as `## INT8 weights - REJECTED`",
        )
    bodies = {section.line: tuple(section.body) for section in sections}
    return ImportedLog(file=name, entries=entries, problems=problems_of(entries, bodies, status_in))


def status_in(text: str) -> tuple[Status, str] | None:
    """The first status that a text names, and its words."""
    found = _STATUS.search(text)
    if found is None:
        return None
    status: Status = next(status for status in _WORDS if found.group(status))
    return status, found.group()


def _sections(lines: Sequence[str]) -> Iterator[_Section]:
    current: _Section | None = None
    fenced = False
    for number, line in enumerate(lines, start=1):
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading:
            if current:
                yield current
            current = _Section(number, len(heading["level"]), heading["text"])
        elif current:
            current.body.append((number, line))
    if current:
        yield current


def _entries(sections: Sequence[_Section]) -> tuple[ImportedEntry, ...]:
    entries: list[ImportedEntry] = []
    groups: list[tuple[int, Status, str]] = []
    for section in sections:
        groups = [group for group in groups if group[0] < section.level]
        if _is_group(section):
            named = status_in(section.text)
            if named:
                groups.append((section.level, *named))
            continue
        figures = tuple(_figures(section.body))
        own = _own_status(section)
        status = own or (groups[-1][1:] if groups else None)
        if status is None and (not figures or section.level == 1):
            continue
        dated = next((found[1] for text in (section.text, *_texts(section)) if (found := _DATE.search(text))), None)
        entries.append(
            ImportedEntry(
                line=section.line,
                title=_title(section.text),
                status=status[0] if status else Absent(reason="its heading and its text name no status"),
                said=status[1] if status else "",
                date=dated or Absent(reason="it has no date"),
                figures=figures,
                trigger=any(_REOPENS.search(text) for text in _texts(section)),
            )
        )
    return tuple(entries)


def _is_group(section: _Section) -> bool:
    """True for a heading such as `Rejected ideas` that only gathers others."""
    rest = _STATUS.sub("", section.text)
    words = re.findall(r"\w+", rest)
    plain = all(word.lower() in ("ideas", "experiments", "and", "the", "list", "items", "things") for word in words)
    return plain and not any(_FIGURE.search(text) for text in _texts(section))


def _own_status(section: _Section) -> tuple[Status, str] | None:
    tail = _ENTRY_TAIL.search(_DATE_IN_HEADING.sub("", section.text))
    if tail and (found := status_in(tail["tail"])):
        return found
    for text in _texts(section):
        stated = _STATUS_LINE.match(text.replace("*", ""))
        if stated and (found := status_in(stated["text"])):
            return found
    return None


def _title(text: str) -> str:
    """A heading without its number, its date, its status and its decoration."""
    text = _DATE_IN_HEADING.sub("", text)
    tail = _ENTRY_TAIL.search(text)
    if tail and status_in(tail["tail"]):
        text = text[: tail.start()]
    return re.sub(r"^[\d.)\s]+|[*_`]+", "", text).strip(" -—–:|·") or text


def _figures(body: Sequence[tuple[int, str]]) -> Iterator[ImportedFigure]:
    for number, line in body:
        for pattern in (_FIGURE, _RATIO):
            for found in pattern.finditer(line):
                value = float(found["value"].replace(",", "").replace("−", "-"))
                unit = found["unit"] if pattern is _FIGURE else "x"
                label = " ".join(re.findall(r"[\w/.-]+", line[: found.start()])[-4:])
                yield ImportedFigure(line=number, value=value, unit=unit.replace("×", "x"), label=label)


def _texts(section: _Section) -> list[str]:
    return [text for _, text in section.body]
