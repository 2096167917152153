"""From rounds to evidence: comparisons and pooled numbers. It refuses to compare runs whose surroundings differ.

The round is the unit: each gives one figure per variant and metric, and calls of one process are never counted as
independent samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, stdev

from assay.core.errors import InputError
from assay.core.metrics import METRICS
from assay.core.records import (
    Absent,
    Comparison,
    ComparisonOutcome,
    Environment,
    Estimate,
    Measured,
    Round,
    Run,
    Workload,
)
from assay.judge.stats.paired import RoundRatio, hodges_lehmann, round_log_ratio
from assay.judge.stats.quantiles import p50
from assay.judge.stats.sequence import (
    DEFAULT_BUDGET,
    FIRST_LOOK,
    Interval,
    confidence_sequence,
    decide,
    smallest_effect,
)

RATE_OF = {
    "prefill_tok_per_s": "prefill_s",
    "decode_tok_per_s": "tpot_s",
    "train_tok_per_s": "train_step_s",
    "sequences_per_s": "encode_s",
}
"""Rates and the sampled time that they are computed from."""
_TIME_OF_RATE = {time: rate for rate, time in RATE_OF.items()}
_UNPOOLED = frozenset({"cpu_s"})
"""Sampled per block, not per call: it serves comparisons and checks, and is no number of a row."""
_MEMORY_METRICS = {
    "peak_rss_bytes": "peak_bytes",
    "peak_anonymous_bytes": "peak_anonymous_bytes",
    "file_mapped_bytes": "file_mapped_bytes",
    "load_peak_rss_bytes": "load_peak_bytes",
    "kv_cache_bytes": "kv_cache_bytes",
    "device_peak_bytes": "device_peak_bytes",
}
_TRAINING_MEMORY = ("gradient_bytes", "optimizer_state_bytes", "activation_bytes")
_LARGEST_LOG = 700.0
"""exp of more than this overflows: an interval that wide is none."""


def tokens_per_call(metric: str, workload: Workload) -> int:
    """Tokens that one timed call of a rate metric works on: the prompt of every sequence, or one new token of each.

    Sequences, where the rate is of sequences.
    """
    return workload.batch * (1 if metric in ("decode_tok_per_s", "sequences_per_s") else workload.prompt_tokens)


def run_of(measured: Round, variant: str, workload_name: str) -> Run | None:
    """The run of a variant on a workload in a round, if there was one."""
    return next((r for r in measured.runs if r.variant == variant and r.workload.name == workload_name), None)


def differences(ours: Run, theirs: Run) -> tuple[str, ...]:
    """What differs between two runs and can change a number by itself: machine, packages, threads, workload.

    Threads that the study itself asked for are no difference but the question.
    """
    pairs = (
        ("workload", ours.workload.name, theirs.workload.name),
        ("workload text", ours.workload.text_digest[:12], theirs.workload.text_digest[:12]),
        ("workload seed", ours.workload.seed, theirs.workload.seed),
    )
    told = [f"{name}: {a} against {b}" for name, a, b in pairs if a != b]
    same_threads = ours.target.threads == theirs.target.threads
    return (*environment_differences(ours.environment, theirs.environment, threads=same_threads), *told)


def environment_differences(here: Environment, there: Environment, *, threads: bool = True) -> tuple[str, ...]:
    """What differs around two measurements and can change a number by itself.

    Args:
        here: of the one.
        there: of the other.
        threads: whether threads and their settings count.
    """
    pairs: list[tuple[str, object, object]] = [
        (f"machine.{name}", getattr(here.machine, name), getattr(there.machine, name))
        for name in (
            "system", "architecture", "cpu_model", "isa", "logical_cpus", "usable_cpus", "memory_bytes", "hypervisor",
            "governor", "accelerators",
        )
    ]  # fmt: skip
    pairs += [
        (f"package {name}", here.packages[name], there.packages[name])
        for name in sorted(set(here.packages) & set(there.packages))
    ]
    pairs.append(("python", here.python, there.python))
    if threads:
        pairs.append(("threads", here.threads, there.threads))
        settings = sorted(set(here.thread_settings) | set(there.thread_settings))
        unset = "not set"
        pairs += [(s, here.thread_settings.get(s, unset), there.thread_settings.get(s, unset)) for s in settings]
    return tuple(f"{name}: {said(a)} against {said(b)}" for name, a, b in pairs if a != b)


def said(value: object) -> str:
    """A recorded fact in words."""
    if isinstance(value, Absent):
        return f"unknown ({value.reason})"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class _Paired:
    """The rounds that hold both sides, and what was wrong with the others."""

    ratios: tuple[RoundRatio, ...]
    differences: tuple[str, ...]
    failures: tuple[str, ...]
    gaps: tuple[str, ...]
    in_turns: bool


def _pair(rounds: Sequence[Round], metric: str, workload_name: str, variant: str, baseline: str) -> _Paired:
    sampled = RATE_OF.get(metric, metric)
    ratios: list[RoundRatio] = []
    differing: list[str] = []
    failures: list[str] = []
    gaps: list[str] = []
    in_turns = True
    first: Run | None = None
    for measured in sorted(rounds, key=lambda r: r.index):
        ours, theirs = run_of(measured, variant, workload_name), run_of(measured, baseline, workload_name)
        if ours is None or theirs is None:
            continue
        failed = [run for run in (ours, theirs) if run.outcome.kind != "ok"]
        if failed:
            failures += [f"{r.variant} {_words(r.outcome.kind)}: {r.outcome.message or 'no message'}" for r in failed]
            continue
        first = first or theirs
        differing += [*differences(ours, theirs), *(f"between rounds, {d}" for d in differences(theirs, first))]
        mine, his = ours.samples_of(sampled), theirs.samples_of(sampled)
        absent = next((side for side in (mine, his) if isinstance(side, Absent)), None)
        if isinstance(mine, Absent) or isinstance(his, Absent):
            gaps.append(absent.reason if absent else "")
            continue
        ratio = round_log_ratio(his, mine, in_turns=measured.shared_memory)
        if isinstance(ratio, Absent):
            gaps.append(ratio.reason)
            continue
        in_turns = in_turns and measured.shared_memory
        ratios.append(ratio)
    return _Paired(tuple(ratios), _unique(differing), _unique(failures), _unique(gaps), in_turns)


def log_ratios(
    rounds: Sequence[Round], metric: str, workload_name: str, variant: str, baseline: str
) -> tuple[float, ...]:
    """The rounds' log ratios of a metric, variant / baseline, in their order: what a comparison decides on."""
    sign = -1.0 if metric in RATE_OF else 1.0
    return tuple(sign * ratio.log_ratio for ratio in _pair(rounds, metric, workload_name, variant, baseline).ratios)


