"""Experiments and decisions for people: EXPERIMENTS.md, the terminal's lists, expected beside measured.

It computes no number, and refuses to let text from outside become markup.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import date

from assay.core.decisions import (
    STATUSES,
    Decision,
    Effect,
    Excerpt,
    Expectation,
    Experiment,
    ExperimentRun,
    Ledger,
    LedgerLine,
    LogFinding,
    Recheck,
    RevisitTrigger,
)
from assay.core.records import Absent, Estimate, Measured
from assay.core.study import StudyVariant
from assay.show import format as shown
from assay.show.markdown import escape

_WIDTH = 80


def render_experiments(
    experiments: Mapping[str, Experiment], history: Mapping[str, Sequence[Decision]], ledger: Ledger
) -> str:
    """EXPERIMENTS.md: one section per experiment, in the order of their names.

    Args:
        experiments: those whose file can be read, by name.
        history: every decision by experiment, oldest first.
        ledger: of all decisions.
    """
    names = sorted({*experiments, *history})
    parts = [
        "# Experiments",
        "",
        "<!-- Rendered by `assay log render` from experiments/*/. Edit those, never this file. -->",
        "",
        "| experiment | status | since | expected | measured |",
        "|---|---|---|---|---|",
    ]
    parts += [_overview(name, experiments.get(name), history.get(name, ())) for name in names]
    parts += [
        "",
        *(f"- **{status}**: {meaning}." for status, meaning in STATUSES.items() if _used(status, history)),
        "",
    ]
    parts += [f"- {line}" for line in ledger_lines(ledger)] + [""]
    for name in names:
        parts += _section(name, experiments.get(name), history.get(name, ()))
    return "\n".join(parts).rstrip() + "\n"


def _used(status: str, history: Mapping[str, Sequence[Decision]]) -> bool:
    return any(decision.status == status for decisions in history.values() for decision in decisions)


def _overview(name: str, experiment: Experiment | None, decisions: Sequence[Decision]) -> str:
    link = f"[{name}](#{_anchor(name)})"
    if not decisions:
        since = experiment.stated if experiment else ""
        expected = expectation_words(experiment.expect[0]) if experiment else ""
        return f"| {link} | undecided | {since} | {expected} | |"
    last = decisions[-1]
    expected = expectation_words(last.expected[0]) if last.expected else ""
    measured = "" if isinstance(last.evidence, Absent) else effect_words(last.evidence.effects[0])
    return f"| {link} | **{_status(last)}** | {last.decided_utc[:10]} | {expected} | {measured} |"


def _anchor(name: str) -> str:
    """The anchor that GitHub gives a heading of this text."""
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter in "-_ ").replace(" ", "-")


def _section(name: str, experiment: Experiment | None, decisions: Sequence[Decision]) -> list[str]:
    last = decisions[-1] if decisions else None
    hypothesis = last.hypothesis if last else experiment.hypothesis if experiment else ""
    lines = [f"## {name}", ""]
    if last is None:
        lines += ["Status: **undecided**; nothing was written down yet.", ""]
    else:
        lines += [f"Status: **{_status(last)}** since {last.decided_utc[:10]}, decided by {escape(last.author)}.", ""]
    lines += [f"Idea: {escape(hypothesis)}", ""]
    lines += _recipe(name, experiment, last)
    expected = last.expected if last else experiment.expect if experiment else ()
    evidence = last.evidence if last else Absent(reason="not decided")
    lines += _beside(expected, evidence, last.stated if last else experiment.stated if experiment else "")
    if last is not None:
        lines += _conclusion(last)
    if len(decisions) > 1:
        lines += ["History:", ""]
        lines += [f"- {d.decided_utc[:10]} {_status(d)} (`{d.id}`): {escape(d.reason)}" for d in decisions]
        lines += [""]
    return lines


def _status(decision: Decision) -> str:
    return decision.status.replace("_", " ")


def _recipe(name: str, experiment: Experiment | None, last: Decision | None) -> list[str]:
    if last is not None:
        model, baseline, candidate, workloads = last.model, last.baseline, last.variant, last.workloads
        files = tuple(last.files)
    elif experiment is not None:
        model, candidate = experiment.study.model, experiment.variant(experiment.candidate)
        baseline = experiment.variant(experiment.study.baseline)
        workloads, files = tuple(w.name for w in experiment.study.workloads), tuple(experiment.files)
    else:
        return []
    paths = ", ".join(f"[{file}](experiments/{name}/{file})" for file in ("experiment.toml", *files))
    return [
        f"- model: {escape(model)}; workloads: {', '.join(workloads)}",
        f"- baseline: {recipe_words(baseline)}",
        f"- candidate: {recipe_words(candidate)}",
        f"- files: {paths}",
        "",
    ]


def _beside(expected: Sequence[Expectation], evidence: Excerpt | Absent, stated: str) -> list[str]:
    lines = [f"| number | expected on {stated} | measured |", "|---|---|---|"]
    for place, wanted in enumerate(expected):
        found = "not measured" if isinstance(evidence, Absent) else effect_words(evidence.effects[place])
        lines.append(f"| {subject_words(wanted)} | {expectation_words(wanted)} | {found} |")
    lines.append("")
    why = [f"{subject_words(wanted)}: {escape(wanted.why)}" for wanted in expected if wanted.why]
    return [*lines, *(f"Expected because, {line}" for line in why), ""] if why else lines


def _conclusion(last: Decision) -> list[str]:
    lines = [f"{heading_words(last)}: {escape(last.reason)}", ""]
    numbers = "; ".join(f"{subject_words(effect)} {effect_words(effect)}" for effect in last.numbers)
    if numbers:
        lines.append(f"- rests on: {numbers}")
    if not isinstance(last.evidence, Absent):
        evidence = last.evidence
        lines.append(
            f"- gate: {evidence.verdict.status.replace('_', ' ')}: {escape('; '.join(evidence.verdict.reasons))}"
        )
        lines += [f"- noise (A/A): {c.metric} on {c.workload} {shown.ratio(c.ratio)}" for c in evidence.noise[:2]]
        lines += [f"- {f.severity} {f.check}: {escape(f.summary)}" for f in evidence.findings if f.severity != "INFO"]
        tools = ", ".join(f"{name} {version}" for name, version in sorted(evidence.toolchain.items()))
        lines.append(
            f"- measured {evidence.measured_utc[:10]} on {escape(evidence.machine_about)}; "
            f"{evidence.rounds} rounds; {escape(tools)}; study `{evidence.study[:12]}`"
        )
    lines += [f"- look again when: {trigger_words(trigger)}" for trigger in last.triggers]
    return [*lines, ""]


def heading_words(decision: Decision) -> str:
    """What a decision's reason is called."""
    return "Obituary" if decision.status in ("rejected", "abandoned", "shelved") else "Conclusion"


