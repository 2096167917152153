"""An imported log for the terminal: its entries, then what does not hold together. It computes no number."""

from __future__ import annotations

from assay.core.imported_log import ImportedEntry, ImportedLog
from assay.core.records import Absent
from assay.show import format as shown

_FIGURES = 4


def imported_text(log: ImportedLog) -> str:
    """One line per entry, and each problem with its lines."""
    lines = [f"{log.file}: {len(log.entries)} entries, {len(log.problems)} problems", ""]
    lines += [_entry(entry) for entry in log.entries]
    if log.problems:
        lines.append("")
    for problem in log.problems:
        where = ", ".join(str(line) for line in dict.fromkeys(problem.lines))
        lines.append(f"{problem.kind} (line {where}): {problem.found}")
    return shown.visible("\n".join(lines))


def _entry(entry: ImportedEntry) -> str:
    status = "no status" if isinstance(entry.status, Absent) else entry.status.replace("_", " ")
    figures = ", ".join(f"{figure.value:g} {figure.unit}" for figure in entry.figures[:_FIGURES])
    more = f" and {len(entry.figures) - _FIGURES} more" if len(entry.figures) > _FIGURES else ""
    date = "" if isinstance(entry.date, Absent) else f"  {entry.date}"
    return f"{entry.line:>5}  {status:<11}  {entry.title}{date}  {figures}{more}".rstrip()
