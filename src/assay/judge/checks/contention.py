"""Rule 13: other programs, or the hypervisor, took CPU time while a CPU run was timed."""

from __future__ import annotations

import math
from statistics import median

from assay.core.records import Absent, Cell, Finding, Round, Run, Samples
from assay.judge.checks.base import (
    REPEATED_TIMES,
    Answer,
    Series,
    Subject,
    Symptom,
    by_workload,
    enough_rounds,
    numbers_of,
    of_rounds,
    told,
)
from assay.judge.checks.policy import CheckPolicy

NAME = "contention"
RULE = "13"
_MORE_THAN_TIMED = 1.05
"""Threads cannot spend more CPU time than wall time; a share above this counts untimed work too."""


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Read pressure and stolen time of every round, and CPU time against wall time of every series."""
    if not any(run.target.device == "cpu" for run in subject.runs()):
        return Answer(not_checked=("no CPU run",))
    pressed = _pressure(subject, policy)
    shares = _cpu_shares(subject, policy)
    return Answer(pressed.findings + shares.findings, pressed.not_checked + shares.not_checked)


def _pressure(subject: Subject, policy: CheckPolicy) -> Answer:
    rounds = [measured for measured in subject.rounds if measured.runs]
    signs = (
        ("psi_cpu_some_avg10", policy.psi_cpu_some_avg10, "some process waited for a CPU in {:.3g} % of 10 s"),
        ("steal_fraction", policy.steal_fraction, "the hypervisor took {:.2%} of the CPU time"),
    )
    said: list[str] = []
    numbers: dict[str, float | str] = {}
    unseen: list[str] = []
    bad_rounds: set[int] = set()
    for field, limit, words in signs:
        readings = [
            (measured.index, reading) for measured in rounds if (reading := _worst(measured, field)) is not None
        ]
        if not readings:
            unseen.append(f"no {field}")
            continue
        over = [(index, reading) for index, reading in readings if reading > limit]
        if enough_rounds(len(over), len(readings), policy.contended_rounds_share):
            highest = max(reading for _, reading in over)
            numbers[field] = highest
            said.append(
                f"{words.format(highest)} at worst, above the limit in {len(over)} of {of_rounds(len(readings))}"
            )
            bad_rounds |= {index for index, _ in over}
    if not said:
        return Answer(not_checked=tuple(unseen))
    touched = [run for run in subject.runs() if run.round in bad_rounds and run.target.device == "cpu"]
    cells = _all_timed_cells(subject, touched)
    if not cells:
        return Answer(not_checked=tuple(unseen))
    finding = Finding(
        check=NAME,
        severity="WARN",
        cells=cells,
        numbers=numbers,
        summary="; ".join(said),
        cause="other programs ran on these CPUs, or on the machine beneath",
        remedy="Close other programs and repeat; ratios of blocks taken in turn suffer less than the times themselves",
    )
    return Answer((finding,), tuple(unseen))


def _worst(measured: Round, field: str) -> float | None:
    """The reading after the runs: the one before them tells of what was there earlier."""
    readings = [getattr(run.environment.after, field) for run in measured.runs]
    known = [float(reading) for reading in readings if not isinstance(reading, Absent)]
    return max(known) if known else None


def _all_timed_cells(subject: Subject, runs: list[Run]) -> tuple[Cell, ...]:
    cells: dict[Cell, None] = {}
    for run in runs:
        for samples in run.samples:
            if samples.metric in REPEATED_TIMES:
                cells |= dict.fromkeys(subject.timed_cells(Series(run.variant, samples.metric, run.workload.name)))
    return tuple(cells)


# ---------------------------------------------------------------------------------------------- CPU time / wall time


def _cpu_shares(subject: Subject, policy: CheckPolicy) -> Answer:
    contended: list[Symptom] = []
    idle: list[Symptom] = []
    unseen: list[str] = []
    for series, found in subject.samples(REPEATED_TIMES).items():
        cpu_runs = [(run, samples) for run, samples in found if run.target.device == "cpu"]
        shares = [share for run, samples in cpu_runs if (share := _cpu_share(run, samples)) is not None]
        if shares:
            _sort_by_share(policy, series, shares, _threads(cpu_runs[0][0]), contended, idle)
        elif cpu_runs:
            unseen.append(f"no CPU time of the timed calls of {series} alone")
    findings = [*_contended(subject, contended), *_idle(subject, idle)]
    return Answer(tuple(findings), tuple(unseen))


def _cpu_share(run: Run, samples: Samples) -> float | None:
    """CPU seconds of the timed blocks / (their wall seconds x threads).

    None where a part is absent, or where the CPU time holds more than the timed calls (a prompt read again in between).
    """
    cpu = run.samples_of("cpu_s")
    if isinstance(cpu, Absent) or not cpu.block or not samples.block:
        return None
    wall: dict[int, float] = {}
    for block, value in zip(samples.block[samples.warmup :], samples.steady, strict=True):
        wall[block] = wall.get(block, 0.0) + value
    pairs = [(value, wall[block]) for block, value in zip(cpu.block, cpu.values, strict=True) if block in wall]
    spent, passed = sum(c for c, _ in pairs), sum(w for _, w in pairs)
    share = spent / (passed * _threads(run)) if passed > 0 else math.inf
    return share if share < _MORE_THAN_TIMED else None


def _threads(run: Run) -> int:
    said = run.facts.get("threads", run.environment.threads)
    return said if isinstance(said, int) and said > 0 else max(1, run.environment.threads)


def _sort_by_share(
    policy: CheckPolicy,
    series: Series,
    shares: list[float],
    threads: int,
    contended: list[Symptom],
    idle: list[Symptom],
) -> None:
    """Low against one thread, or against what the program itself reached in its best round: contended.

    Low alike in every round with several threads is the program's own: its threads wait for each other.
    """
    typical, best = median(shares), min(1.0, max(shares))
    if typical >= policy.cpu_share:
        return
    numbers = {"cpu_share": typical, "best_round": best, "threads": float(threads)}
    if threads == 1 or typical < policy.cpu_share * best:
        contended.append(Symptom(series, f"{typical:.0%}, {best:.0%} in its best round", numbers))
    else:
        idle.append(Symptom(series, f"{typical * threads:.2g} of {threads}", numbers))


def _contended(subject: Subject, symptoms: list[Symptom]) -> list[Finding]:
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(cell for symptom in group for cell in subject.timed_cells(symptom.series)),
            numbers=numbers_of(group),
            summary=f"{workload} had a CPU for only part of wall time x threads: {told(group)}",
            cause="the runs waited: for other programs, for the disk, or for the hypervisor",
            remedy="Close other programs and repeat",
        )
        for workload, group in by_workload(symptoms).items()
    ]


def _idle(subject: Subject, symptoms: list[Symptom]) -> list[Finding]:
    return [
        Finding(
            check=NAME,
            severity="INFO",
            cells=tuple(cell for symptom in group for cell in subject.timed_cells(symptom.series)),
            numbers=numbers_of(group),
            summary=f"{workload} keeps part of its threads busy, alike in every round: {told(group)}",
            cause="parts of the work run on fewer threads: not contention, which would differ between rounds",
            remedy="Try fewer threads",
        )
        for workload, group in by_workload(symptoms).items()
    ]
