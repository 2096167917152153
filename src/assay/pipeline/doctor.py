"""Looks at the machine: what can run here, what cannot and why, how busy it is, how fast it could be at best."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from typing import Any

from assay import catalog
from assay.core.errors import CheckpointError, MissingDependencyError
from assay.core.records import Absent, Ceilings, Load, Machine, Text
from assay.keep.store import Store
from assay.pipeline.processes import WorkerFailed, WorkerProcess
from assay.run.measure import environment as surroundings

CEILINGS = "ceilings"
"""Kind under which the store keeps a machine's ceilings, by the digest of the machine."""
_PROBE_TIMEOUT_S = 120.0
_CEILINGS_TIMEOUT_S = 300.0
_CEILINGS_S = 15.0


@dataclass(frozen=True)
class RuntimeState:
    """One runtime: usable or not, and why."""

    name: str
    version: Text
    usable: bool
    devices: tuple[str, ...]
    facts: tuple[str, ...]
    reason: str
    """Why it is not usable, and the install command; empty where it is."""


@dataclass(frozen=True)
class Examination:
    """What `assay doctor` found."""

    machine: Machine
    load: Load
    runtimes: tuple[RuntimeState, ...]
    models: tuple[tuple[str, str], ...]
    """Name of a packaged model, and where it is or how to install it."""
    ceilings: Ceilings | Absent


def examine(store: Store | None, measure: bool) -> Examination:
    """Look at this machine; with `measure` also take its ceilings and keep them in the store."""
    machine = surroundings.machine()
    return Examination(
        machine=machine,
        load=surroundings.load(),
        runtimes=tuple(_runtime_state(name) for name in catalog.RUNTIMES),
        models=tuple((name, _whereabouts(name)) for name in catalog.MODELS),
        ceilings=_ceilings(store, machine, measure),
    )


def _runtime_state(name: str) -> RuntimeState:
    entry = catalog.RUNTIMES[name]
    if importlib.util.find_spec(entry.package) is None:
        missing = MissingDependencyError(name, entry.package, entry.extra)
        reason = f"{missing.found}. {missing.remedy}"
        return RuntimeState(name, Absent(reason="not installed"), False, (), (), reason)
    version = importlib.metadata.version(entry.package)
    try:
        with WorkerProcess(name) as worker:
            told = worker.ask("probe", _PROBE_TIMEOUT_S, runtime=name)
    except WorkerFailed as failure:
        return RuntimeState(name, version, False, (), (), failure.outcome.message)
    return RuntimeState(name, version, told["usable"], tuple(told["devices"]), tuple(told["facts"]), told["reason"])


def _whereabouts(name: str) -> str:
    try:
        return str(catalog.locate_model(name))
    except CheckpointError as error:
        return f"{error.found}: {error.remedy}"


def _ceilings(store: Store | None, machine: Machine, measure: bool) -> Ceilings | Absent:
    key = machine.content_digest
    if measure:
        with WorkerProcess("ceilings") as worker:
            told: dict[str, Any] = worker.ask("ceilings", _CEILINGS_TIMEOUT_S, seconds=_CEILINGS_S)
        ceilings = Ceilings.from_json(json.dumps(told["ceilings"]))
        if store is not None:
            store.put(CEILINGS, key, ceilings)
        return ceilings
    known = store.get(CEILINGS, key, Ceilings) if store is not None else None
    return known or Absent(reason="not measured on this machine; run `assay doctor --measure`")
