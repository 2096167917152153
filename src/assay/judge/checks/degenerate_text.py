"""Rule 4.1, text: what a variant writes is degenerate beside what its reference writes after the same prompts."""

from __future__ import annotations

from assay.core.records import Absent, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "degenerate_text"
RULE = "4.1"
_METRICS = (
    "text_compression", "text_distinct_2", "text_repeated_4grams", "text_script_share", "text_longest_word",
    "text_nll_nats",
)  # fmt: skip


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare figures of the texts with the reference's; its likelihood there is what garbage cannot fake."""
    written = [entry for entry in row_entries(subject) if entry.figure("text_compression") is not None]
    if not written:
        absent = [q.metrics["text_compression"] for q in subject.quality if "text_compression" in q.metrics]
        why = absent[0].reason if absent and isinstance(absent[0], Absent) else "--text-check"
        return Answer(not_checked=(f"no text of 3 x 256 tokens ({why})",) if subject.quality else ())
    findings: list[Finding] = []
    unseen: list[str] = []
    for entry in written:
        reference = next((e for e in written if e.text("role") == "reference" and e.label == entry.label), None)
        if entry is reference or entry.text("role") == "null":
            continue
        if reference is None:
            unseen.append(f"no text of the reference of {entry.name}")
            continue
        if entry.figure("text_nll_nats") is None or reference.figure("text_nll_nats") is None:
            unseen.append(f"no likelihood to the reference of what {entry.name} wrote")
        said = _said(entry, reference, policy)
        if said:
            findings.append(_finding(entry, reference, said))
    return Answer(tuple(findings), tuple(unseen))


def _said(entry: Entry, reference: Entry, policy: CheckPolicy) -> list[str]:
    ours = {metric: value for metric in _METRICS if (value := entry.value(metric)) is not None}
    theirs = {metric: value for metric in _METRICS if (value := reference.value(metric)) is not None}
    both = set(ours) & set(theirs)
    said: list[str] = []
    if "text_compression" in both and ours["text_compression"] > policy.text_compression * theirs["text_compression"]:
        said.append(f"compresses {ours['text_compression']:.3g} to 1, the reference's {theirs['text_compression']:.3g}")
    if "text_distinct_2" in both and ours["text_distinct_2"] < policy.text_distinct * theirs["text_distinct_2"]:
        said.append(f"{ours['text_distinct_2']:.0%} of its pairs are different, {theirs['text_distinct_2']:.0%} there")
    repeated = "text_repeated_4grams"
    if repeated in both and ours[repeated] > theirs[repeated] + policy.text_repeated:
        said.append(f"{ours[repeated]:.0%} of its 4-grams are repeated, {theirs[repeated]:.0%} there")
    share = ours.get("text_script_share", 1.0)
    if share < min(policy.text_script, theirs.get("text_script_share", 1.0)):
        said.append(f"only {share:.0%} of its letters are of one script")
    longest = ours.get("text_longest_word", 0.0)
    if longest > max(policy.text_word, theirs.get("text_longest_word", 0.0)):
        said.append(f"a word has {longest:.0f} characters")
    nll = "text_nll_nats"
    if nll in both and ours[nll] > policy.text_nll * theirs[nll]:
        said.append(f"{ours[nll]:.3g} nats per token to the reference, whose own text has {theirs[nll]:.3g}")
    return said


def _finding(entry: Entry, reference: Entry, said: list[str]) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=entry.cells(*_METRICS),
        numbers={metric: value for metric in _METRICS if (value := entry.value(metric)) is not None},
        summary=f"what {entry.name} writes is degenerate beside {reference.name}: {'; '.join(said)}",
        cause="cause unknown; the variant lost what keeps a text together, though single predictions may be close",
        remedy="Read its sample, and compare its tokens with the reference's one by one",
    )
