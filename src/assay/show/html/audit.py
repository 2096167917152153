"""One self-contained HTML file of an audit: findings, and every table with its marks. It computes no number.

It refuses live text: everything from a file is escaped, and a content security policy forbids every connection.
"""

from __future__ import annotations

from importlib import resources

from assay.core.audit import AuditReport
from assay.core.figures import FigureTable, labels
from assay.core.records import Cell
from assay.show import audit_view as told
from assay.show import format as shown
from assay.show.html.elements import Child, Markup, element, join
from assay.show.sentences import cause_lines

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_WORDS = {"ERR": "invalid", "WARN": "suspect", "INFO": "explained"}
_TONES = {"ERR": "err", "WARN": "warn", "INFO": "info"}


def render_audit_html(report: AuditReport) -> str:
    """The audit as the text of one HTML file, in the style of the report."""
    marks = told.marks_of(report)
    tables = [_table(table, label, marks) for table, label in zip(report.tables, labels(report.tables), strict=True)]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Audit · Assay"),
        element("style", Markup(resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8"))),
    )
    body = element(
        "body",
        element("a", "Skip to the findings", href="#findings", class_="skip"),
        element("header", element("p", "Assay audit", class_="kicker"), element("h1", _files(report)),
                element("p", told.headline(report)), class_="page-head"),
        element(
            "main",
            _section("findings", "Findings", _findings(report)),
            _section("causes", "Causes", _lines(cause_lines(report.diagnoses))),
            _section("tables", "Tables", *tables),
            _section("recognised", "Recognised", _lines(f"{n}: {x}" for n, x in told.recognised_lines(report) if x)),
            _section("unread", "Not recognised", _lines(told.unread_lines(report))),
            _section("silent", "Not checked", _lines(f"{r}: {', '.join(c)}" for r, c in told.silent_lines(report))),
        ),
        element("footer", f"Written by Assay on {report.created_utc}. This file needs no network."),
    )  # fmt: skip
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _files(report: AuditReport) -> str:
    return ", ".join(shown.one_line(file.name) for file in report.files)


def _section(name: str, title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content, id=name) if any(content) else Markup("")


def _lines(lines: object) -> Markup:
    items = [element("li", shown.one_line(str(line))) for line in lines]  # type: ignore[attr-defined]
    return element("ul", *items) if items else Markup("")


def _findings(report: AuditReport) -> Markup:
    groups = told.told(report.findings)
    if not groups:
        return element("p", "Nothing was found. What was not checked stands at the end.")
    items = [
        element(
            "li",
            element("p", element("strong", f"[{number}] {_WORDS[group.severity]}"), " ", "; ".join(group.summaries)),
            element("p", f"Cause: {group.cause}", class_="quiet"),
            element("p", f"Remedy: {group.remedy}", class_="quiet"),
            element("p", f"Check: {group.check}", class_="quiet"),
            id=f"finding-{number}",
            class_=_TONES[group.severity],
        )
        for number, group in enumerate(groups, 1)
    ]
    return element("ol", *items, class_="notes")


def _table(table: FigureTable, label: str, marks: dict[Cell, tuple[str, tuple[int, ...]]]) -> Markup:
    metrics = told.metrics_of(table)
    title = shown.one_line(table.title) + (" (expected values: not judged)" if table.expected else "")
    if not metrics:
        return element("h3", f"{title}: no figure was recognised")
    head = element(
        "tr", element("th", "row", scope="col"), *[element("th", told.header_of(m), scope="col") for m in metrics]
    )
    rows = [
        element(
            "tr",
            element("th", shown.one_line(row.name), scope="row"),
            *[_cell(table, row.name, m, label, marks) for m in metrics],
        )
        for row in table.rows
    ]
    body = element("table", element("thead", head), element("tbody", *rows))
    region = element("div", body, class_="scroll", tabindex="0", role="region", aria_label=title)
    return join((element("h3", title), region))


def _cell(
    table: FigureTable, row: str, metric: str, label: str, marks: dict[Cell, tuple[str, tuple[int, ...]]]
) -> Markup:
    figure = table.figure(row, metric)
    text = shown.one_line(told.number_of(figure)) if figure else shown.MISSING
    severity, numbers = marks.get(Cell(row=row, metric=metric, table=label), ("", ()))
    links: list[Child] = [element("sup", element("a", f"[{n}]", href=f"#finding-{n}")) for n in numbers]
    return element("td", element("s", text) if severity == "ERR" else text, *links)
