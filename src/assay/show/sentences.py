"""The sentences of a report: comparisons, noise, caveats, methods, environment. They judge nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assay.core.records import Absent, Comparison, Diagnosis, Estimate, Load, Measured, Result, Text
from assay.show import format as shown
from assay.show.view import View, words


def comparison_line(comparison: Comparison) -> str:
    """`decode 128+64: ×1.458 (1.431 … 1.485), 12 rounds, better: the interval lies above 1`."""
    rounds = f"{comparison.rounds} round{'' if comparison.rounds == 1 else 's'}"
    outcome = f"{words(comparison.outcome)}: {shown.one_line(comparison.reason)}"
    return f"{shown.one_line(comparison.workload)}: {_ratio_words(comparison)}{rounds}, {outcome}"


def null_lines(result: Result) -> tuple[str, ...]:
    """The noise that the study itself saw: the baseline against itself."""
    return tuple(
        f"{shown.one_line(null.baseline)} against itself, {comparison_line(null)}" for null in result.null_estimates
    )


def inconclusive_lines(result: Result) -> tuple[str, ...]:
    """What stayed undecided, and the smallest effect that would have been seen."""
    return tuple(
        f"{shown.one_line(comparison.variant)}, {comparison_line(comparison)}.{_smallest_effect(comparison)}"
        for comparison in result.comparisons
        if comparison.outcome in ("inconclusive", "not_comparable")
    )


def further_comparison_lines(view: View) -> tuple[str, ...]:
    """Comparisons that no cell shows, such as those with the baseline of another runtime."""
    in_cells = [cell.comparison for row in view.rows for cell in row.cells]
    return tuple(
        f"{shown.one_line(comparison.variant)} against {shown.one_line(comparison.baseline)}, "
        f"{shown.title_of(comparison.metric)}, {comparison_line(comparison)}"
        for comparison in view.result.comparisons
        if comparison not in in_cells
    )


def method_lines(result: Result) -> tuple[str, ...]:
    """How the numbers came about, as the records say it."""
    by_method: dict[str, list[str]] = {}
    for row in result.rows:
        for key, value in row.metrics.items():
            titles = by_method.setdefault(value.method, []) if isinstance(value, Estimate) else []
            if shown.title_of(key) not in titles:
                titles.append(shown.title_of(key))
    lines = [f"{', '.join(titles)}: {shown.one_line(method)}." for method, titles in by_method.items()]
    compared: dict[str, list[str]] = {}
    for comparison in (*result.comparisons, *result.null_estimates):
        titles = compared.setdefault(comparison.method, [])
        if shown.title_of(comparison.metric) not in titles:
            titles.append(shown.title_of(comparison.metric))
    lines += [f"Comparison of {', '.join(t)}: {shown.one_line(method)}." for method, t in compared.items()]
    return (
        "A ratio is variant / baseline of its metric; the interval belongs to the ratio.",
        "Outcomes: better, worse, equivalent (wholly inside the margin), inconclusive (none of these), not comparable.",
        "A struck-out number is invalid: a finding of severity ERR concerns it, and no verdict rests on it.",
        *lines,
    )


def environment_pairs(result: Result) -> tuple[tuple[str, str], ...]:
    """Everything around the runs that can change their numbers, as names and words."""
    environment, machine = result.environment, result.environment.machine
    caches = ", ".join(f"{name} {shown.bytes_text(size)}" for name, size in machine.cache_bytes.items())
    pairs: list[tuple[str, str]] = [
        ("system", f"{machine.system} {machine.release}, {machine.architecture}"),
        ("processor", _words_or_reason(machine.cpu_model)),
        ("instruction sets", ", ".join(machine.isa) or "none that matter"),
        ("processors", f"{machine.usable_cpus} usable of {machine.logical_cpus}"),
        ("caches", caches or shown.MISSING),
        ("memory", shown.bytes_text(machine.memory_bytes)),
        ("memory limit", _number_or_reason(machine.cgroup_memory_bytes, shown.bytes_text)),
        ("hypervisor", _words_or_reason(machine.hypervisor)),
        ("governor", _words_or_reason(machine.governor)),
        ("accelerators", ", ".join(machine.accelerators) or "none"),
        ("python", environment.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in environment.packages.items())),
        ("threads", str(environment.threads)),
        ("thread settings", ", ".join(f"{k}={v}" for k, v in environment.thread_settings.items()) or "none"),
        ("git revision", _words_or_reason(environment.git_revision)),
    ]
    before, after = _load_words(environment.before), _load_words(environment.after)
    for name, text in before.items():
        same_reason = text.startswith(shown.MISSING) and text == after[name]
        pairs.append((name, text if same_reason else f"{text} before, {after[name]} after"))
    return tuple((name, shown.one_line(text)) for name, text in pairs)


def _load_words(load: Load) -> dict[str, str]:
    return {
        "load average": _number_or_reason(load.load_average, shown.amount),
        "waiting for a CPU": _number_or_reason(load.psi_cpu_some_avg10, lambda share: f"{share:.1f} %"),
        "stolen time": _number_or_reason(load.steal_fraction, lambda share: f"{100 * share:.2f} %"),
        "free memory": _number_or_reason(load.available_bytes, shown.bytes_text),
        "clock": _number_or_reason(load.frequency_hz, lambda hertz: f"{hertz / 1e9:.2f} GHz"),
        "temperature": _number_or_reason(load.temperature_c, lambda degrees: f"{degrees:.0f} °C"),
        "thermal state": _words_or_reason(load.thermal_state),
    }


def _words_or_reason(text: Text) -> str:
    return text if isinstance(text, str) else f"{shown.MISSING} ({text.reason})"


def _number_or_reason(value: Measured, write: Callable[[float], str]) -> str:
    return f"{shown.MISSING} ({value.reason})" if isinstance(value, Absent) else write(value)


def caveat_lines(result: Result) -> tuple[str, ...]:
    """What holds for the whole table: the source, the text, what is not finished, what was not checked."""
    lines = []
    if isinstance(result.model.quantisation, str):
        lines.append(
            f"The source is already quantised ({shown.one_line(result.model.quantisation)}): every variant starts from "
            "these weights, and quality is measured against them, not against the original model."
        )
    if isinstance(result.model.adapter, str):
        lines.append(f"A LoRA adapter is merged into every variant: {shown.one_line(result.model.adapter)}.")
    if isinstance(result.model.revision, str):
        lines.append(f"Revision of the model: {shown.one_line(result.model.revision)}.")
    lines.append(f"Text: {shown.one_line(result.text)}.")
    if not result.complete:
        lines.append("Not complete: the study was interrupted or its budget ended before every cell was decided.")
    if result.not_checked:
        checks = ", ".join(name for name, _ in not_checked(result))
        lines.append(f"Not checked everywhere, for want of a fact: {checks}. The reasons stand at the end.")
    return tuple(lines)


def not_checked(result: Result) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The checks that lacked a fact, each with its reasons."""
    by_check: dict[str, list[str]] = {}
    for line in result.not_checked:
        check, colon, reason = shown.one_line(line).partition(": ")
        by_check.setdefault(check if colon else "", []).append(reason if colon else check)
    return tuple((check or "other", tuple(reasons)) for check, reasons in by_check.items())