def spread_by_figure(
    rounds: Sequence[Round], metric: str, workload_name: str, null: str, baseline: str
) -> Mapping[str, Measured]:
    """Deviation over the rounds of each figure of a round, on the A/A variant: the smallest is the tightest here.

    Keys: `paired` (the one that decides), `medians`, `minima`; natural logarithms.
    """
    ratios = _pair(rounds, metric, workload_name, null, baseline).ratios
    if len(ratios) < 2:
        return dict.fromkeys(("paired", "medians", "minima"), Absent(reason=f"{len(ratios)} rounds show no spread"))
    return {
        "paired": stdev(ratio.log_ratio for ratio in ratios),
        "medians": stdev(ratio.log_ratio_of_medians for ratio in ratios),
        "minima": stdev(ratio.log_ratio_of_minima for ratio in ratios),
    }


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def compare(
    rounds: Sequence[Round],
    metric: str,
    workload_name: str,
    variant: str,
    baseline: str,
    *,
    margin: float,
    alpha: float,
    min_rounds: int = FIRST_LOOK,
    budget: int = DEFAULT_BUDGET,
    family: int = 1,
) -> Comparison:
    """Hold a variant against the baseline on one metric of one workload, over all rounds that have both.

    Args:
        rounds: in any order; they are taken by index.
        metric: a time (`tpot_s`, `load_s`...) or a rate computed from one (`decode_tok_per_s`, `prefill_tok_per_s`).
        workload_name: `Workload.name`.
        variant: name of the variant.
        baseline: name of the baseline.
        margin: relative difference within which two variants are equivalent.
        alpha: level of the whole study's decisions.
        min_rounds: rounds before the first look.
        budget: most rounds that will be taken, fixed beforehand.
        family: decisions that the level is divided by (Bonferroni); 1 for a table without a gate.

    Raises:
        InputError: the metric is unknown or has no better direction, or `family` is below 1.
    """
    known = METRICS.get(metric)
    if known is None or known.better == "none":
        raise InputError(f"a comparison by {metric!r}", "no metric of that name has a better direction", "See METRICS.")
    if family < 1:
        raise InputError("a comparison", f"family = {family}", "Give the number of decisions, at least 1.")
    paired = _pair(rounds, metric, workload_name, variant, baseline)
    level = alpha / family
    sign = -1.0 if metric in RATE_OF else 1.0
    logs = [sign * ratio.log_ratio for ratio in paired.ratios]
    improves = 1.0 if known.better == "higher" else -1.0
    interval = (
        confidence_sequence(logs, level, budget=budget, first_look=min_rounds)
        if logs
        else Interval(0.0, -math.inf, math.inf)
    )
    outcome: ComparisonOutcome
    if paired.differences or not logs:
        outcome, reason = "not_comparable", _why_not(paired, variant, baseline, metric, workload_name)
    else:
        outcome = decide([improves * x for x in logs], margin, level, min_rounds, budget=budget)
        reason = _reason(outcome, interval, logs, margin, min_rounds)
        reason += _left_out(paired)
    return Comparison(
        metric=metric,
        workload=workload_name,
        variant=variant,
        baseline=baseline,
        ratio=_ratio(logs, interval, level, min_rounds, outcome, reason),
        rounds=len(logs),
        method=_method(paired, level, family),
        outcome=outcome,
        reason=reason,
        margin=margin,
        smallest_effect=_smallest(logs, level, budget, min_rounds),
    )


