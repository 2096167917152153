"""One self-contained HTML file of a result: it opens without a network and asks for nothing. It computes no number.

It refuses live text: everything from a record is escaped, and a content security policy forbids every connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from assay.core.records import Ceilings, Result, Round
from assay.show import format as shown
from assay.show.html.charts import charts_of
from assay.show.html.drawing import Chart, script
from assay.show.html.elements import Markup, element, json_block
from assay.show.html.experiment import Story, experiment_section
from assay.show.html.sections import Sections, navigation
from assay.show.view import view_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline' 'unsafe-eval'"
"""Vega compiles its expressions, hence unsafe-eval; nothing may be fetched or sent."""

_SECTIONS = (
    ("experiment", "Experiment"),
    ("verdicts", "Verdicts"),
    ("numbers", "Numbers"),
    ("noise", "How sure"),
    ("charts", "Charts"),
    ("samples", "Text"),
    ("notes", "Notes"),
    ("further", "Further"),
    ("environment", "Environment"),
    ("method", "Method"),
)


def render_html(
    result: Result, rounds: Sequence[Round] = (), ceilings: Ceilings | None = None, story: Story | None = None
) -> str:
    """The report as the text of one HTML file.

    Args:
        result: the judged study.
        rounds: its raw samples, for the distributions.
        ceilings: what the machine can do at best, for the roofline; without them the report says why there is none.
        story: the experiment that the study belongs to, with its decisions.

    Raises:
        MissingDependencyError: the extra that draws the charts is not installed.
    """
    vega = script()
    view = view_of(result)
    charts = charts_of(view, rounds, ceilings)
    sections = Sections(view)
    built = {
        "experiment": experiment_section(story) if story else Markup(""),
        "verdicts": sections.verdicts(),
        "numbers": sections.numbers(),
        "noise": sections.noise(),
        "charts": sections.charts(charts),
        "samples": sections.samples(),
        "further": sections.further(),
        "environment": sections.environment(),
        "method": sections.method(),
    }
    built["notes"] = sections.notes()
    present = [(name, title) for name, title in _SECTIONS if built[name]]
    specs = {chart.name: chart.spec for chart in charts if isinstance(chart, Chart)}
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{shown.one_line(result.name)} · Assay"),
        element("style", _own_file("report.css")),
    )
    body = element(
        "body",
        element("a", "Skip to the numbers", href="#numbers", class_="skip"),
        sections.head(),
        navigation(present),
        element("main", *[built[name] for name, _ in present]),
        element(
            "footer", f"Written by Assay {result.environment.packages.get('assay', '')}. This file needs no network."
        ),
        json_block("chart-specs", specs),
        element("script", Markup(vega)),
        element("script", _own_file("report.js")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _own_file(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
