"""The result in a terminal: stacked blocks that fit the width, then verdicts, noise and notes. It computes no number.

It refuses to shorten a number: columns that do not fit beside one another go into a further block.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from assay.core.records import Artifact, Result
from assay.show import format as shown
from assay.show.sentences import (
    cause_lines,
    caveat_lines,
    further_comparison_lines,
    gate_line,
    inconclusive_lines,
    not_checked,
    null_lines,
)
from assay.show.view import CellView, ColumnView, NoteView, RowView, View, view_of, words

DEFAULT_WIDTH = 80
_GAP = 2
_NAMES_SHARE = 3
"""A column of long names is folded rather than take more than a third of the width."""
_SEVERITY_STYLE = {"ERR": "bold red", "WARN": "yellow", "INFO": "cyan", "ABSENT": "dim", "NOTE": "dim"}
_OUTCOME_STYLE = {"better": "green", "worse": "red", "equivalent": "cyan"}
_STATUS_STYLE = {"pass": "bold green", "fail": "bold red", "failed_run": "bold red", "inconclusive": "yellow"}
_SHORT_HEADERS = {
    "weight_bytes": "weights",
    "bits_per_weight": "bits per\nweight",
    "first_call_s": "first\ncall",
    "peak_rss_bytes": "peak\nmemory",
    "perplexity": "perpl-\nexity",
}

Column = tuple[Text, list[Text], bool]
"""Header, one cell for each row, and whether numbers stand in it."""


class ResultTable:
    """A rich renderable of a result. `str()` gives plain text without escapes."""

    def __init__(self, result: Result, width: int) -> None:
        self._view = view_of(result)
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        writer = _Writer(
            width=min(self._width, options.max_width), plain=not options.is_terminal, ascii_only=options.ascii_only
        )
        yield from writer.write(self._view)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, colour: bool = False) -> str:
        """As text; with `colour` it has the escapes of a terminal."""
        console = Console(
            file=io.StringIO(), width=self._width, force_terminal=colour, color_system="standard" if colour else None
        )
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def render_table(result: Result, width: int = DEFAULT_WIDTH) -> ResultTable:
    """The result as a table of at most `width` columns of text: print it on a rich console, or take its `str`."""
    return ResultTable(result, width)


def describe_artifact(artifact: Artifact, location: str) -> str:
    """What was built and where, in a few lines."""
    size = f"{shown.bytes_text(artifact.weight_bytes)} of weights"
    bits = f"{shown.number('bits_per_weight', artifact.bits_per_weight)} bits per weight"
    lines = [f"{location}: {artifact.format}, {size}, {bits}, {len(artifact.files)} files"]
    for change in artifact.changes:
        sizes = f"{shown.bytes_text(change.bytes_before)} -> {shown.bytes_text(change.bytes_after)}"
        lines.append(f"  {change.kind}: {len(change.modules)} modules, {sizes}")
        lines += [f"    {shown.one_line(note)}" for note in change.notes]
    if isinstance(artifact.source.quantisation, str):
        lines.append(f"  The source was already quantised: {shown.one_line(artifact.source.quantisation)}")
    return "\n".join(lines)


class _Writer:
    """Turns a view into rich pieces for one console."""

    def __init__(self, width: int, *, plain: bool, ascii_only: bool) -> None:
        self._width = width
        self._plain = plain
        self._ascii = ascii_only

    def write(self, view: View) -> RenderResult:
        yield from self._head(view)
        names = (self._text("variant", "bold"), [self._name(row) for row in view.rows], False)
        for columns in self._blocks(names, self._columns(view)):
            yield self._table([names, *columns])
            yield ""
        yield from self._compared(view)
        yield from self._verdicts(view)
        yield from self._lines("Further comparisons", further_comparison_lines(view))
        yield from self._lines("Noise (A/A)", null_lines(view.result))
        yield from self._lines("Inconclusive", inconclusive_lines(view.result))
        yield from self._notes(view)
        yield from self._lines("Causes", cause_lines(view.result.diagnoses))
        yield from self._lines("Not checked", [_check_line(*group) for group in not_checked(view.result)])
        yield from self._samples(view)

    # ------------------------------------------------------------------------------------------ parts

    def _head(self, view: View) -> RenderResult:
        result = view.result
        title = f"{shown.one_line(result.name)}: {shown.one_line(result.model.location)}"
        yield self._text(title, "bold")
        took = f"{result.environment.machine.system} {result.environment.machine.architecture}, "
        took += f"{result.environment.threads} threads, {shown.duration(result.elapsed_s)}, {result.created_utc}"
        yield self._text(took, "dim")
        for line in caveat_lines(result):
            yield self._text(line, "yellow" if line.startswith(("Not complete", "The source")) else "dim")
        yield ""

    def _compared(self, view: View) -> RenderResult:
        for place in view.compared:
            column = view.columns[place]
            cells = [row.cells[place] for row in view.rows]
            workload = next((cell.comparison.workload for cell in cells if cell.comparison), column.workload)
            names = (
                self._text(shown.one_line(workload), "bold"),
                [self._text(r.name, "bold") for r in view.rows],
                False,
            )
            against = [self._against(row, cell) for row, cell in zip(view.rows, cells, strict=True)]
            columns: list[Column] = [(self._text(column.unit, "bold"), [self._cell(cell) for cell in cells], True)]
            headers = ((f"/ {view.baseline}", True), ("interval", False), ("rounds", True), ("outcome", False))
            columns += [
                (self._text(header, "bold"), [texts[which] for texts in against], is_number)
                for which, (header, is_number) in enumerate(headers)
            ]
            for block in self._blocks(names, columns):
                yield self._table([names, *block])
                yield ""

    def _verdicts(self, view: View) -> RenderResult:
        statuses, reasons = [], []
        for row in view.rows:
            style = _STATUS_STYLE.get(row.verdict.status, "") if row.verdict else ""
            statuses.append(self._text(row.status, style))
            why = "; ".join(shown.one_line(reason) for reason in row.verdict.reasons) if row.verdict else ""
            reasons.append(self._text(why))
        columns: list[Column] = [
            (self._text("variant", "bold"), [self._text(row.name, "bold") for row in view.rows], False),
            (self._text("verdict", "bold"), statuses, False),
            (self._text("because", "bold"), reasons, False),
        ]
        yield self._table(columns)
        yield self._text(gate_line(view.result), "dim")
        yield ""

    def _notes(self, view: View) -> RenderResult:
        if not view.notes:
            return
        yield self._rule("Notes")
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for note in view.notes:
            label = self._text(f"[{note.number}] {note.severity.lower()}", _SEVERITY_STYLE[note.severity])
            grid.add_row(label, self._note(note))
        yield grid
        yield ""

    def _samples(self, view: View) -> RenderResult:
        if not view.result.quality:
            return
        yield self._rule("What each variant wrote")
        prompt = next((q.sample_prompt for q in view.result.quality), "")
        yield self._text(f"Prompt: {shown.one_line(prompt)}", "dim")
        for quality in view.result.quality:
            line = self._text(f"{shown.one_line(quality.variant)}: ", "bold")
            if isinstance(quality.sample_text, str):
                line.append_text(self._text(shown.one_line(quality.sample_text)))
            else:
                line.append_text(self._text(f"none, {shown.one_line(quality.sample_text.reason)}", "dim"))
            yield line

    def _lines(self, title: str, lines: Sequence[str]) -> RenderResult:
        if not lines:
            return
        yield self._rule(title)
        for line in lines:
            yield Padding(self._text(line), (0, 0, 0, 1))
        yield ""

    def _note(self, note: NoteView) -> Text:
        body = self._text(f"{note.where}: ", "bold")
        body.append_text(self._text(note.text))
        for name, said in (("cause", note.cause), ("remedy", note.remedy)):
            if said:
                body.append_text(self._text(f"\n{name}: ", "dim"))
                body.append_text(self._text(said))
        return body

    # ------------------------------------------------------------------------------------------ columns and cells

    def _columns(self, view: View) -> list[Column]:
        return [
            (self._header(column), [self._cell(row.cells[place]) for row in view.rows], True)
            for place, column in enumerate(view.columns)
            if place not in view.compared
        ]

    def _header(self, column: ColumnView) -> Text:
        name = _SHORT_HEADERS.get(column.key, column.header)
        parts = [*name.split("\n"), *([column.workload] if column.workload else []), column.unit]
        return self._text("\n".join(part for part in parts if part), "bold")

    def _name(self, row: RowView) -> Text:
        return self._marked(self._text(row.name, "bold"), row.notes)

    def _cell(self, cell: CellView) -> Text:
        text = self._struck(cell.text) if cell.struck else self._text(cell.text)
        return self._marked(text, cell.notes)

    def _against(self, row: RowView, cell: CellView) -> list[Text]:
        comparison = cell.comparison
        if comparison is None:
            role = "baseline" if row.role == "baseline" else ""
            return [self._text(""), self._text(""), self._text(""), self._text(role, "dim")]
        style = _OUTCOME_STYLE.get(comparison.outcome, "")
        texts = (
            shown.ratio(comparison.ratio),
            shown.ratio_interval(comparison.ratio),
            str(comparison.rounds),
            words(comparison.outcome),
        )
        if cell.struck:
            return [
                self._struck(texts[0]),
                self._text(texts[1], "dim"),
                self._text(texts[2], "dim"),
                self._struck(texts[3]),
            ]
        return [self._text(texts[0]), self._text(texts[1]), self._text(texts[2], "dim"), self._text(texts[3], style)]

    def _struck(self, text: str) -> Text:
        return self._text(f"~~{text}~~") if self._plain else self._text(text, "strike dim")

    def _marked(self, text: Text, marks: Sequence[int]) -> Text:
        if marks:
            text.append(f"[{','.join(map(str, marks))}]", "dim")
        return text

    def _text(self, text: str, style: str = "") -> Text:
        return Text(shown.ascii_only(text) if self._ascii else text, style)

    def _rule(self, title: str) -> Rule:
        return Rule(self._text(title, "bold"), style="dim", align="left", characters="-" if self._ascii else "─")

    # ------------------------------------------------------------------------------------------ layout

    def _blocks(self, names: Column, columns: Sequence[Column]) -> list[list[Column]]:
        blocks: list[list[Column]] = []
        room = 0
        for column in columns:
            width = _width(column) + _GAP
            if not blocks or width > room:
                blocks.append([])
                room = self._width - min(_width(names), self._width // _NAMES_SHARE)
            blocks[-1].append(column)
            room -= width
        return blocks

    def _table(self, columns: Sequence[Column]) -> Table:
        table = Table(
            box=box.ASCII2 if self._ascii else box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for place, (header, _, is_number) in enumerate(columns):
            # Only names and closing words may be folded: a number is never cut.
            table.add_column(
                header,
                justify="right" if is_number else "left",
                no_wrap=is_number or 0 < place < len(columns) - 1,
                overflow="fold",
                max_width=self._width // _NAMES_SHARE if place == 0 else None,
            )
        for cells in zip(*(column[1] for column in columns), strict=True):
            table.add_row(*cells)
        return table


def _check_line(check: str, reasons: Sequence[str]) -> str:
    more = f" ({len(reasons)} cells like this; the Markdown and HTML reports list them)" if len(reasons) > 1 else ""
    return f"{check}: {reasons[0]}{more}"


def _width(column: Column) -> int:
    header, cells, _ = column
    lines = [*header.plain.split("\n"), *(cell.plain for cell in cells)]
    return max(cell_len(line) for line in lines)