# ---------------------------------------------------------------------------------------------- words and numbers


def recipe_words(variant: StudyVariant) -> str:
    """`int8: cast(dtype=bf16) + int8_weight_only on torch`."""
    specs = " + ".join(
        spec.kind + (f"({', '.join(f'{key}={value}' for key, value in spec.options.items())})" if spec.options else "")
        for spec in variant.transforms
    )
    decoding = variant.decoding.model_dump(mode="json", exclude_defaults=True)
    more = "".join(f", {key} = {value}" for key, value in decoding.items())
    return f"{escape(variant.name)}: {escape(specs or 'the model as it is')} on {', '.join(variant.runtimes)}{more}"


def expectation_words(expected: Expectation) -> str:
    """`×1.40 (1.10 … 1.70, 90 %)`, or in the metric's unit."""
    if expected.kind == "ratio":
        return f"×{expected.value:.3g} ({expected.low:.3g} … {expected.high:.3g}, {100 * expected.level:.0f} %)"
    value, low, high = (shown.number(expected.metric, bound) for bound in (expected.value, expected.low, expected.high))
    return f"{value} ({low} … {high}{_unit(expected.metric)}, {100 * expected.level:.0f} %)"


def effect_words(effect: Effect) -> str:
    """What was measured, with its interval, or why it was not; struck through where a check found it invalid."""
    value = effect.value
    if isinstance(value, Absent):
        return f"not measured: {escape(value.reason)}"
    said = _number_words(effect, value)
    outcome = f", {effect.outcome.replace('_', ' ')}" if effect.outcome else ""
    by_hand = ", given by hand" if effect.source == "by hand" else ""
    if effect.struck:
        return f"~~{said}~~ {escape('; '.join(effect.struck))}"
    return f"{said}{outcome}{by_hand}"


