"""Rule 12: the prompt was taken from a cache, so its time is not the time of reading it."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Series, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "prefix_cached"
RULE = "12"
_FACT = "cached_prompt_tokens"
_WITH_PROMPT = ("prefill_s", "end_to_end_s")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Strike out times that hold a prompt of which the engine itself says that a part came from a cache."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for series, found in subject.samples(_WITH_PROMPT).items():
        counts = [run.facts[_FACT] for run, _ in found if _FACT in run.facts]
        cached = max((count for count in counts if isinstance(count, int)), default=0)
        if cached > 0:
            findings.append(_finding(subject, series, cached))
        elif any(run.facts.get("prefix_cache") == "the server does not tell" for run, _ in found):
            unseen.append(f"{series}: the server does not tell what came from a cache")
    return Answer(tuple(findings), tuple(unseen))


def _finding(subject: Subject, series: Series, cached: int) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=subject.timed_cells(series),
        numbers={_FACT: float(cached)},
        summary=f"{cached} tokens of the prompt of {series} came from a cache and were not read",
        cause="the engine keeps the prompt of the request before, and every timed call has the same one",
        remedy="Start the engine without its prefix cache: vLLM's --no-enable-prefix-caching, or ask another engine",
    )
