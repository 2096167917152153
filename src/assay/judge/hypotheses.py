"""Causes that findings may have, each with the recorded facts that speak for and against it.

They refuse folklore: what no record can support or contradict is not in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay.core.records import Absent, Finding
from assay.judge.checks.base import Subject
from assay.judge.checks.figures import Entry

_ASYNCHRONOUS = ("cuda", "mps", "gpu", "nvidia", "rtx", "a100", "h100", "v100", "p100", "t4")
_NATIVE = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "sve_bf16", "bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "asimdhp"),
}


@dataclass(frozen=True)
class Evidence:
    """Recorded facts, as sentences."""

    supporting: tuple[str, ...] = ()
    opposing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """What a hypothesis looks at: the findings that it would explain, and the rows that they concern."""

    subject: Subject
    findings: tuple[Finding, ...]
    rows: tuple[Entry, ...]

    def number(self, check: str, name: str) -> list[float]:
        """A figure of the findings of one check."""
        values = [f.numbers[name] for f in self.findings if f.check == check and name in f.numbers]
        return [value for value in values if isinstance(value, float)]

    def text_of(self, fact: str) -> dict[str, str]:
        """A fact by row, where it is stated."""
        return {row.row.name: row.text(fact) for row in self.rows if row.text(fact)}

    def run_facts(self, name: str) -> set[str]:
        """What the runs of these rows recorded under a name."""
        wanted = {row.row.name for row in self.rows}
        return {str(run.facts[name]) for run in self.subject.runs() if run.variant in wanted and name in run.facts}

    def recorded(self, name: str) -> set[str]:
        """A fact from the runs or the tables."""
        return self.run_facts(name) | set(self.text_of(name).values())


@dataclass(frozen=True)
class Hypothesis:
    """One cause."""

    cause: str
    explains: frozenset[str]
    """Checks."""
    weigh: Callable[[Case], Evidence]
    experiment: str
    """With `{model}` for the model's name where it is known."""


def _each(values: dict[str, str]) -> str:
    return ", ".join(f"{value} ({row})" for row, value in values.items())


def _fast_products(case: Case) -> Evidence:
    rows = [row for row in case.rows if row.dtype == "float32"]
    supporting: list[str] = []
    opposing: list[str] = []
    for row in rows:
        if row.device is None or row.device.kind != "nvidia":
            continue
        if row.device.supports("tf32") is True:
            supporting.append(
                f"{row.device.name} has TF32 units (compute capability {row.device.compute_capability:g})"
            )
        else:
            opposing.append(f"{row.device.name} has no TF32 (compute capability {row.device.compute_capability:g})")
    probed = case.recorded("matmul_precision")
    supporting += [f"a float32 product was probed as {found}" for found in sorted(probed - {"float32"})]
    opposing += ["a float32 product was probed as float32"] if "float32" in probed else []
    if not rows:
        return Evidence()
    return Evidence(_unique(supporting), _unique(opposing))


def _not_waited_for(case: Case) -> Evidence:
    devices = case.text_of("device")
    asynchronous = {row: name for row, name in devices.items() if any(w in name.casefold() for w in _ASYNCHRONOUS)}
    blocking = {row: name for row, name in devices.items() if name.casefold() == "cpu"}
    supporting: list[str] = []
    opposing: list[str] = []
    if asynchronous and any(f.check in ("unsynchronised", "above_peak", "above_bandwidth") for f in case.findings):
        supporting.append(f"calls return before the work has ended on {_each(asynchronous)}")
    if blocking:
        opposing.append(f"calls return when the work has ended on {_each(blocking)}")
    if "True" in case.recorded("device_synchronised"):
        opposing.append("the device was probed as synchronised")
    return Evidence(_unique(supporting), _unique(opposing))


def _cold_call(case: Case) -> Evidence:
    supporting: list[str] = []
    opposing: list[str] = []
    for row in case.rows:
        warmup = row.fact("warmup")
        if warmup == 0 and not isinstance(warmup, bool):
            supporting.append(f"{row.name} is stated to have had no warm-up")
        elif row.amount("warmup"):
            opposing.append(f"{row.amount('warmup'):g} warm-up calls are stated for {row.name}")
    for finding in case.findings:
        if finding.check == "cold_call" and "one outlier" in finding.summary:
            supporting.append("the deviation is the one that a single outlier makes against a warm reference")
        if finding.check == "first_sample":
            supporting.append("the raw samples show it: the first one stands out")
    return Evidence(_unique(supporting), _unique(opposing))


