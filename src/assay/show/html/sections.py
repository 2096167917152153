"""The sections of the report as HTML. They refuse to put a caveat anywhere but beside its number.

A mark beside a number leads to its note, has the note's words as its title and for screen readers, and the note leads
back.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.records import Absent, Estimate, Quality
from assay.show import format as shown
from assay.show.html.drawing import Chart, MissingChart
from assay.show.html.elements import Child, Markup, element, join
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
from assay.show.view import CellView, ColumnView, NoteView, RowView, View, words

_TONE = {"pass": "good", "fail": "bad", "failed_run": "bad", "inconclusive": "unsure"}
_OUTCOME_TONE = {"better": "good", "worse": "bad", "inconclusive": "unsure", "not_comparable": "unsure"}
_SEVERITY_WORD = {"ERR": "invalid", "WARN": "suspect", "INFO": "explained", "ABSENT": "not measured", "NOTE": "note"}


class Sections:
    """Builds the sections of one view. It remembers which notes were marked, so that they can lead back."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._first_mark: dict[int, str] = {}

    # ------------------------------------------------------------------------------------------ head

    def head(self) -> Markup:
        """Title, what was measured where, and what holds for the whole report."""
        result = self._view.result
        facts = (
            ("model", result.model.location),
            ("machine", _machine(result.environment.machine.cpu_model, result.environment.threads)),
            ("measured", f"{result.created_utc.replace('T', ' ')}, {shown.duration(result.elapsed_s)}"),
        )
        lines = caveat_lines(result)
        return element(
            "header",
            element("p", "Assay report", class_="kicker"),
            element("h1", shown.one_line(result.name)),
            element("dl", *[element("div", element("dt", n), element("dd", shown.one_line(t))) for n, t in facts],
                    class_="facts"),
            element("ul", *[element("li", line, class_=_caveat_class(line)) for line in lines], class_="caveats"),
            class_="page-head",
        )  # fmt: skip

    def verdicts(self) -> Markup:
        """One card for each variant: its status and the reasons."""
        cards = []
        for row in self._view.rows:
            reasons = row.verdict.reasons if row.verdict else ("no verdict was given",)
            tone = _tone(row)
            cards.append(
                element(
                    "li",
                    element("h3", row.name, self._marks(row.notes, f"verdict-{row.name}")),
                    element("p", row.status, class_=f"pill {tone}"),
                    element("ul", *[element("li", shown.one_line(reason)) for reason in reasons]),
                    class_=f"card {tone}",
                )
            )
        gate = element("p", gate_line(self._view.result), class_="quiet")
        return self._section("verdicts", "Verdicts", element("ul", *cards, class_="cards"), gate)

    # ------------------------------------------------------------------------------------------ tables

    def numbers(self) -> Markup:
        """The table, sortable and to be filtered."""
        statuses = list(dict.fromkeys(row.status for row in self._view.rows))
        options = [element("option", "all", value=""), *[element("option", each, value=each) for each in statuses]]
        tools = element(
            "form",
            element("label", "Filter ", element("input", type="search", id="filter-text", autocomplete="off",
                                                placeholder="name or outcome"), for_="filter-text"),
            element("label", "Verdict ", element("select", *options, id="filter-status"), for_="filter-status"),
            element("p", "", id="filter-count", role="status"),
            class_="tools",
            id="filter",
            role="search",
            aria_label="Filter the table of numbers",
        )  # fmt: skip
        hint = "Press a heading to sort by it. A number that is struck out is invalid; its mark says why."
        table = self._table("numbers-table", "Numbers of every variant", self._view.columns, sortable=True)
        return self._section("numbers", "Numbers", element("p", hint, class_="quiet"), tools, table)

    def further(self) -> Markup:
        """What has no place in the table."""
        if not self._view.further_columns:
            return Markup("")
        table = self._table("further-table", "Further figures", self._view.further_columns, sortable=True)
        return self._section("further", "Further figures", table)

    def noise(self) -> Markup:
        """The study's own noise, and what stayed undecided."""
        parts: list[Child] = []
        for title, lines in (
            ("The baseline against itself (A/A)", null_lines(self._view.result)),
            ("Inconclusive", inconclusive_lines(self._view.result)),
            ("Further comparisons", further_comparison_lines(self._view)),
        ):
            if lines:
                parts += [element("h3", title), element("ul", *[element("li", line) for line in lines])]
        return self._section("noise", "How sure", *parts) if parts else Markup("")

    def _table(self, name: str, caption: str, columns: Sequence[ColumnView], *, sortable: bool) -> Markup:
        headers = [_header("variant", "", "", "text", sortable)]
        headers += [_header(c.header, c.workload, c.unit, c.better, sortable) for c in columns]
        body = []
        for row in self._view.rows:
            cells = row.cells if columns is self._view.columns else row.further
            line = [self._row_header(row, name), *[self._cell(row, cell) for cell in cells]]
            body.append(element("tr", *line, data_status=row.status))
        table = element(
            "table",
            element("caption", caption, class_="unseen"),
            element("thead", element("tr", *headers)),
            element("tbody", *body),
            id=name,
        )
        return element("div", table, class_="scroll", role="region", aria_label=caption, tabindex="0")

    def _row_header(self, row: RowView, table: str) -> Markup:
        marks = self._marks(row.notes, f"{table}-{row.name}")
        verdict = element("span", row.status, class_=f"pill {_tone(row)}")
        name = element("span", row.name, class_="name")
        return element("th", name, marks, element("br"), verdict, scope="row", data_sort=row.name)

    def _cell(self, row: RowView, cell: CellView) -> Markup:
        place = f"{row.name}-{cell.column.key}"
        number: Child = cell.text
        if isinstance(cell.raw, Absent):
            number = element("span", cell.text, class_="absent", aria_label="not measured")
        elif cell.struck:
            number = join((element("span", "invalid: ", class_="unseen"), element("s", cell.text)))
        parts: list[Child] = [element("span", number, self._marks(cell.notes, place), class_="value")]
        if cell.interval:
            parts.append(element("span", cell.interval, class_="sub"))
        if cell.comparison is not None:
            parts.append(_against(cell))
        sort = (
            "" if isinstance(cell.raw, Absent) else repr(cell.raw.value if isinstance(cell.raw, Estimate) else cell.raw)
        )
        return element("td", *parts, data_sort=sort)

    # ------------------------------------------------------------------------------------------ notes and charts

    def notes(self) -> Markup:
        """Every finding and every reason for a missing number, worst first. Call it after the marks were made."""
        if not self._view.notes and not self._view.result.not_checked:
            return Markup("")
        items = [self._note(note) for note in self._view.notes]
        unchecked: list[Child] = []
        for check, reasons in not_checked(self._view.result):
            lines = [element("li", reason) for reason in reasons]
            count = f" ({len(reasons)})" if len(reasons) > 1 else ""
            unchecked.append(element("details", element("summary", f"{check}{count}"), element("ul", *lines)))
        if unchecked:
            unchecked.insert(0, element("h3", "Not checked, for want of a fact"))
        causes: list[Child] = [element("li", line) for line in cause_lines(self._view.result.diagnoses)]
        if causes:
            causes = [element("h3", "Causes"), element("ul", *causes)]
        return self._section("notes", "Notes", element("ol", *items, class_="notes"), *causes, *unchecked)

    def _note(self, note: NoteView) -> Markup:
        label = f"{note.number} · {_SEVERITY_WORD[note.severity]}"
        parts: list[Child] = [
            element("p", element("span", label, class_=f"tag {note.severity.lower()}"), " ",
                    element("strong", note.where), ": ", note.text)
        ]  # fmt: skip
        for name, text in (("Cause", note.cause), ("Remedy", note.remedy)):
            if text:
                parts.append(element("p", element("span", f"{name}: ", class_="quiet"), text))
        if note.check:
            figures = ", ".join(f"{name} = {value}" for name, value in note.numbers)
            parts.append(element("p", f"Check {note.check}{f': {figures}' if figures else ''}", class_="quiet"))
        if note.number in self._first_mark:
            back = f"Back to the number of note {note.number}"
            parts.append(element("a", "↩", href=f"#{self._first_mark[note.number]}", aria_label=back, class_="back"))
        return element("li", *parts, id=f"note-{note.number}", tabindex="-1")

    def charts(self, charts: Sequence[Chart | MissingChart]) -> Markup:
        """Every chart in a box of its own, with its words, its table, and the notes about it."""
        return self._section("charts", "Charts", element("div", *[self._chart(c) for c in charts], class_="charts"))

    def _chart(self, chart: Chart | MissingChart) -> Markup:
        if isinstance(chart, MissingChart):
            reason = element("p", f"Not drawn: {shown.one_line(chart.reason)}.", class_="quiet")
            return element("div", element("h3", chart.title), reason, class_="chart missing")
        head = element("tr", *[element("th", name, scope="col") for name in chart.headers])
        rows = [
            element("tr", element("th", line[0], scope="row"), *[element("td", text) for text in line[1:]])
            for line in chart.table
        ]
        data = element(
            "table", element("caption", chart.title, class_="unseen"), element("thead", head), element("tbody", *rows)
        )
        scroll = element("div", data, class_="scroll", role="region", aria_label=f"Data of {chart.title}", tabindex="0")
        title = _identifier(f"title-{chart.name}")
        # The drawing is one picture with one description; its parts would be read out one by one.
        drawing = element("div", class_="vega", data_chart=chart.name, aria_hidden="true")
        return element(
            "figure",
            element("h3", element("span", chart.title, id=title), self._marks(chart.marks, f"chart-{chart.name}")),
            element("div", drawing, role="img", aria_label=chart.summary),
            element("figcaption", chart.summary, *[element("span", f" {remark}") for remark in chart.remarks]),
            element("details", element("summary", "The same as a table"), scroll),
            class_="chart wide" if chart.wide else "chart",
            aria_labelledby=title,
        )

    def _marks(self, numbers: Sequence[int], place: str) -> Markup:
        marks = []
        for number in numbers:
            note = self._view.note(number)
            name = _identifier(f"mark-{number}-{place}")
            self._first_mark.setdefault(number, name)
            words_ = f"Note {number}, {_SEVERITY_WORD[note.severity]}: {note.text}"
            link = element("a", str(number), href=f"#note-{number}", id=name, title=words_, aria_label=words_,
                           class_=f"mark {note.severity.lower()}")  # fmt: skip
            marks.append(link)
        return element("sup", *marks) if marks else Markup("")

    # ------------------------------------------------------------------------------------------ text, machine, method

    def samples(self) -> Markup:
        """What each variant wrote, side by side."""
        if not self._view.result.quality:
            return Markup("")
        prompt = self._view.result.quality[0].sample_prompt
        intro = element("p", "Prompt: ", element("q", shown.one_line(prompt)), class_="quiet")
        cards = [_sample(quality) for quality in self._view.result.quality]
        return self._section("samples", "What each variant wrote", intro, element("div", *cards, class_="samples"))

    def environment(self) -> Markup:
        """Everything around the runs."""
        pairs = [element("div", element("dt", n), element("dd", t)) for n, t in environment_pairs(self._view.result)]
        return self._section("environment", "Environment", element("dl", *pairs, class_="pairs"))

    def method(self) -> Markup:
        """How the numbers came about."""
        lines = [element("li", line) for line in method_lines(self._view.result)]
        study = element("p", "Study ", element("code", self._view.result.study), class_="quiet breakable")
        return self._section("method", "Method", element("ul", *lines), study)

    def _section(self, name: str, title: str, *children: Child) -> Markup:
        return element(
            "section", element("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title"
        )


def navigation(sections: Sequence[tuple[str, str]]) -> Markup:
    """Links to the sections that are there."""
    links = [element("li", element("a", title, href=f"#{name}")) for name, title in sections]
    return element("nav", element("ul", *links), aria_label="Sections")


def _header(title: str, workload: str, unit: str, better: str, sortable: bool) -> Markup:
    # A hyphen that does not break keeps `top-1` on one line.
    name = element("span", title.replace("-", "\u2011"), class_="name")
    subs = [element("span", text, class_="sub") for text in (workload, unit) if text]
    if not sortable:
        return element("th", name, *subs, scope="col")
    arrow = element("span", class_="arrow", aria_hidden="true")
    button = element("button", element("span", name, arrow, class_="line"), *subs, type="button")
    return element("th", button, scope="col", aria_sort="none", data_better=better)


def _against(cell: CellView) -> Markup:
    comparison = cell.comparison
    if comparison is None:
        return Markup("")
    tone = _OUTCOME_TONE.get(comparison.outcome, "plain")
    against = f"{shown.ratio_interval(comparison.ratio)} against {shown.one_line(comparison.baseline)}"
    title = f"{against}, {comparison.rounds} rounds: {shown.one_line(comparison.reason)}"
    ratio: Child = "" if isinstance(comparison.ratio, Absent) else shown.ratio(comparison.ratio)
    outcome: Child = words(comparison.outcome)
    if cell.struck:
        ratio, outcome, tone = element("s", ratio), element("s", outcome), "plain"
    return element(
        "span",
        element("span", ratio, class_="ratio"),
        " ",
        element("span", outcome, class_=f"pill {tone}"),
        class_="against",
        title=title,
    )


def _tone(row: RowView) -> str:
    return _TONE.get(row.verdict.status, "plain") if row.verdict else "plain"


def _sample(quality: Quality) -> Markup:
    if isinstance(quality.sample_text, str):
        body = element("blockquote", quality.sample_text, dir="auto", tabindex="0")
    else:
        body = element("p", f"None: {shown.one_line(quality.sample_text.reason)}", class_="quiet")
    return element("article", element("h3", shown.one_line(quality.variant)), body, class_="sample")


def _caveat_class(line: str) -> str:
    return "strong" if line.startswith(("The source", "Not complete")) else "plain"


def _machine(cpu_model: str | Absent, threads: int) -> str:
    return f"{cpu_model if isinstance(cpu_model, str) else 'processor unknown'}, {threads} threads"


def _identifier(text: str) -> str:
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else f"_{ord(letter):x}" for letter in text
    )