def _number_words(effect: Effect, value: float | Estimate) -> str:
    if effect.kind == "ratio":
        if isinstance(value, Estimate):
            return f"×{value.value:.3f} ({value.low:.3f} … {value.high:.3f})"
        return f"×{value:.3f}"
    key = effect.metric
    if effect.source == "by hand":
        return shown.amount(value if isinstance(value, float) else value.value)
    spread = shown.interval(key, value)
    return shown.measured(key, value) + (f" ({spread})" if spread else "") + _unit(key)


def _unit(key: str) -> str:
    unit = shown.scale_of(key).unit
    return f" {unit}" if unit else ""


def subject_words(number: Effect | Expectation) -> str:
    """`decode_tok_per_s on decode 128+64`."""
    return number.metric + (f" on {number.workload}" if number.workload else "")


def trigger_words(trigger: RevisitTrigger) -> str:
    """A trigger as a sentence's end."""
    match trigger.kind:
        case "version":
            return f"{escape(trigger.package)} {escape(trigger.at_least)} or newer is installed"
        case "device":
            return f"there is a device {escape(trigger.device)}"
        case "date":
            return f"it is {trigger.on}"
        case _:
            sign, bound = ("at most", trigger.at_most) if trigger.at_least is None else ("at least", trigger.at_least)
            return f"{escape(trigger.metric)} is {sign} {bound:g}"


def ledger_lines(ledger: Ledger) -> tuple[str, ...]:
    """How good the predictions have been, in sentences."""
    if isinstance(ledger.coverage, Absent):
        return (f"Predictions: {ledger.coverage.reason}.",)
    coverage, counted = ledger.coverage, ledger.expectations - ledger.unmeasured
    level = "" if isinstance(ledger.stated_level, Absent) else f"; {100 * ledger.stated_level:.0f} % was claimed"
    held = f"{100 * coverage.value:.0f} % ({100 * coverage.low:.0f} … {100 * coverage.high:.0f})"
    lines = [f"Predictions: {ledger.inside} of {counted} intervals held what was measured, {held}{level}."]
    if ledger.unmeasured:
        lines.append(f"{ledger.unmeasured} of {ledger.expectations} expectations have no valid measurement.")
    bias = ledger.bias
    lines.append(
        f"Bias: {bias.reason}."
        if isinstance(bias, Absent)
        else f"Bias: measured / expected is ×{bias.value:.3f} ({bias.low:.3f} … {bias.high:.3f}) on average."
    )
    return tuple(lines)


# ---------------------------------------------------------------------------------------------- the terminal


def run_text(run: ExperimentRun) -> str:
    """Expected beside measured, for the terminal, and what the verdict says."""
    experiment, evidence = run.experiment, run.evidence
    lines = [f"Experiment {experiment.name}: {experiment.hypothesis}", ""]
    for expected, effect in zip(experiment.expect, evidence.effects, strict=True):
        lines += [
            f"  {subject_words(expected)}",
            f"    expected  {expectation_words(expected)}, stated {experiment.stated}",
            f"    measured  {effect_words(effect)}  {inside_words(expected, effect)}",
        ]
    lines += ["", f"  gate: {evidence.verdict.status.replace('_', ' ')}: {'; '.join(evidence.verdict.reasons)}"]
    if not evidence.complete:
        lines.append("  not every cell is decided: the same command with a larger budget goes on")
    lines += ["", f"Record what follows: assay experiment decide {experiment.name} --status ... --reason ..."]
    return shown.visible("\n".join(lines))


def inside_words(expected: Expectation, effect: Effect) -> str:
    """Whether what was measured lies where it was expected; empty where it was not measured, or is invalid."""
    centre: Measured = effect.centre
    if isinstance(centre, Absent) or effect.struck:
        return ""
    return "as expected" if expected.low <= centre <= expected.high else "OUTSIDE of what was expected"


