"""What a study will do, before anything is built: its rows, their roles, and the digests by which it is resumed.

It refuses names that the catalog does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay import catalog
from assay.core.canonical import digest
from assay.core.errors import MissingDependencyError
from assay.core.records import Artifact, Machine, ModelSource, Outcome, Target, Workload
from assay.core.study import Study, StudyVariant

Role = Literal["reference", "baseline", "candidate", "null"]

NULL_NAME = "A/A"
"""Name of the hidden variant: the baseline a second time."""
_SAMPLE_PROMPT_TOKENS = 128
"""Room for the prompt of the generated sample."""


@dataclass(frozen=True)
class PlannedRow:
    """One row of the table to be: a variant on a runtime."""

    name: str
    variant: StudyVariant
    runtime: str
    role: Role


@dataclass(frozen=True)
class BuiltRow:
    """A planned row with its artifact."""

    plan: PlannedRow
    artifact: Artifact
    directory: Path
    target: Target

    @property
    def name(self) -> str:
        """The row's name."""
        return self.plan.name


@dataclass(frozen=True)
class UnbuiltRow:
    """A planned row that could not be built; its outcome says why."""

    plan: PlannedRow
    outcome: Outcome


@dataclass(frozen=True)
class Tokens:
    """The token ids of the study's text, in a file that every worker reads."""

    path: Path
    count: int
    description: str
    digest: str
    is_text: bool


def plan_rows(study: Study) -> tuple[PlannedRow, ...]:
    """Expand the variants over their runtimes; check transforms, runtimes and workloads against the catalog.

    Raises:
        InputError: a name that the catalog does not have.
        MissingDependencyError: no runtime of the study is installed.
    """
    runtimes = list(dict.fromkeys(runtime for variant in study.variants for runtime in variant.runtimes))
    for runtime in runtimes:
        catalog.runtime_entry(runtime)
    for variant in study.variants:
        for spec in variant.transforms:
            catalog.require_transform(spec.kind)
    _require_one(runtimes)
    return tuple(
        PlannedRow(
            name=variant.name if len(runtimes) == 1 else f"{variant.name}/{runtime}",
            variant=variant,
            runtime=runtime,
            role=_role(study, variant),
        )
        for variant in study.variants
        for runtime in variant.runtimes
    )


def _require_one(runtimes: Sequence[str]) -> None:
    missing: list[MissingDependencyError] = []
    for runtime in runtimes:
        entry = catalog.runtime_entry(runtime)
        try:
            catalog.require(entry.package, entry.extra, f"The runtime {runtime!r} was asked for")
        except MissingDependencyError as error:
            missing.append(error)
    if len(missing) == len(runtimes):
        raise missing[0]


def _role(study: Study, variant: StudyVariant) -> Role:
    if variant.name == study.baseline:
        return "baseline"
    if variant.name == study.reference:
        return "reference"
    return "candidate"


def missing_engine(runtime: str) -> Outcome | None:
    """The outcome of a row whose engine is not installed, with the command that installs it; None where it is."""
    entry = catalog.runtime_entry(runtime)
    try:
        catalog.require(entry.package, entry.extra, f"The runtime {runtime!r} was asked for")
    except MissingDependencyError as error:
        return Outcome(kind="unsupported", message=str(error), successes=0)
    return None


def target_of(study: Study, runtime: str) -> Target:
    """Where a row runs; the name of an engine becomes its command or address."""
    entry = catalog.runtime_entry(runtime)
    kind, _, argument = runtime.partition(":")
    address = f"{kind}:{study.engines.get(argument, argument)}" if argument else kind
    return Target(runtime=address, format=entry.format, device=study.device, threads=study.threads)


def measured_workloads(study: Study, tokens: Tokens) -> tuple[Workload, ...]:
    """The study's workloads, pinned to the digest of the text."""
    pinned = {"text_digest": tokens.digest, "seed": study.measure.seed}
    return tuple(workload.model_copy(update=pinned) for workload in study.workloads)


def study_digest(
    study: Study, source: ModelSource, tokens: Tokens, machine: Machine, packages: Mapping[str, str]
) -> str:
    """Digest of everything that changes a speed: by it the rounds of an interrupted study are found again.

    Budget, rounds and gate are left out: more rounds may be added to a study, and judged by another gate.
    """
    return digest(
        {
            "source": source.digest,
            "variants": [variant.model_dump(mode="json") for variant in study.variants],
            "baseline": study.baseline,
            "workloads": [w.model_dump(mode="json") for w in measured_workloads(study, tokens)],
            "block_s": study.measure.block_s,
            "null_variant": study.measure.null_variant,
            "device": study.device,
            "threads": study.threads,
            "machine": machine.content_digest,
            "packages": dict(packages),
            **({"engines": dict(study.engines)} if study.engines else {}),
        }
    )


def tokens_needed(study: Study) -> int:
    """Token ids that the longest workload or the quality text asks for."""
    per_workload = [w.positions + 1 for w in study.workloads]
    return max([study.quality.tokens, *per_workload])


def capacity_needed(study: Study, context_length: int) -> int:
    """Positions of the KV cache that the longest workload asks for, and the sample where the context has room for it.

    A workload longer than the context is not cut: the runtime refuses it, with the figures.
    """
    sample = min(_SAMPLE_PROMPT_TOKENS + study.quality.sample_tokens, context_length)
    longest = max([sample, *(w.positions for w in study.workloads)])
    return longest if longest >= context_length else min(-(-longest // 64) * 64, context_length)


def cached_batch(workloads: Iterable[Workload]) -> int:
    """Sequences that the KV cache must hold: training has none."""
    return max((workload.batch for workload in workloads if workload.kind != "train_step"), default=1)
