"""What changed between two results, for a terminal, Markdown, JSON or a page. It computes no number.

It refuses to let a change pass for a comparison: the first lines say that the two were measured apart.
"""

from __future__ import annotations

from importlib import resources

from rich.console import Console
from rich.table import Table

from assay.core.difference import CellChange, Difference
from assay.core.errors import InputError
from assay.core.records import Absent, Estimate, Measured
from assay.show import format as shown
from assay.show.html.elements import Markup, element
from assay.show.markdown import escape

DIFFERENCE_FORMATS = ("table", "markdown", "json", "html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_APART = (
    "The two were measured apart, so that a change of a speed is no comparison: `assay compare` and `assay gate` "
    "measure both sides in the same rounds."
)
_KINDS = {
    "apart": "the intervals share no value",
    "within": "the intervals overlap",
    "exact": "exact numbers",
    "appeared": "new",
    "vanished": "gone",
}
_HEADERS = ("variant", "metric", "before", "after", "after / before", "what it is")


def render_difference(found: Difference, format_: str, *, width: int = 80) -> str:
    """The difference in one of `DIFFERENCE_FORMATS`.

    Raises:
        InputError: there is no such format.
    """
    match format_:
        case "table":
            return _table(found, width)
        case "markdown":
            return _markdown(found)
        case "json":
            return found.model_dump_json(indent=2)
        case "html":
            return _html(found)
    asked = f"The format {format_!r} was asked for"
    raise InputError(asked, "the difference of two results has none", f"Use {', '.join(DIFFERENCE_FORMATS)}")


def _lists(found: Difference) -> list[tuple[str, list[str]]]:
    """Title and lines of everything that is no number."""
    statuses = [f"{shown.one_line(s.row)}: {s.before} -> {s.after}" for s in found.statuses]
    return [
        ("Around them", [shown.one_line(line) for line in found.surroundings]),
        ("Variants that are gone", [shown.one_line(name) for name in found.rows_gone]),
        ("Variants that are new", [shown.one_line(name) for name in found.rows_new]),
        ("Verdicts", statuses),
        ("Findings that are gone", [shown.one_line(line) for line in found.findings_gone]),
        ("Findings that are new", [shown.one_line(line) for line in found.findings_new]),
    ]


def _headline(found: Difference) -> str:
    return f"{shown.one_line(found.after)} against {shown.one_line(found.before)}"


def _cells(change: CellChange) -> tuple[str, ...]:
    unit = shown.scale_of(change.metric).unit
    title = f"{shown.title_of(change.metric)}{f', {unit}' if unit else ''}"
    ratio = shown.MISSING if isinstance(change.ratio, Absent) else f"×{shown.significant(change.ratio, 4)}"
    values = (_number(change.metric, change.before), _number(change.metric, change.after))
    return (shown.one_line(change.row), title, *values, ratio, _KINDS[change.kind])


def _number(metric: str, value: Measured | Estimate) -> str:
    return shown.MISSING if isinstance(value, Absent) else shown.measured(metric, value)


def _same(found: Difference) -> str:
    return f"{found.unchanged} numbers are the same in both."


def _table(found: Difference, width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(_headline(found), soft_wrap=False)
        console.print(_APART)
        for title, lines in _lists(found):
            if lines:
                console.print(f"\n{title}", highlight=False)
                for line in lines:
                    console.print(f"  - {line}", highlight=False, markup=False)
        if found.cells:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for place, header in enumerate(_HEADERS):
                table.add_column(header, justify="right" if 2 <= place <= 4 else "left", overflow="fold")
            for change in found.cells:
                table.add_row(*_cells(change))
            console.print("")
            console.print(table)
        console.print(f"\n{_same(found)}", highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _markdown(found: Difference) -> str:
    parts = [f"# {escape(_headline(found))}", "", _APART]
    for title, lines in _lists(found):
        if lines:
            parts += ["", f"## {title}", "", *[f"- {escape(line)}" for line in lines]]
    if found.cells:
        parts += ["", "## Numbers", "", f"| {' | '.join(_HEADERS)} |", "|---|---|--:|--:|--:|---|"]
        parts += [f"| {' | '.join(escape(cell) for cell in _cells(change))} |" for change in found.cells]
    return "\n".join([*parts, "", _same(found)])


def _html(found: Difference) -> str:
    sections: list[Markup] = [
        element("section", element("h2", title), element("ul", *[element("li", line) for line in lines]))
        for title, lines in _lists(found)
        if lines
    ]
    if found.cells:
        head = element("tr", *[element("th", header, scope="col") for header in _HEADERS])
        rows = [
            element("tr", element("th", first, scope="row"), *[element("td", cell) for cell in rest])
            for first, *rest in map(_cells, found.cells)
        ]
        table = element("table", element("thead", head), element("tbody", *rows))
        box = element("div", table, class_="scroll", role="region", aria_label="Numbers that changed", tabindex="0")
        sections.append(element("section", element("h2", "Numbers"), box, id="numbers"))
    style = resources.files("assay.show.html").joinpath("report.css").read_text(encoding="utf-8")
    page_head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Difference \u00b7 Assay"),
        element("style", Markup(style)),
    )
    title = element("header", element("p", "What changed", class_="kicker"), element("h1", _headline(found)),
                    element("p", _APART), class_="page-head")  # fmt: skip
    body = element("body", title, element("main", *sections, element("p", _same(found), class_="quiet")))
    return f"<!doctype html>\n{element('html', page_head, body, lang='en')}\n"
