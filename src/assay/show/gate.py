"""What a gate says: for the terminal, as JUnit XML and as Markdown. It computes no number."""

from __future__ import annotations

from xml.etree import ElementTree

from assay.core.gate import GateReport
from assay.show import format as shown
from assay.show.markdown import escape


def gate_text(report: GateReport) -> str:
    """One line per test that is not passed, and the sums."""
    lines = [f"{test.outcome.upper():<13}{test.name}: {test.said}" for test in report.tests if test.outcome != "passed"]
    return shown.visible("\n".join([*lines, _sums(report)]))


def gate_markdown(report: GateReport) -> str:
    """A summary for a pull request: the sums, and a table of every test."""
    lines = [f"## Gate: {escape(report.study)}", "", _sums(report), "", "| test | outcome | numbers |", "|---|---|---|"]
    order = ("failed", "inconclusive", "new", "passed")
    for test in sorted(report.tests, key=lambda test: order.index(test.outcome)):
        outcome = f"**{test.outcome}**" if test.outcome == "failed" else test.outcome
        lines.append(f"| {escape(test.name)} | {outcome} | {escape(test.said)} |")
    return "\n".join(lines) + "\n"


def gate_junit(report: GateReport) -> str:
    """JUnit XML: a failure for what failed, skipped for what was not decided."""
    suite = ElementTree.Element(
        "testsuite",
        name=shown.one_line(f"assay gate {report.study}"),
        tests=str(len(report.tests)),
        failures=str(len(report.failed)),
        errors="0",
        skipped=str(sum(test.outcome in ("inconclusive", "new") for test in report.tests)),
        time=f"{report.elapsed_s:.3f}",
    )
    for test in report.tests:
        case = ElementTree.SubElement(
            suite, "testcase", classname=shown.one_line(f"gate.{report.study}"), name=shown.one_line(test.name)
        )
        said = shown.one_line(test.said)
        if test.outcome == "failed":
            ElementTree.SubElement(case, "failure", message=said).text = said
        elif test.outcome != "passed":
            ElementTree.SubElement(case, "skipped", message=f"{test.outcome}: {said}")
        else:
            ElementTree.SubElement(case, "system-out").text = said
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _sums(report: GateReport) -> str:
    count = {kind: sum(test.outcome == kind for test in report.tests) for kind in ("passed", "failed", "inconclusive")}
    new = len(report.tests) - sum(count.values())
    kept = f", {new} with nothing kept to hold them against" if new else ""
    return (
        f"{count['passed']} passed, {count['failed']} failed, {count['inconclusive']} inconclusive{kept}. Margin "
        f"{100 * report.margin:.3g} %; an unchanged tree fails in at most {100 * report.level:.3g} of 100 runs."
    )