def _overhead(case: Case) -> Evidence:
    supporting = []
    for finding in case.findings:
        if finding.check == "overhead_bound":
            supporting.append(finding.summary.partition(":")[0])
        if finding.check == "constant_residual":
            supporting.append(f"{finding.numbers.get('residual_s', 0.0):.3g} s beyond the roofline in every row")
    return Evidence(_unique(supporting))


def _fallback(case: Case) -> Evidence:
    supporting: list[str] = []
    opposing: list[str] = []
    for row in case.rows:
        for what in ("device", "dtype"):
            asked, ran = row.text(f"requested_{what}"), row.text(what)
            if asked and ran:
                same = asked.partition(":")[0].casefold() in ran.casefold() or ran.casefold() in asked.casefold()
                (opposing if same else supporting).append(f"{row.name} asked for {asked} and recorded {ran}")
    fallbacks = case.recorded("fallbacks") - {"()", "none", ""}
    supporting += [f"the runtime recorded a fallback: {found}" for found in sorted(fallbacks)]
    return Evidence(_unique(supporting), _unique(opposing))


def _no_units(case: Case) -> Evidence:
    supporting: list[str] = []
    opposing: list[str] = []
    isa = case.subject.environment.machine.isa if case.subject.environment is not None else ()
    for row in case.rows:
        device = row.device
        if device is not None and device.compute_capability is not None and row.dtype in ("float16", "bfloat16"):
            has = device.supports(row.dtype)
            said = (
                f"{device.name} (compute capability {device.compute_capability:g}) has {'' if has else 'no '}units for "
            )
            (opposing if has else supporting).append(said + row.dtype)
        if row.text("device") == "cpu" and isa and row.dtype in _NATIVE:
            has = bool(set(_NATIVE[row.dtype]) & set(isa))
            said = f"this processor has {'' if has else 'no '}instructions for {row.dtype}"
            (opposing if has else supporting).append(said)
    return Evidence(_unique(supporting), _unique(opposing))


def _not_converted(case: Case) -> Evidence:
    supporting = [
        finding.summary
        for finding in case.findings
        if finding.severity == "ERR" and finding.check in ("conversion_absent", "weight_size")
    ]
    return Evidence(_unique(supporting))


def _other_recipe(case: Case) -> Evidence:
    supporting = []
    for finding in case.findings:
        hints = [part for part in finding.cause.split("; ") if part.startswith(("windows of", "2 to the power"))]
        supporting += [f"the printed value fits: {hint}" for hint in hints]
    return Evidence(_unique(supporting))


def _busy_machine(case: Case) -> Evidence:
    supporting = [f.summary for f in case.findings if f.check == "contention" and f.severity == "WARN"]
    supporting += [f.summary for f in case.findings if f.check == "drift" and "thermal state" in f.summary]
    opposing = []
    loads = [run.environment.after for run in case.subject.runs()]
    pressures = [load.psi_cpu_some_avg10 for load in loads if not isinstance(load.psi_cpu_some_avg10, Absent)]
    if pressures and not supporting:
        opposing.append(f"processes waited for a CPU in {max(pressures):.2g} % of the time at most")
    return Evidence(_unique(supporting), _unique(opposing))


def _miscounted(case: Case) -> Evidence:
    supporting = [f.cause for f in case.findings if f.cause.startswith("the ratio is")]
    return Evidence(_unique(supporting))


def _other_unit(case: Case) -> Evidence:
    supporting = [f.summary for f in case.findings if f.check == "unit_slip" or "a thousand" in f.cause]
    return Evidence(_unique(supporting))


def _not_compiled(case: Case) -> Evidence:
    found = case.recorded("compilation_engaged")
    supporting = ["compilation was probed here and did not engage"] if "False" in found else []
    opposing = ["compilation was probed here and engages"] if "True" in found else []
    same = [f.summary for f in case.findings if f.check == "copied_rows"]
    return Evidence(_unique([*supporting, *same]), _unique(opposing))


def _exchanged(case: Case) -> Evidence:
    return Evidence(_unique([f.summary for f in case.findings if f.check == "swap_test"]))