def list_text(experiments: Mapping[str, Experiment], standing: Mapping[str, Sequence[Decision]], ledger: Ledger) -> str:
    """One line per experiment: name, status, day, the first number."""
    names = sorted({*experiments, *standing})
    if not names:
        return "No experiments yet: start one with `assay experiment new NAME --model MODEL`"
    width = max(len(name) for name in names)
    lines = []
    for name in names:
        decisions = standing.get(name, ())
        if not decisions:
            lines.append(f"{name:<{width}}  undecided    {experiments[name].stated}")
        for decision in decisions:
            measured = "" if isinstance(decision.evidence, Absent) else effect_words(decision.evidence.effects[0])
            lines.append(f"{name:<{width}}  {_status(decision):<11}  {decision.decided_utc[:10]}  {measured}")
    return shown.visible("\n".join([*lines, "", *ledger_lines(ledger)]))


def history_text(decisions: Sequence[Decision]) -> str:
    """Every decision on an experiment, oldest first, with what it superseded."""
    lines: list[str] = []
    for decision in decisions:
        lines.append(f"{decision.decided_utc[:10]}  {_status(decision):<11}  {decision.id}  by {decision.author}")
        lines += textwrap.wrap(decision.reason, _WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
        lines += [f"    {subject_words(effect)}: {effect_words(effect)}" for effect in decision.numbers]
        lines += [f"    look again when {trigger_words(trigger)}" for trigger in decision.triggers]
        lines += [f"    supersedes {old}" for old in decision.supersedes]
    return shown.visible("\n".join(lines))


def section_text(name: str, experiment: Experiment, decisions: Sequence[Decision]) -> str:
    """The section of EXPERIMENTS.md, for the terminal."""
    return shown.visible("\n".join(_section(name, experiment, decisions)))


def ship_text(decisions: Sequence[Decision]) -> str:
    """What ships, where, and by which decision."""
    lines: list[str] = []
    for decision in decisions:
        target = decision.target
        threads = f"{target.threads} threads" if target.threads else "all threads"
        lines += [
            f"{decision.model}: {recipe_words(decision.variant)}",
            f"  for {', '.join(decision.workloads)} with {target.runtime} on {target.device}, {threads}",
            f"  decided {decision.decided_utc[:10]} by {decision.author}: {decision.reason}",
            *(f"  {subject_words(effect)}: {effect_words(effect)}" for effect in decision.numbers),
            f"  assay experiment history {decision.experiment}",
        ]
    return shown.visible("\n".join(lines))


def ledger_text(ledger: Ledger) -> str:
    """Every expectation beside what was measured, and the sums."""
    lines = []
    for line in ledger.lines:
        measured = line.measured
        said = f"not measured: {measured.reason}" if isinstance(measured, Absent) else _plain(line, measured)
        lines.append(f"{line.experiment}: {subject_words(line.expected)} {expectation_words(line.expected)}: {said}")
    return shown.visible("\n".join([*lines, *([""] if lines else []), *ledger_lines(ledger)]))


def _plain(line: LedgerLine, measured: float) -> str:
    ratio = line.expected.kind == "ratio"
    value = f"×{measured:.3f}" if ratio else shown.number(line.expected.metric, measured) + _unit(line.expected.metric)
    return f"{value}, {'as expected' if line.inside is True else 'outside'}"


def recheck_text(again: Recheck) -> str:
    """Whether a decision still holds, and the numbers then and now."""
    if isinstance(again.holds, Absent):
        holds = f"undecided: {again.holds.reason}"
    else:
        holds = "still holds" if again.holds else "DOES NOT HOLD any more"
    lines = [f"{again.experiment}: {again.status}, decided {again.decided_utc[:10]}: {holds}", ""]
    for then, now in zip(again.then, again.now, strict=True):
        lines += [f"  {subject_words(then)}", f"    then  {effect_words(then)}", f"    now   {effect_words(now)}"]
    lines += [f"  gate then {again.gate_then.replace('_', ' ')}, now {again.gate_now.replace('_', ' ')}"]
    lines += [f"  {reason}" for reason in again.reasons]
    return shown.visible("\n".join(lines))


def findings_text(findings: Sequence[LogFinding], today: date) -> str:
    """What the check of the journal found, one paragraph each."""
    if not findings:
        return f"The journal is in order on {today}."
    lines: list[str] = []
    for finding in findings:
        lines += [f"{finding.kind.upper()}  {finding.where}", f"    {finding.found}", f"    {finding.remedy}"]
    return shown.visible("\n".join(lines))
