"""Rule 30: energy, power and time that contradict each other or the device."""

from __future__ import annotations

from assay.core.records import Absent, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries, measured_tables, standard_error
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import peak, timed

NAME = "energy"
RULE = "30"
_TIMES = ("end_to_end_s", "call_s", "train_step_s", "forward_s", "prefill_s", "tpot_s")
_MEASURED = "Integrate the power over the timed window alone, synchronised at both ends, and state the idle power"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Multiply power with time, and hold both against idle, the board's limit and the energy of an operation."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        joules, watts = entry.value("energy_j"), entry.value("power_w")
        if joules is None and watts is None:
            continue
        if joules is not None and joules <= 0:
            findings.append(
                _error(entry, ("energy_j",), f"an energy of {joules:.4g} J: no work takes that", "no counter")
            )
            continue
        findings += [
            *_product(entry, policy),
            *_power(entry, policy),
            *_window(entry, policy),
            *_per_flop(entry, policy),
        ]
        if watts is not None and entry.amount("idle_w") is None:
            unseen[f"no idle power of {entry.name} (idle_w)"] = None
    return Answer((*findings, *_constant(subject, policy)), tuple(unseen))


def _error(entry: Entry, metrics: tuple[str, ...], said: str, cause: str, severity: str = "ERR") -> Finding:
    return Finding(
        check=NAME,
        severity="ERR" if severity == "ERR" else "WARN",
        cells=entry.cells(*metrics),
        numbers={metric: value for metric in metrics if (value := entry.value(metric)) is not None},
        summary=f"{entry.name}: {said}",
        cause=cause,
        remedy=_MEASURED,
    )


def _product(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    joules, watts = entry.value("energy_j"), entry.value("power_w")
    time = next((name for name in _TIMES if (entry.value(name) or 0.0) > 0), "")
    seconds = entry.value(time) if time else None
    if joules is None or watts is None or seconds is None or watts <= 0:
        return []
    ratio = joules / (watts * seconds)
    slack = standard_error(*((entry.error(m) or 0.0) / (entry.value(m) or 1.0) for m in ("energy_j", "power_w", time)))
    if abs(ratio - 1) <= max(policy.energy_product, 2 * slack):
        return []
    said = f"{joules:.4g} J is {ratio:.3g} x {watts:.4g} W x {seconds:.4g} s ({time})"
    cause = "cause unknown; the windows of the three differ, or one is per token and another per call"
    return [_error(entry, ("energy_j", "power_w", time), said, cause)]


def _power(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    watts, idle = entry.value("power_w"), entry.amount("idle_w")
    if watts is None:
        return []
    limit, source = entry.amount("power_limit_w"), "the limit that was stated"
    device = entry.device
    if limit is None and device is not None and not isinstance(device.power_w(), Absent):
        published = device.power_w()
        limit = published if isinstance(published, float) else None
        source = f"{device.name}, {'recalled' if 'power' in device.recalled else 'published'}"
    found = []
    if watts <= 0 or (limit is not None and watts > policy.power_over_limit * limit):
        said = f"{watts:.4g} W" + (
            f", where the board is limited to {limit:g} W ({source})" if limit is not None else ""
        )
        severity = "WARN" if "recalled" in source and watts > 0 else "ERR"
        found.append(
            _error(entry, ("power_w", "energy_j"), said, "another unit, several devices, or a wall meter", severity)
        )
    if idle is not None and watts < idle:
        said = f"{watts:.4g} W under load, {idle:.4g} W idle"
        found.append(_error(entry, ("power_w", "energy_j"), said, "the window holds no load"))
    elif idle is not None and watts < policy.power_over_idle * idle:
        said = f"{watts:.4g} W under load is hardly more than {idle:.4g} W idle"
        cause = "cause unknown; the window is mostly idle, or the work ran on another device"
        found.append(_error(entry, ("power_w", "energy_j"), said, cause, "WARN"))
    return found


def _window(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    window, period = entry.amount("energy_window_s"), entry.amount("counter_period_s")
    if window is None or period is None or window >= policy.counter_periods * period:
        return []
    said = f"a window of {window:.3g} s holds {window / period:.2g} updates of its counter"
    return [_error(entry, ("energy_j", "power_w"), said, "the counter is slower than the work", "WARN")]


def _per_flop(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    joules, ceiling, device = entry.value("energy_j"), peak(entry), entry.device
    limit = None if device is None else device.power_w()
    if joules is None or ceiling is None or not isinstance(limit, float):
        return []
    best = limit / ceiling.value
    for each in timed(entry):
        if each.flops is None or each.kind == "decode":
            continue
        share = joules / each.flops / best
        if share >= policy.energy_per_flop:
            return []
        said = f"{joules / each.flops * 1e12:.3g} pJ per operation is {share:.2g} x the {best * 1e12:.3g} of "
        f"{ceiling.source}"
        severity = "ERR" if share < 0.5 * policy.energy_per_flop else "WARN"
        cause = "cause unknown; the idle machine, another window or fewer operations than stated"
        return [_error(entry, ("energy_j", each.metric), said, cause, severity)]
    return []


def _constant(subject: Subject, policy: CheckPolicy) -> list[Finding]:
    found = []
    for table, label in measured_tables(subject):
        powers = [
            figure for figure in table.figures if figure.metric.partition("@")[0] == "power_w" and figure.value > 0
        ]
        if len(powers) < policy.constant_power_rows or len({f"{figure.value:.2e}" for figure in powers}) > 1:
            continue
        cells = tuple(
            entry.cell("power_w")
            for entry in entries(subject)
            if entry.label == label and entry.figure("power_w") is not None
        )
        found.append(
            Finding(
                check=NAME,
                severity="WARN",
                cells=cells,
                numbers={"power_w": powers[0].value},
                summary=f"all {len(powers)} rows have a mean power of {powers[0].value:.3g} W, to three digits",
                cause="cause unknown; a constant was assumed: energy is then time in another unit",
                remedy="Measure the power in each row, or leave the column out",
            )
        )
    return found
