"""What Assay knows, as lists: models, families, transforms, runtimes, metrics, checks, stored studies."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel

from assay import catalog
from assay.core.errors import CheckpointError
from assay.core.metrics import METRICS
from assay.core.records import Contest
from assay.core.study import Study
from assay.judge.checks import runner
from assay.judge.checks.policy import CheckPolicy, thresholds_of
from assay.keep.artifacts import ArtifactCache
from assay.keep.store import open_store
from assay.pipeline.contest import CONTEST

Entry = dict[str, str]
"""One line of a list: column names and texts."""


def entries(what: str, store: Path) -> list[Entry]:
    """The entries of one list of `LISTS`."""
    return list(LISTS[what](store))


def _models(_: Path) -> Iterator[Entry]:
    for name, entry in catalog.MODELS.items():
        try:
            where = catalog.whereabouts(name)
        except CheckpointError:
            where = f"not installed: {entry.install}"
        yield {"name": name, "about": entry.about, "where": where}


def _families(_: Path) -> Iterator[Entry]:
    for name, reference in catalog.FAMILIES.items():
        yield {"name": name, "checked against": reference}


def _transforms(_: Path) -> Iterator[Entry]:
    for name, module in catalog.TRANSFORMS.items():
        if importlib.util.find_spec("torch") is None:
            yield {"name": name, "options": "(install assay[torch] to see them)", "module": module}
            continue
        fields = catalog.transform(name).Options.model_fields
        options = ", ".join(f"{key}={field.get_default()!r}" if not field.is_required() else f"{key} (required)"
                            for key, field in fields.items())  # fmt: skip
        yield {"name": name, "options": options, "module": module}


def _runtimes(_: Path) -> Iterator[Entry]:
    for name, entry in catalog.RUNTIMES.items():
        found = not entry.package or importlib.util.find_spec(entry.package) is not None
        state = "installed" if found else f"not installed: pip install 'assay[{entry.extra}]'"
        written = f"{name}:{entry.argument}" if entry.argument else name
        yield {"name": written, "format": entry.format, "package": entry.package or "(none)", "state": state}


def _workloads(_: Path) -> Iterator[Entry]:
    for name, (module, _driver) in catalog.WORKLOADS.items():
        yield {"name": name, "module": module}


def _metrics(_: Path) -> Iterator[Entry]:
    for metric in METRICS.values():
        yield {"name": metric.name, "unit": metric.unit, "better": metric.better, "about": metric.title}


def _checks(_: Path) -> Iterator[Entry]:
    defaults = CheckPolicy()
    for name in runner.CHECKS:
        check = runner.load_check(name)
        about = (check.__doc__ or "").partition("\n")[0]
        limits = ", ".join(f"{key}={value:g}" for key, value in thresholds_of(check.RULE, defaults).items())
        yield {"name": check.NAME, "rule": check.RULE, "thresholds": limits, "about": about}


def _readers(_: Path) -> Iterator[Entry]:
    for reader in catalog.readers():
        about = (reader.__doc__ or "").partition("\n")[0]
        yield {"name": reader.NAME, "about": about}


def _studies(store: Path) -> Iterator[Entry]:
    if not store.is_dir():
        return
    kept = open_store(store)
    for study in kept.studies():
        rounds = len(kept.rounds(study.digest))
        yield {"name": study.name, "digest": study.digest[:12], "rounds": str(rounds), "started": study.stored_utc}
    for contest in kept.all(CONTEST, None, Contest):
        name = " against ".join(side.name for side in reversed(contest.sides))
        yield {
            "name": name,
            "digest": contest.id[:12],
            "rounds": str(contest.rounds),
            "started": contest.created_utc,
        }


def _artifacts(store: Path) -> Iterator[Entry]:
    if not store.is_dir():
        return
    for digest, size in ArtifactCache(open_store(store).artifacts_directory).sizes_bytes().items():
        yield {"digest": digest, "megabytes": f"{size / 1e6:.1f}"}


def _study_keys(_: Path) -> Iterator[Entry]:
    yield from _keys(Study, "")


def _keys(record: type[BaseModel], prefix: str) -> Iterator[Entry]:
    for name, field in record.model_fields.items():
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        kind = str(field.annotation).replace("assay.core.", "")
        yield {"key": f"{prefix}{name}", "type": kind, "default": default}
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")


LISTS: MappingProxyType[str, Callable[[Path], Iterator[Entry]]] = MappingProxyType(
    {
        "models": _models,
        "families": _families,
        "transforms": _transforms,
        "runtimes": _runtimes,
        "workloads": _workloads,
        "metrics": _metrics,
        "checks": _checks,
        "readers": _readers,
        "studies": _studies,
        "artifacts": _artifacts,
        "study-keys": _study_keys,
    }
)