def _other_window(case: Case) -> Evidence:
    supporting = []
    for row in case.rows:
        window = row.amount("energy_window_s")
        seconds = next((v for n in ("end_to_end_s", "call_s", "forward_s", "prefill_s") if (v := row.value(n))), None)
        if window and seconds and not 0.9 <= window / seconds <= 1.1:
            supporting.append(f"energy of {row.name} is of {window:.3g} s, its call takes {seconds:.3g} s")
    supporting += [f.summary for f in case.findings if "three digits" in f.summary]
    return Evidence(_unique(supporting))


def _unique(said: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(said))


_AGAIN = "`assay compare A B --model {model}`: both in one run, in turns"
HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "a fallback to another device or type",
        frozenset({"placement", "slower_precision", "contracts", "compute_units", "above_peak", "more_is_faster"}),
        _fallback,
        "`assay run STUDY`, and read the effective device and type in the facts of the run",
    ),
    Hypothesis(
        "TF32 or bf16 products behind the name fp32",
        frozenset({"above_peak"}),
        _fast_products,
        "`assay doctor --measure`: it probes the effective precision of a float32 product",
    ),
    Hypothesis(
        "the clock was read before the work had ended",
        frozenset({"unsynchronised", "above_peak", "above_bandwidth", "phase_sum", "backward_ratio"}),
        _not_waited_for,
        "`assay bench {model} -p 128 -n 16`, then with twice the tokens: it synchronises at both ends of each block",
    ),
    Hypothesis(
        "a cold call inside the timed ones",
        frozenset(
            {
                "cold_call",
                "first_sample",
                "printed_noise",
                "noise",
                "backward_ratio",
                "phase_sum",
                "slower_precision",
                "more_is_faster",
                "non_positive_time",
            }
        ),
        _cold_call,
        "`assay bench {model}`: it leaves out the warm-up by itself, and times the first call apart",
    ),
    Hypothesis(
        "a fixed overhead for each call or launch",
        frozenset({"overhead_bound", "constant_residual", "slower_precision", "compile_absent", "placement"}),
        _overhead,
        "`assay plan STUDY` after `assay doctor --measure`: it says which cells their launches bound",
    ),
    Hypothesis(
        "no units for this type on the device",
        frozenset({"slower_precision"}),
        _no_units,
        "`assay doctor --measure`: it measures the peak of each type",
    ),
    Hypothesis(
        "the conversion did not reach what ran",
        frozenset({"conversion_absent", "weight_size", "copied_rows"}),
        _not_converted,
        "`assay quality {model} --variants fp32,int8`: a variant that was converted differs from its reference",
    ),
    Hypothesis(
        "compilation did not engage",
        frozenset({"compile_absent", "copied_rows"}),
        _not_compiled,
        "`assay doctor --measure`: it probes whether compilation engages",
    ),
    Hypothesis(
        "another recipe than the published one",
        frozenset({"expected_perplexity"}),
        _other_recipe,
        "`assay quality {model} --variants fp32 --context 1024`: one recipe, which the report states",
    ),
    Hypothesis(
        "tokens or sequences were miscounted",
        frozenset({"throughput_latency"}),
        _miscounted,
        "multiply the rate with the time by hand, for one row",
    ),
    Hypothesis(
        "a figure in another unit",
        frozenset({"unit_slip", "throughput_latency", "placement", "phase_sum", "impossible_spread", "energy"}),
        _other_unit,
        "look the unit up at the source; `assay audit FILE --map MAP` reads a column in another one",
    ),
    Hypothesis(
        "exchanged labels",
        frozenset({"swap_test", "more_is_faster", "better_than_reference", "above_peak", "weight_size"}),
        _exchanged,
        _AGAIN,
    ),
    Hypothesis(
        "other programs, other tenants or heat",
        frozenset({"contention", "drift", "noise", "replicates", "dependent_rounds"}),
        _busy_machine,
        "`assay doctor` now and on a quiet machine, then the same command again",
    ),
    Hypothesis(
        "energy and time are of different windows",
        frozenset({"energy"}),
        _other_window,
        "`assay run STUDY` with a meter: it takes energy in windows of its own, around whole blocks",
    ),
)
"""In the order in which they are told where several stand."""
