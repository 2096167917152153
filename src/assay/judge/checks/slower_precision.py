"""Rule 19: fewer bits that came out slower; expected where recorded facts explain it, suspect where none does."""

from __future__ import annotations

from typing import NamedTuple

from assay.core.records import Absent, Artifact, Comparison, Finding, Run
from assay.judge.checks.base import TIMES, Answer, Subject
from assay.judge.checks.figures import DTYPE_FACTS, Entry, entries, standard_error, varying
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import Timed, flat_layers, timed

NAME = "slower_precision"
RULE = "19"
_UNITS = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "sve_bf16", "bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fp16", "asimdhp", "fphp"),
}
"""Instruction sets that multiply a type natively on a CPU; without one of them it is widened for every product."""
_WEIGHT_ONLY = ("weight_only", "palettize")


class _Side(NamedTuple):
    name: str
    artifact: Artifact


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look at rates of which the row with the smaller weights came out worse, be it the variant or the baseline."""
    findings: list[Finding] = []
    unseen: list[str] = []
    baseline = subject.baseline
    for comparison in subject.comparisons:
        if comparison.outcome not in ("better", "worse") or comparison.metric not in TIMES:
            continue
        row = subject.row(comparison.variant)
        if row is None or baseline is None or isinstance(row.artifact, Absent) or isinstance(baseline.artifact, Absent):
            unseen.append(f"no artifact of {comparison.variant} or of {comparison.baseline}")
            continue
        ours, theirs = _Side(row.name, row.artifact), _Side(baseline.name, baseline.artifact)
        slower, faster = (ours, theirs) if comparison.outcome == "worse" else (theirs, ours)
        if slower.artifact.weight_bytes < faster.artifact.weight_bytes:
            findings.append(_finding(subject, policy, comparison, slower, faster))
    return Answer((*findings, *_printed(subject, policy)), tuple(unseen))


# ---------------------------------------------------------------------------------------------- figures of others


def _printed(subject: Subject, policy: CheckPolicy) -> list[Finding]:
    """The same of what another tool printed: rows that differ in their type alone."""
    if subject.rows:
        return []
    overhead = {
        id(each.entry.row) for _, pairs in flat_layers(subject, policy) for pair in pairs for each in pair
    }  # a row object of a table stands in every entry of that row
    findings: list[Finding] = []
    for group in varying(entries(subject), *DTYPE_FACTS, "autocast"):
        rows = [(bits, each) for entry in group if (bits := _bits(entry)) is not None for each in timed(entry)]
        for fewer, slow in rows:
            faster = [each for bits, each in rows if bits > fewer and each.metric == slow.metric]
            if not faster:
                continue
            base = min(faster, key=lambda each: each.seconds)
            error = standard_error(slow.longest_s - slow.seconds, base.longest_s - base.seconds)
            if slow.seconds - base.seconds > max(error, policy.slower_margin * base.seconds):
                findings.append(_told(slow, base, _printed_causes(slow, id(slow.entry.row) in overhead, policy)))
    return findings


def _bits(entry: Entry) -> float | None:
    """Bits per weight that the products read; autocast counts as 16."""
    mixed = entry.fact("autocast") is True or any(
        w in entry.text("dtype").casefold() for w in ("mixed", "autocast", "amp")
    )
    return 16.0 if mixed else entry.weight_bits


def _printed_causes(slow: Timed, overhead: bool, policy: CheckPolicy) -> list[str]:
    entry = slow.entry
    device, causes = entry.device, []
    written = entry.text("dtype").casefold()
    if device is not None and device.compute_capability is not None:
        capability = f"{device.name} has compute capability {device.compute_capability:g}"
        if not device.tensor_cores:
            causes.append(f"{capability}: no tensor cores")
        elif ("bf16" in written or entry.dtype == "bfloat16") and device.supports("bfloat16") is False:
            causes.append(f"{capability}: bf16 needs 8.0")
    if entry.fact("autocast") is True or any(word in written for word in ("mixed", "autocast", "amp")):
        causes.append("autocast casts the weights anew in each call, which fewer bits do not pay back at this size")
    if overhead:
        causes.append("the rows are bound by launches (`overhead_bound`), which fewer bits do not shorten")
    std = entry.std(slow.metric)
    if std is not None and std > policy.cold_call_variation * slow.seconds:
        causes.append("its deviation is that of a first call inside the mean (`cold_call`)")
    return causes


def _told(slow: Timed, base: Timed, causes: list[str]) -> Finding:
    ratio = slow.seconds / base.seconds
    return Finding(
        check=NAME,
        severity="INFO" if causes else "WARN",
        cells=(slow.cell, base.cell),
        numbers={"seconds": slow.seconds, "other_seconds": base.seconds, "ratio": ratio},
        summary=f"{slow.entry.name} has fewer bits than {base.entry.name} and takes {ratio:.3g} x its time "
        f"({slow.metric})" + (": expected" if causes else ""),
        cause="; ".join(causes) or "cause unknown: no recorded fact explains it",
        remedy="Nothing to mend: judge it by memory, or on hardware that has units for the type"
        if causes
        else "Look for a fallback kernel or a conversion at each call, and profile one call",
    )


# ---------------------------------------------------------------------------------------------- our own rows


def _finding(subject: Subject, policy: CheckPolicy, c: Comparison, slower: _Side, faster: _Side) -> Finding:
    run = next((r for r in subject.runs() if r.variant == slower.name and r.workload.name == c.workload), None)
    causes = _causes(policy, run, slower.artifact, faster.artifact)
    bits, more_bits = slower.artifact.bits_per_weight, faster.artifact.bits_per_weight
    numbers: dict[str, float | str] = {"bits_per_weight": bits, "other_bits_per_weight": more_bits}
    at = ""
    if not isinstance(c.ratio, Absent):
        turned = slower.name != c.variant
        ratio, low, high = c.ratio.value, c.ratio.low, c.ratio.high
        if turned:
            ratio, low, high = 1 / ratio, 1 / high, 1 / low
        numbers["ratio"] = ratio
        at = f", at {ratio:.3g} x [{low:.3g}, {high:.3g}]"
    return Finding(
        check=NAME,
        severity="INFO" if causes else "WARN",
        cells=(subject.cell(slower.name, c.metric, c.workload),),
        numbers=numbers,
        summary=f"{slower.name} ({bits:.3g} bits per weight) is slower than {faster.name} ({more_bits:.3g}) on "
        f"{c.workload}{at}" + (": expected" if causes else ""),
        cause="; ".join(causes) or "cause unknown: no recorded fact explains it",
        remedy="Nothing to mend: judge it by memory and by the workloads that are bound by bytes"
        if causes
        else "Look in the run's facts for a fallback kernel or another dtype, and profile one call",
    )


def _causes(policy: CheckPolicy, run: Run | None, slower: Artifact, faster: Artifact) -> list[str]:
    if run is None:
        return []
    causes: list[str] = []
    isa, dtype = run.environment.machine.isa, slower.contract.dtype
    native = _UNITS.get(dtype, ())
    if run.target.device == "cpu" and dtype != faster.contract.dtype and native and isa and not set(native) & set(isa):
        causes.append(f"this CPU multiplies no {dtype} natively (it has {', '.join(isa)})")
    weight_only = [change.kind for change in slower.changes if any(word in change.kind for word in _WEIGHT_ONLY)]
    if not weight_only:
        return causes
    work = run.workload
    shared = work.batch * (work.prompt_tokens if work.kind == "prefill" else 1)
    if shared >= policy.prefill_tokens_per_weight:
        causes.append(
            f"{weight_only[0]} saves bytes, not arithmetic, and {shared} tokens share each read of a weight here: such "
            "products are bound by arithmetic, and widening the weights comes on top"
        )
    if slower.resident_weight_bytes > policy.expanded_bytes * slower.weight_bytes:
        causes.append("its weights are expanded at load, so a step reads no fewer bytes")
    return causes
