"""The public Python API: load a model, run a study, compare two variants. It refuses what the command line refuses."""

from __future__ import annotations

from assay.api.models import LoadedModel, build, build_to, check_runner, load
from assay.api.projects import (
    build_shipped,
    experiment_report,
    gate_commands,
    gate_study,
    recheck_experiment,
    run_experiment,
)
from assay.api.results import audit, ceilings_of, difference, rounds_of, stored, stored_result
from assay.api.runs import (
    ContestInterrupted,
    Interrupted,
    Quiet,
    compare,
    compare_commands,
    comparison_study,
    is_encoder,
    plan,
    run,
)
from assay.core.records import Contest, Decoding, Result
from assay.core.study import Study, StudyVariant
from assay.pipeline.short_form import transforms_of, variant_of

__all__ = [
    "Contest",
    "ContestInterrupted",
    "Decoding",
    "Interrupted",
    "LoadedModel",
    "Quiet",
    "Result",
    "Study",
    "StudyVariant",
    "audit",
    "build",
    "build_shipped",
    "build_to",
    "ceilings_of",
    "check_runner",
    "compare",
    "compare_commands",
    "comparison_study",
    "difference",
    "experiment_report",
    "gate_commands",
    "gate_study",
    "is_encoder",
    "load",
    "plan",
    "recheck_experiment",
    "rounds_of",
    "run",
    "run_experiment",
    "stored",
    "stored_result",
    "transforms_of",
    "variant_of",
]
