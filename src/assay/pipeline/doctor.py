"""Looks at the machine: what can run here, what cannot and why, how busy it is, how fast it could be at best."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from typing import Any

from assay import catalog
from assay.core.errors import CheckpointError, MissingDependencyError
from assay.core.records import Absent, Ceilings, Examination, Machine, RuntimeState, Text
from assay.keep.store import Store
from assay.pipeline.processes import WorkerFailed, WorkerProcess
from assay.run.measure import environment as surroundings

CEILINGS = "ceilings"
"""Kind under which the store keeps a machine's ceilings, by the digest of the machine."""
_PROBE_TIMEOUT_S = 120.0
_CEILINGS_TIMEOUT_S = 300.0
_CEILINGS_S = 15.0
_OURS = "part of Assay"


def examine(store: Store | None, measure: bool) -> Examination:
    """Look at this machine; with `measure` also take its ceilings and keep them in the store."""
    machine = surroundings.machine()
    return Examination(
        machine=machine,
        load=surroundings.load(),
        runtimes=tuple(_runtime_state(name) for name in catalog.RUNTIMES),
        models={name: _whereabouts(name) for name in catalog.MODELS},
        ceilings=_ceilings(store, machine, measure),
    )


def _runtime_state(name: str) -> RuntimeState:
    entry = catalog.RUNTIMES[name]
    if entry.package and importlib.util.find_spec(entry.package) is None:
        missing = MissingDependencyError(name, entry.package, entry.extra)
        reason = f"{missing.found}. {missing.remedy}"
        return _unusable(name, Absent(reason="not installed"), reason)
    version = importlib.metadata.version(entry.package) if entry.package else _OURS
    try:
        with WorkerProcess(name) as worker:
            told = worker.ask("probe", _PROBE_TIMEOUT_S, runtime=name)
    except WorkerFailed as failure:
        return _unusable(name, version, failure.outcome.message)
    return RuntimeState(
        name=name,
        version=version,
        usable=told["usable"],
        devices=tuple(told["devices"]),
        facts=tuple(told["facts"]),
        reason=told["reason"],
    )


def _unusable(name: str, version: Text, reason: str) -> RuntimeState:
    return RuntimeState(name=name, version=version, usable=False, devices=(), facts=(), reason=reason)


def _whereabouts(name: str) -> str:
    try:
        return catalog.whereabouts(name)
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
