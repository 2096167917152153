"""Looks through the journal: contradictions, lost runs, two shipping variants, triggers that have come true, old tools.

It refuses to change anything: each finding names the file and what to do.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from assay.core.decisions import (
    DateTrigger,
    Decision,
    DeviceTrigger,
    LogFinding,
    NumberTrigger,
    RevisitTrigger,
    VersionTrigger,
)
from assay.core.records import Absent, Estimate, Machine, Measured
from assay.keep.journal import Entry, Log

COMPUTES = ("torch", "numpy", "python")
"""Packages of the toolchain whose newer version makes a measurement old; Assay's own counts apart."""


@dataclass(frozen=True)
class Surroundings:
    """What triggers and tools are held against."""

    today: dt.date
    machine: Machine
    devices: tuple[str, ...]
    """What is present: `cpu`, `cuda`, `mps`."""
    version_of: Callable[[str], str | None]
    """Version of an installed package, None where it is not installed."""
    has_run: Callable[[str], bool] | None
    """Whether the store holds a run; None where there is no store."""
    figures: Mapping[str, Mapping[str, Measured | Estimate]]
    """The candidate's newest figures by experiment, where the store has newer ones than the decision."""


def check_log(log: Log, around: Surroundings) -> tuple[LogFinding, ...]:
    """Everything about a journal that someone should act on or know, the problems first."""
    findings = [*log.problems]
    for experiment in log.experiments:
        standing = log.standing(experiment)
        findings.extend(_several_stand(experiment, standing))
    findings.extend(_unknown_predecessors(log))
    findings.extend(_two_ship(log.standing()))
    findings.extend(_opposite_verdicts(log.standing()))
    for entry in log.standing():
        findings.extend(_lost_runs(entry, around))
        findings.extend(_old_tools(entry, around))
        findings.extend(
            _finding("trigger", entry, f"the trigger {words(trigger)} has come true: {said}",
                     f"Measure again: assay log recheck {entry.decision.experiment}")
            for trigger in entry.decision.triggers
            if (said := _come_true(trigger, entry.decision, around))
        )  # fmt: skip
    order = {"problem": 0, "trigger": 1, "remark": 2}
    return tuple(sorted(findings, key=lambda finding: order[finding.kind]))


def words(trigger: RevisitTrigger) -> str:
    """A trigger as it is written on the command line."""
    match trigger:
        case VersionTrigger():
            return f"{trigger.package}>={trigger.at_least}"
        case DeviceTrigger():
            return f"device={trigger.device}"
        case DateTrigger():
            return f"date={trigger.on}"
        case NumberTrigger():
            sign, bound = ("<=", trigger.at_most) if trigger.at_least is None else (">=", trigger.at_least)
            return f"{trigger.metric}{sign}{bound:g}"


def newer(found: str, than: str) -> bool:
    """Whether a version is higher: by its numbers up to the first part that is none."""
    return _release(found) > _release(than)


