"""Text for a paper, a README or an issue: paragraphs and a table of a stored result. It computes no number.

It refuses a claim that rests on a cell with a finding of severity ERR, and a comparative word that no outcome backs:
better, worse and equivalent are outcomes of the study, and what is inconclusive is said to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from assay.core.metrics import METRICS
from assay.core.records import Absent, Comparison, Finding, Result
from assay.show import format as shown
from assay.show.markdown import escape
from assay.show.sentences import caveat_lines, environment_pairs, gate_line, null_lines
from assay.show.view import CellView, ColumnView, RowView, View, view_of, words

Purpose = Literal["paper", "readme", "issue"]
PURPOSES: tuple[Purpose, ...] = ("paper", "readme", "issue")
_LEFT_OUT = "left out"
_IN_PAPER = ("system", "processor", "instruction sets", "threads", "python", "packages", "git revision")
_IN_README = ("processor", "threads", "packages")


class Claim(NamedTuple):
    """A sentence and the comparison that backs it."""

    text: str
    comparison: Comparison


def render_prose(result: Result, purpose: Purpose) -> str:
    """Markdown text for a purpose.

    Args:
        result: a judged study.
        purpose: `paper` tells method and all outcomes, `readme` the table and what was decided, `issue` also what was
            found wrong and the whole environment.
    """
    view = view_of(result)
    parts: tuple[str, ...]
    decided = (_decided(view), _undecided(view), _noise(result))
    match purpose:
        case "paper":
            parts = (_setting(result, _IN_PAPER), _method(result), _table(view), *decided, _gate(view))
        case "readme":
            parts = (_table(view), *decided, _setting(result, _IN_README))
        case "issue":
            parts = (_asked(view), _table(view), *decided, _suspicions(view), _environment(result))
    parts = (*parts, _left_out(view), _caveats(result))
    return "\n\n".join(part for part in parts if part) + "\n"


def claims(view: View) -> tuple[Claim, ...]:
    """Every better, worse and equivalent of the study that rests on sound cells alone."""
    return tuple(
        Claim(_claim(view, comparison), comparison)
        for comparison in view.result.comparisons
        if comparison.outcome in ("better", "worse", "equivalent") and not invalid_for(view.result, comparison)
    )


def invalid_for(result: Result, comparison: Comparison) -> tuple[Finding, ...]:
    """The findings of severity ERR about either side of a comparison: with one of them it backs no claim."""
    return _findings_on(result, comparison, "ERR")


# ------------------------------------------------------------------------------------------------- sentences


def _findings_on(result: Result, comparison: Comparison, severity: str) -> tuple[Finding, ...]:
    rows = {comparison.variant, comparison.baseline}
    keys = {comparison.metric, f"{comparison.metric}@{comparison.workload}"}
    return tuple(
        finding
        for finding in result.findings
        if finding.severity == severity and any(cell.row in rows and cell.metric in keys for cell in finding.cells)
    )


def _claim(view: View, comparison: Comparison) -> str:
    metric = shown.title_of(comparison.metric)
    rounds = f"{comparison.rounds} round{'' if comparison.rounds == 1 else 's'}"
    relation = "equivalent to" if comparison.outcome == "equivalent" else f"{words(comparison.outcome)} than"
    inside = f" (margin {shown.percent(comparison.margin)})" if comparison.outcome == "equivalent" else ""
    doubts = _findings_on(view.result, comparison, "WARN")
    doubtful = f" This number is suspect: {'; '.join(_sentence(f.summary) for f in doubts)}" if doubts else ""
    return (
        f"{_name(comparison.variant)} is {relation} {_name(comparison.baseline)} in {_quantity(metric, comparison)}"
        f"{inside}: {_ratio(comparison)}, {rounds}.{doubtful}"
    )


def _quantity(metric: str, comparison: Comparison) -> str:
    workload = shown.one_line(comparison.workload)
    direction = METRICS[comparison.metric].better if comparison.metric in METRICS else "none"
    wanted = f", {direction} is better" if direction != "none" else ""
    return escape(f"{metric} ({workload}{wanted})")


def _ratio(comparison: Comparison) -> str:
    if isinstance(comparison.ratio, Absent):
        return f"no ratio, {escape(comparison.ratio.reason)}"
    return f"ratio {shown.ratio(comparison.ratio)}, interval {shown.ratio_interval(comparison.ratio)}"


def _name(text: str) -> str:
    return f"**{escape(text)}**"


def _sentence(text: str) -> str:
    return f"{escape(text).rstrip('.')}."


def _setting(result: Result, wanted: Iterable[str]) -> str:
    pairs = dict(environment_pairs(result))
    named = "; ".join(f"{name} {pairs[name]}" for name in wanted if name in pairs)
    return _sentence(f"Measured on {result.created_utc[:10]} with {shown.one_line(result.model.location)}: {named}")


def _method(result: Result) -> str:
    methods = dict.fromkeys(comparison.method for comparison in result.comparisons)
    how = f"The interval of a ratio: {escape('; '.join(methods))}." if methods else ""
    return (
        "Every round has one fresh process per variant; they take turns in an order drawn anew every time. A ratio is "
        f"variant / baseline. {how}"
    ).strip()


def _decided(view: View) -> str:
    return "\n".join(f"- {claim.text}" for claim in claims(view))


def _undecided(view: View) -> str:
    lines = []
    for comparison in view.result.comparisons:
        if invalid_for(view.result, comparison):
            continue
        pair = f"{_name(comparison.variant)} and {_name(comparison.baseline)}"
        quantity = _quantity(shown.title_of(comparison.metric), comparison)
        if comparison.outcome == "inconclusive":
            seen = comparison.smallest_effect
            power = (
                escape(f"the smallest effect that would be found is not known, {seen.reason}")
                if isinstance(seen, Absent)
                else f"an effect of {shown.percent(seen)} would have been found with 80 % power"
            )
            lines.append(f"- Inconclusive for {pair} in {quantity}: {_ratio(comparison)}; {power}.")
        elif comparison.outcome == "not_comparable":
            lines.append(f"- Not comparable, {pair} in {quantity}: {_sentence(comparison.reason)}")
    return "\n".join(lines)


def _noise(result: Result) -> str:
    lines = [_sentence(line) for line in null_lines(result)]
    if not lines:
        return "The study held no copy of its baseline: the noise that it saw is not known."
    return f"Noise (the baseline against itself, under another name): {' '.join(lines)}"


def _gate(view: View) -> str:
    if not view.result.gate:
        return ""
    by_status: dict[str, list[str]] = {}
    for row in view.rows:
        if row.verdict is not None and row.verdict.status in ("pass", "fail", "inconclusive", "failed_run"):
            by_status.setdefault(words(row.verdict.status), []).append(_name(row.name))
    said = "; ".join(f"{status}: {', '.join(names)}" for status, names in by_status.items())
    return f"{escape(gate_line(view.result))} Verdicts: {said or 'none'}."


def _asked(view: View) -> str:
    names = ", ".join(_name(row.name) for row in view.rows)
    model = escape(view.result.model.location)
    return f"Variants of {model} were compared: {names}. The baseline is {_name(view.baseline)}."


def _caveats(result: Result) -> str:
    return "\n".join(f"- {escape(line)}" for line in caveat_lines(result))


def _suspicions(view: View) -> str:
    lines = [
        f"- {finding.severity} {_sentence(finding.summary)} Cause: {_sentence(finding.cause)} Remedy: "
        f"{_sentence(finding.remedy)}"
        for finding in view.result.findings
        if finding.severity != "INFO"
    ]
    return "What the checks found:\n\n" + "\n".join(lines) if lines else ""


def _environment(result: Result) -> str:
    pairs = "\n".join(f"| {escape(name)} | {escape(text)} |" for name, text in environment_pairs(result))
    return f"| what | found |\n| --- | --- |\n{pairs}"


def _left_out(view: View) -> str:
    """What no claim may rest on, with the check that says so."""
    lines = []
    for finding in view.result.findings:
        if finding.severity == "ERR":
            cells = ", ".join(
                dict.fromkeys(f"{_name(c.row)} ({escape(shown.title_of(c.metric))})" for c in finding.cells)
            )
            lines.append(f"- {cells}: {_sentence(finding.summary)} (check {escape(finding.check)})")
    failed = [f"- {_name(row.name)}: {_sentence(row.outcome)}" for row in view.rows if row.outcome]
    return "Left out, because a check found them invalid or the run failed:\n\n" + "\n".join([*lines, *failed]) if (
        lines or failed
    ) else ""  # fmt: skip


# ------------------------------------------------------------------------------------------------- the table


def _table(view: View) -> str:
    headers = ["variant", *(escape(_header(column)) for column in view.columns)]
    rows = [[_name(row.name), *(_cell(cell) for cell in row.cells)] for row in view.rows if _has_numbers(row)]
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _has_numbers(row: RowView) -> bool:
    return any(not isinstance(cell.raw, Absent) for cell in row.cells)


def _header(column: ColumnView) -> str:
    workload = f", {column.workload}" if column.workload else ""
    return f"{column.header}{workload}{f' ({column.unit})' if column.unit else ''}"


def _cell(cell: CellView) -> str:
    if cell.struck:
        return _LEFT_OUT
    return escape(cell.text) + (f" ({escape(cell.interval)})" if cell.interval else "")
