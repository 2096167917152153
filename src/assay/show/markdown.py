"""The result as one Markdown file: the facts of the table, with reasons, environment, samples and methods.

It refuses to let text from outside become markup: names, reasons and generated text are escaped or fenced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from assay.core.records import Result
from assay.show import format as shown
from assay.show.sentences import (
    cause_lines,
    caveat_lines,
    environment_pairs,
    further_comparison_lines,
    gate_line,
    inconclusive_lines,
    method_lines,
    not_checked,
    null_lines,
)
from assay.show.view import CellView, ColumnView, NoteView, RowView, View, view_of, words

_SPECIAL = re.compile(r"([\\`*\[\]<>|~&#]|(?<![^\W_])_|_(?![^\W_]))")
"""An underscore between letters or digits is no markup, and names of metrics stay readable."""


def render_markdown(result: Result) -> str:
    """The result as GitHub-flavoured Markdown: tables, notes, verdicts with reasons, environment, samples, methods."""
    view = view_of(result)
    parts = (
        _head(view),
        _section("Verdicts", _verdicts(view)),
        _section("Numbers", _table(_headers(view.columns), [_numbers(row, row.cells) for row in view.rows])),
        *(_section(f"Against {escape(view.baseline)}", _comparisons(view)) for _ in view.compared[:1]),
        _section("Further comparisons", _list(further_comparison_lines(view))),
        _section("Noise (A/A)", _list(null_lines(result))),
        _section("Inconclusive", _list(inconclusive_lines(result))),
        _section("Notes", "\n".join(_note(note) for note in view.notes)),
        _section("Causes", _list(cause_lines(result.diagnoses))),
        _section("Not checked", _list(f"{check}: {'; '.join(reasons)}" for check, reasons in not_checked(result))),
        _section("Further figures", _further(view)),
        _section("What each variant wrote", _samples(view)),
        _section("Environment", _table(("what", "found"), [tuple(map(escape, p)) for p in environment_pairs(result)])),
        _section("Method", _list(method_lines(result))),
        f"Study `{result.study}`, format version {result.format_version}.\n",
    )
    return "\n".join(part for part in parts if part)


def escape(text: str) -> str:
    """One line of text with every character that Markdown or HTML would read as markup made plain."""
    return _SPECIAL.sub(r"\\\1", shown.one_line(text))


def fenced(text: str) -> str:
    """Text in a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown.visible(text)}\n{fence}"


def _head(view: View) -> str:
    result = view.result
    took = f"{result.created_utc}, {shown.duration(result.elapsed_s)}, {result.environment.threads} threads"
    title = f"# {escape(result.name)}: {escape(result.model.location)}\n\n{escape(took)}\n"
    return f"{title}\n{_list(caveat_lines(result))}\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}\n" if body else ""


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    written = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in written)


def _headers(columns: Sequence[ColumnView]) -> tuple[str, ...]:
    return ("variant", *(_header(column) for column in columns))


def _header(column: ColumnView) -> str:
    workload = f", {column.workload}" if column.workload else ""
    return escape(f"{column.header}{workload}{f' ({column.unit})' if column.unit else ''}")


def _numbers(row: RowView, cells: Sequence[CellView]) -> tuple[str, ...]:
    return (f"{escape(row.name)}{_marks(row.notes)}", *(_cell(cell) for cell in cells))


def _cell(cell: CellView) -> str:
    text = escape(cell.text) + (f" ({escape(cell.interval)})" if cell.interval else "")
    return (f"~~{text}~~" if cell.struck else text) + _marks(cell.notes)


def _marks(numbers: Sequence[int]) -> str:
    return f" \\[{', '.join(f'[{number}](#note-{number})' for number in numbers)}\\]" if numbers else ""


def _note(note: NoteView) -> str:
    said = [f'<a id="note-{note.number}"></a>**\\[{note.number}\\] {note.severity}** {escape(note.where)}: ']
    said.append(escape(note.text))
    if note.check:
        figures = ", ".join(f"{name} = {value}" for name, value in note.numbers)
        said.append(f". Check: {escape(note.check)}{f' ({escape(figures)})' if figures else ''}")
    said += [f". {name}: {escape(text)}" for name, text in (("Cause", note.cause), ("Remedy", note.remedy)) if text]
    return f"- {''.join(said)}"


def _verdicts(view: View) -> str:
    rows = [
        (
            escape(row.name),
            f"**{escape(row.status)}**",
            "; ".join(escape(reason) for reason in row.verdict.reasons) if row.verdict else "",
        )
        for row in view.rows
    ]
    return f"{_table(('variant', 'verdict', 'because'), rows)}\n\n{escape(gate_line(view.result))}"


def _comparisons(view: View) -> str:
    headers = ("metric", "variant", "ratio", "interval", "rounds", "outcome", "because", "smallest effect (80 % power)")
    rows = []
    for place in view.compared:
        for row in view.rows:
            cell = row.cells[place]
            if cell.comparison is None:
                continue
            compared = cell.comparison
            ratio, outcome = shown.ratio(compared.ratio), words(compared.outcome)
            rows.append(
                (
                    escape(f"{cell.column.header}, {compared.workload}"),
                    escape(row.name),
                    f"~~{ratio}~~" if cell.struck else ratio,
                    shown.ratio_interval(compared.ratio),
                    str(compared.rounds),
                    (f"~~{outcome}~~" if cell.struck else outcome) + _marks(cell.notes),
                    escape(compared.reason),
                    shown.percent(compared.smallest_effect),
                )
            )
    return _table(headers, rows)


def _further(view: View) -> str:
    if not view.further_columns:
        return ""
    return _table(_headers(view.further_columns), [_numbers(row, row.further) for row in view.rows])


def _samples(view: View) -> str:
    parts = []
    for quality in view.result.quality:
        parts.append(f"### {escape(quality.variant)}\n\nPrompt: {escape(quality.sample_prompt)}\n")
        if isinstance(quality.sample_text, str):
            parts.append(f"{fenced(quality.sample_text)}\n")
        else:
            parts.append(f"None: {escape(quality.sample_text.reason)}\n")
    return "\n".join(parts)