def _release(version: str) -> tuple[int, ...]:
    """Numbers of a version; trailing zeros do not count, so that 2.13 is 2.13.0."""
    numbers = [int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _finding(kind: Literal["problem", "trigger", "remark"], entry: Entry, found: str, remedy: str) -> LogFinding:
    return LogFinding(kind=kind, where=str(entry.path), found=found, remedy=remedy)


def _several_stand(experiment: str, standing: Sequence[Entry]) -> list[LogFinding]:
    if len(standing) < 2:
        return []
    said = ", ".join(f"{entry.decision.status} ({entry.decision.id})" for entry in standing)
    return [
        LogFinding(
            kind="problem",
            where=", ".join(str(entry.path) for entry in standing),
            found=f"{len(standing)} decisions on {experiment!r} stand, and neither supersedes the other: {said}",
            remedy=f"Decide once more, which supersedes all of them: assay experiment decide {experiment}",
        )
    ]


def _unknown_predecessors(log: Log) -> list[LogFinding]:
    known = {entry.decision.id for entry in log.entries}
    return [
        _finding("problem", entry, f"it supersedes {old!r}, which is not in the journal",
                 "Take that file back from version control")
        for entry in log.entries
        for old in entry.decision.supersedes
        if old not in known
    ]  # fmt: skip


def _two_ship(standing: Sequence[Entry]) -> list[LogFinding]:
    by_place = defaultdict(list)
    for entry in standing:
        if entry.decision.status == "shipping":
            for workload in entry.decision.workloads:
                by_place[(entry.decision.model, entry.decision.target.content_digest, workload)].append(entry)
    together = defaultdict(list)
    for (model, _, workload), entries in by_place.items():
        if len(entries) > 1:
            together[(model, tuple(entry.decision.id for entry in entries))].append((workload, entries))
    found = []
    for (model, _), alike in together.items():
        entries = alike[0][1]
        names = ", ".join(f"{entry.decision.variant.name} of {entry.decision.experiment}" for entry in entries)
        found.append(
            LogFinding(
                kind="problem",
                where=", ".join(str(entry.path) for entry in entries),
                found=f"{len(entries)} variants ship for {model} on one target and "
                f"{', '.join(workload for workload, _ in alike)}: {names}",
                remedy="Decide which one ships, and supersede the decision on the other",
            )
        )
    return found


def _recipe(decision: Decision) -> tuple[str, ...]:
    transforms = tuple(spec.content_digest for spec in decision.variant.transforms)
    return (decision.model, decision.target.content_digest, decision.variant.decoding.content_digest, *transforms)


def _opposite_verdicts(standing: Sequence[Entry]) -> list[LogFinding]:
    """The same variant on the same target that ships by one experiment and was given up by another."""
    ships = [entry for entry in standing if entry.decision.status == "shipping"]
    gone = [entry for entry in standing if entry.decision.status in ("rejected", "abandoned")]
    return [
        LogFinding(
            kind="problem",
            where=f"{up.path}, {down.path}",
            found=f"{up.decision.variant.name} ships by {up.decision.experiment!r} and is {down.decision.status} by "
            f"{down.decision.experiment!r} on {', '.join(shared)}",
            remedy="Measure both again (assay log recheck), and supersede the one that does not hold",
        )
        for up in ships
        for down in gone
        if _recipe(up.decision) == _recipe(down.decision)
        and (shared := [name for name in up.decision.workloads if name in down.decision.workloads])
    ]


def _lost_runs(entry: Entry, around: Surroundings) -> list[LogFinding]:
    evidence = entry.decision.evidence
    if isinstance(evidence, Absent) or around.has_run is None:
        return []
    lost = [run for run in evidence.runs if not around.has_run(run)]
    if not lost:
        return []
    if evidence.machine != around.machine.content_digest:
        found = f"its {len(evidence.runs)} runs were made on another machine ({evidence.machine_about})"
        return [_finding("remark", entry, found, "The decision carries its numbers; nothing is to be done")]
    return [
        _finding(
            "remark" if len(lost) == len(evidence.runs) else "problem",
            entry,
            f"{len(lost)} of its {len(evidence.runs)} runs are not in the store, such as {lost[0]}",
            f"The decision carries its numbers; name the store that has them with --store, or measure again: "
            f"assay log recheck {entry.decision.experiment}",
        )
    ]


def _old_tools(entry: Entry, around: Surroundings) -> list[LogFinding]:
    evidence = entry.decision.evidence
    if isinstance(evidence, Absent):
        return []
    newer_now = [
        f"{package} {then} then, {now} now"
        for package in COMPUTES
        if (then := evidence.toolchain.get(package)) and (now := around.version_of(package)) and newer(now, then)
    ]
    if not newer_now:
        return []
    return [
        _finding("remark", entry, f"it is older than its tools: {'; '.join(newer_now)}",
                 f"Whether it still holds: assay log recheck {entry.decision.experiment}")
    ]  # fmt: skip


def _come_true(trigger: RevisitTrigger, decision: Decision, around: Surroundings) -> str:
    """What makes a trigger true, in words; empty where it is not."""
    match trigger:
        case VersionTrigger():
            found = around.version_of(trigger.package)
            there = found is not None and not newer(trigger.at_least, found)
            return f"{trigger.package} {found} is installed" if there else ""
        case DeviceTrigger():
            wanted = trigger.device.lower()
            cpu = around.machine.cpu_model if isinstance(around.machine.cpu_model, str) else ""
            present = (*around.devices, *around.machine.accelerators, cpu)
            return next((f"{name} is here" for name in present if name and wanted in name.lower()), "")
        case DateTrigger():
            return f"today is {around.today}" if dt.date.fromisoformat(trigger.on) <= around.today else ""
        case NumberTrigger():
            return _reached(trigger, decision, around)


def _reached(trigger: NumberTrigger, decision: Decision, around: Surroundings) -> str:
    figures = around.figures.get(decision.experiment, {})
    evidence = decision.evidence
    if not figures and not isinstance(evidence, Absent):
        figures = evidence.figures
    machine = {name: float(getattr(around.machine, name)) for name in ("memory_bytes", "usable_cpus", "logical_cpus")}
    value = machine.get(trigger.metric, figures.get(trigger.metric))
    number = value.value if isinstance(value, Estimate) else value
    if not isinstance(number, float):
        return ""
    if trigger.at_least is not None:
        return f"it is {number:g}" if number >= trigger.at_least else ""
    return f"it is {number:g}" if trigger.at_most is not None and number <= trigger.at_most else ""