def _why_not(paired: _Paired, variant: str, baseline: str, metric: str, workload_name: str) -> str:
    if paired.differences:
        return "the runs differ in what matters: " + "; ".join(paired.differences)
    if paired.failures:
        return "; ".join(paired.failures)
    if paired.gaps:
        return "; ".join(paired.gaps)
    return f"no round holds both {variant} and {baseline} on {workload_name} with {metric}"


def _left_out(paired: _Paired) -> str:
    missing = [*paired.failures, *paired.gaps]
    return f"; rounds left out: {'; '.join(missing)}" if missing else ""


def _reason(outcome: str, interval: Interval, logs: Sequence[float], margin: float, min_rounds: int) -> str:
    count, percent = len(logs), f"{100 * margin:g} %"
    if math.isinf(interval.high):
        so_far = math.exp(hodges_lehmann(logs))
        wait = f"of at least {min_rounds} " if count < min_rounds else ""
        return f"{count} {wait}rounds give no interval yet; {so_far:.3g} x so far"
    if outcome == "equivalent":
        return f"the interval lies within +-{percent} after {count} rounds"
    if outcome == "inconclusive":
        return f"after {count} rounds the interval holds 1 and reaches beyond +-{percent}"
    inside = max(abs(interval.low), abs(interval.high)) < math.log1p(margin)
    return f"the interval excludes 1 after {count} rounds" + (
        f", by less than the margin of {percent}" if inside else ""
    )


