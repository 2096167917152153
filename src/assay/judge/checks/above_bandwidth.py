"""Rule 17: a decode step that would have to read its weights faster than the memory can."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import bandwidth, timed

NAME = "above_bandwidth"
RULE = "17"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Divide weights and cache of a step by its time; what fits the last-level cache is not held against memory."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        ceiling = bandwidth(entry)
        for each in timed(entry):
            if each.kind != "decode":
                continue
            moved = each.bytes_moved
            if moved is None:
                unseen[f"no bytes of the weights of {entry.name} (parameters and bits, or --model)"] = None
            elif ceiling is None:
                unseen[f"no bandwidth for {entry.name} (--device, or assay doctor --measure)"] = None
            elif _speculates(entry):
                unseen[f"no steps of {entry.name} without a draft"] = None
            elif moved <= _cache(subject, policy):
                unseen[f"no step of {entry.name} that reads more than a last-level cache may hold"] = None
            elif moved / each.longest_s > policy.above_bandwidth * ceiling.value:
                share = moved / each.seconds / ceiling.value
                findings.append(
                    Finding(
                        check=NAME,
                        severity="WARN" if "recalled" in ceiling.source else "ERR",
                        cells=(each.cell,),
                        numbers={"bytes": moved, "seconds": each.seconds, "bandwidth": ceiling.value, "share": share},
                        summary=f"{entry.name}: {moved / 1e6:.4g} MB in {each.seconds:.4g} s is {share:.3g} x the "
                        "bandwidth "
                        f"of {ceiling.value / 1e9:.4g} GB/s ({ceiling.source}; {each.metric})",
                        cause="cause unknown; prompt tokens or several sequences counted as decoded, fewer bytes "
                        "in memory "
                        "than stated, or a clock that was read before the step ended",
                        remedy="Count new tokens of one sequence, and divide by a time that ends with a "
                        "synchronisation",
                    )
                )
    return Answer(tuple(findings), tuple(unseen))


def _speculates(entry: Entry) -> bool:
    return entry.fact("speculative") is True or entry.figure("acceptance_rate") is not None


def _cache(subject: Subject, policy: CheckPolicy) -> float:
    """Bytes that may lie in a cache: of this machine, or of a large one where nothing is known of it."""
    if subject.environment is None:
        return policy.cache_bytes
    return float(subject.environment.machine.cache_bytes.get("L3", 0))
