"""Rule 4: means of other tools whose printed spread is too wide for the digits that stand before it."""

from __future__ import annotations

from assay.core.metrics import METRICS
from assay.core.records import Absent, Finding
from assay.judge.checks.base import REPEATED_TIMES, Answer, Subject
from assay.judge.checks.figures import Entry, entries
from assay.judge.checks.policy import CheckPolicy

NAME = "printed_noise"
RULE = "4"
_METRICS = tuple(
    sorted(REPEATED_TIMES | {"train_step_s", "ttft_s", "prefill_tok_per_s", "decode_tok_per_s", "tok_per_s"})
)


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look at deviation / mean, at the extremes, and at calls too short to time one by one."""
    if subject.rows:
        return Answer()
    symptoms: dict[Entry, list[tuple[str, str]]] = {}
    spread = False
    for entry in entries(subject):
        for metric in _METRICS:
            figure = entry.figure(metric)
            if figure is None or figure.value <= 0:
                continue
            spread = spread or not isinstance(figure.std, Absent)
            said = _said(entry, metric, policy)
            if said:
                symptoms.setdefault(entry, []).append((metric, said))
    findings = tuple(
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(entry.cell(metric) for metric, _ in found),
            summary=f"{entry.name} scatters: {', '.join(f'{metric} ({said})' for metric, said in found)}",
            cause="cause unknown",
            remedy="Take more samples on a quiet machine, and compare by interleaved pairs rather than by means",
        )
        for entry, found in symptoms.items()
    )
    return Answer(findings, () if spread or not subject.tables else ("no deviation beside any time",))


def _said(entry: Entry, metric: str, policy: CheckPolicy) -> str:
    figure = entry.figure(metric)
    assert figure is not None
    said: list[str] = []
    std = entry.std(metric)
    if std is not None and policy.noise_deviation <= std / figure.value <= policy.cold_call_variation:
        said.append(f"deviation / mean {std / figure.value:.0%}")
    if not isinstance(figure.maximum, Absent) and figure.maximum >= (1 + policy.noise_extreme) * figure.value:
        said.append(f"largest {figure.maximum / figure.value:.3g} x the mean")
    if not isinstance(figure.minimum, Absent) and figure.minimum <= (1 - policy.noise_extreme) * figure.value:
        said.append(f"smallest {figure.minimum / figure.value:.3g} x the mean")
    shortest = figure.minimum if METRICS[metric].unit == "s" else Absent(reason="no time")
    if not isinstance(shortest, Absent) and shortest < policy.noise_raw_s:
        said.append(f"single calls as short as {shortest:.2g} s")
    return ", ".join(said)
