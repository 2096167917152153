"""The pages of the documentation, and the commands that stand in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<fence>```+)(?P<language>[a-z-]*)\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_REMARK = re.compile(r"<!--\s*(slow|not run|exit \d)\b[^>]*-->\s*\Z")


@dataclass(frozen=True)
class Command:
    """One command of a page. `remark` is `slow`, `not run` (a file that only a reader has), `exit 1`, or empty."""

    page: str
    line: int
    words: tuple[str, ...]
    remark: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """README, CONTRIBUTING and everything under docs."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    return [page for page in top if page.is_file()] + sorted((ROOT / "docs").rglob("*.md"))


def commands_of(page: Path) -> list[Command]:
    """The commands of a page's `console` blocks (lines after `$`) and `sh` blocks (every line), in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Command] = []
    for block in _FENCE.finditer(text):
        if block["language"] not in {"console", "sh"}:
            continue
        remark = _remark(text, block)
        first = text.count("\n", 0, block.start()) + 2
        for number, line in _joined(block["body"].splitlines(), first):
            if block["language"] == "console":
                if not line.startswith("$ "):
                    continue
                line = line.removeprefix("$ ")
            words = tuple(shlex.split(line, comments=True))
            if words:
                found.append(Command(page.relative_to(ROOT).as_posix(), number, words, remark))
    return found


@dataclass(frozen=True)
class Example:
    """A `python` or `toml` block of a page."""

    page: str
    line: int
    language: str
    text: str
    remark: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def examples_of(page: Path, language: str) -> list[Example]:
    """The blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    found: list[Example] = []
    for block in _FENCE.finditer(text):
        if block["language"] == language:
            line = text.count("\n", 0, block.start()) + 2
            found.append(
                Example(page.relative_to(ROOT).as_posix(), line, language, block["body"], _remark(text, block))
            )
    return found


def _remark(text: str, block: re.Match[str]) -> str:
    remark = _REMARK.search(text[: block.start()])
    return remark[1] if remark else ""


def _joined(lines: list[str], first: int) -> list[tuple[int, str]]:
    joined: list[tuple[int, str]] = []
    held = ""
    start = first
    for number, line in enumerate(lines, start=first):
        if not held:
            start = number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        joined.append((start, held + line))
        held = ""
    assert not held, f"a command of line {start} is never finished"
    return joined