def cause_lines(diagnoses: Sequence[Diagnosis]) -> tuple[str, ...]:
    """One line for each cause: what it would explain, the facts for and against it, and what would tell."""
    lines = []
    for diagnosis in diagnoses:
        rows = ", ".join(dict.fromkeys(shown.one_line(cell.row) for cell in diagnosis.cells))
        parts = [f"{shown.one_line(diagnosis.cause)}, of {', '.join(diagnosis.checks)} ({rows})"]
        parts += [f"for: {shown.one_line(said)}" for said in diagnosis.supporting]
        parts += [f"against: {shown.one_line(said)}" for said in diagnosis.opposing]
        lines.append(f"{'; '.join(parts)}. To know: {shown.one_line(diagnosis.experiment)}.")
    return tuple(lines)


def gate_line(result: Result) -> str:
    """What a candidate must reach."""
    if not result.gate:
        return "No gate was set."
    bounds = (
        f"{words(name)} {shown.bytes_text(bound) if name.endswith('_bytes') else shown.amount(bound)}"
        for name, bound in result.gate.items()
    )
    return f"Gate: {', '.join(bounds)}."


def _ratio_words(comparison: Comparison) -> str:
    if not isinstance(comparison.ratio, Absent):
        return f"{shown.ratio(comparison.ratio)} ({shown.ratio_interval(comparison.ratio)}), "
    reason = comparison.ratio.reason
    return "" if reason == comparison.reason else f"no ratio ({shown.one_line(reason)}), "


def _smallest_effect(comparison: Comparison) -> str:
    if comparison.outcome == "not_comparable":
        return ""
    if isinstance(comparison.smallest_effect, Absent):
        return f" Smallest effect that would be found: unknown, {shown.one_line(comparison.smallest_effect.reason)}."
    return f" Smallest effect found with 80 % power: {shown.percent(comparison.smallest_effect)}."