def _method(paired: _Paired, level: float, family: int) -> str:
    turns = sorted(ratio.turns for ratio in paired.ratios)
    if turns and turns[0] > 0:
        span = f"{turns[0]}" if turns[0] == turns[-1] else f"{turns[0]} to {turns[-1]}"
        figure = f"median of the log ratios of blocks of one turn ({span} turns a round)"
    else:
        figure = "ratio of the medians of a round" + ("" if paired.in_turns else ", workers loaded in turn")
    share = f"alpha {level * family:g}/{family} (Bonferroni)" if family > 1 else f"alpha {level:g}, uncorrected"
    return f"{figure}; Hodges-Lehmann over rounds; mixture t-sequence, {share}"


def _ratio(
    logs: Sequence[float], interval: Interval, level: float, min_rounds: int, outcome: str, reason: str
) -> Estimate | Absent:
    if not logs or outcome == "not_comparable":
        return Absent(reason=reason)
    if max(abs(interval.low), abs(interval.high)) > _LARGEST_LOG:
        return Absent(reason=reason)
    centre, method = hodges_lehmann(logs), "exp(Hodges-Lehmann of the rounds' log ratios)"
    if not interval.low <= centre <= interval.high:
        centre, method = (
            interval.mean,
            "exp(mean of the rounds' log ratios): their Hodges-Lehmann lies outside the interval",
        )
    return Estimate(
        value=math.exp(centre),
        low=math.exp(interval.low),
        high=math.exp(interval.high),
        level=1 - level,
        method=method,
    )


def _smallest(logs: Sequence[float], level: float, budget: int, min_rounds: int) -> Measured:
    if len(logs) < 2:
        return Absent(reason=f"{len(logs)} rounds show no spread")
    effect = smallest_effect(stdev(logs), len(logs), level, budget=budget, first_look=min_rounds)
    if isinstance(effect, Absent):
        return effect
    if effect > _LARGEST_LOG:
        return Absent(reason=f"the rounds' deviation of {stdev(logs):.3g} hides every effect")
    return math.expm1(effect)


def summarise(rounds: Sequence[Round], variant: str) -> Mapping[str, Measured | Estimate]:
    """All that the rounds measured of one variant, each metric as the median of its rounds' medians.

    Keys are metric names, or `metric@workload` where several workloads recorded the metric. A metric with one round, or
    the same value in every round, is a number without an interval. Peaks of memory are the largest over the workers.
    """
    runs = [run for measured in rounds for run in measured.runs if run.variant == variant and run.outcome.kind == "ok"]
    by_cell: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for samples in run.samples:
            if samples.metric in _UNPOOLED or not samples.steady:
                continue
            centre = median(samples.steady)
            by_cell.setdefault((samples.metric, run.workload.name), []).append(centre)
            rate = _TIME_OF_RATE.get(samples.metric)
            if rate is not None and centre > 0:
                per_s = tokens_per_call(rate, run.workload) / centre
                by_cell.setdefault((rate, run.workload.name), []).append(per_s)
    names = [metric for metric, _ in by_cell]
    pooled: dict[str, Measured | Estimate] = {
        metric if names.count(metric) == 1 else f"{metric}@{workload}": _pooled(values)
        for (metric, workload), values in by_cell.items()
    }
    return {**pooled, **_memory(runs)}


def _pooled(values: Sequence[float]) -> float | Estimate:
    estimate = p50(values)
    if isinstance(estimate, Absent):
        return median(values)
    return estimate.model_copy(update={"method": f"median of {len(values)} rounds' medians; {estimate.method}"})


def _memory(runs: Sequence[Run]) -> dict[str, Measured | Estimate]:
    found: dict[str, Measured | Estimate] = {}
    trained = any(run.workload.kind == "train_step" for run in runs)
    wanted = _MEMORY_METRICS | (dict(zip(_TRAINING_MEMORY, _TRAINING_MEMORY, strict=True)) if trained else {})
    for metric, field in wanted.items():
        values = [getattr(run.memory, field) for run in runs]
        numbers = [value for value in values if not isinstance(value, Absent)]
        if numbers:
            found[metric] = max(numbers)
        elif values:
            found[metric] = values[0]
    return found
