"""What a study will cost, before anything is built: FLOPs, bytes, memory and the bound of every cell.

It reads the config and no weight. It refuses to predict a time without ceilings that were measured or published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from assay import catalog
from assay.core import cost, hardware
from assay.core.errors import InputError, RunError
from assay.core.records import (
    Absent,
    Ceilings,
    Measured,
    Plan,
    PlannedArtifact,
    PlannedCell,
    PlannedVariant,
    Roofs,
    Text,
    Workload,
)
from assay.core.study import Study
from assay.keep.store import DEFAULT_DIRECTORY, Store
from assay.pipeline import fitting
from assay.pipeline.doctor import CEILINGS
from assay.pipeline.plan import NULL_NAME, PlannedRow, cached_batch, capacity_needed, plan_rows
from assay.pipeline.processes import WorkerFailed, WorkerProcess
from assay.run.measure import environment as surroundings

NO_CEILINGS = Absent(reason="no ceilings of this machine: run `assay doctor --measure`")
_TIMEOUT_S = 600.0


def known_ceilings(store: Store | None, device: str) -> Ceilings | Absent:
    """What this machine can do at best on a device, where that was measured."""
    found = None if store is None else store.get(CEILINGS, surroundings.machine().content_digest, Ceilings)
    if found is None:
        return NO_CEILINGS
    if found.device != device:
        return Absent(reason=f"the ceilings that were measured are of {found.device}, the study runs on {device}")
    return found


def measured_roofs(ceilings: Ceilings | Absent, name: Text, threads: int) -> Roofs:
    """Roofs of this machine.

    Args:
        ceilings: from the probe.
        name: of the processor.
        threads: that the study computes with; with others than the probe's no time is predicted.
    """
    called = name if isinstance(name, str) else "this machine"
    if isinstance(ceilings, Absent):
        return Roofs(
            name=called, kind="none", source=ceilings.reason, flops_per_s={}, bytes_per_s=ceilings, dispatch_floor_s={}
        )
    source = f"measured {ceilings.measured_utc} with {ceilings.threads} threads"
    source += "".join(f"; not to be trusted: {reason}" for reason in ceilings.contention)
    if threads != ceilings.threads:
        other = f"the ceilings are of {ceilings.threads} threads, the study computes with {threads}"
        return Roofs(
            name=called,
            kind="none",
            source=f"{source}; {other}",
            flops_per_s={},
            bytes_per_s=Absent(reason=other),
            dispatch_floor_s={},
        )
    return Roofs(
        name=called,
        kind="measured",
        source=source,
        flops_per_s=ceilings.flops_per_s,
        bytes_per_s=ceilings.memory_bandwidth,
        dispatch_floor_s=ceilings.dispatch_floor_s,
    )


def published_roofs(device_name: str) -> Roofs:
    """Roofs of hardware that is not here, from the table of published ones.

    Raises:
        InputError: the table has no such device.
    """
    device = hardware.device(device_name)
    figures = [*device.tera_per_s, *(["bandwidth"] if device.gigabytes_per_s else [])]
    read = [name for name in figures if name not in device.recalled]
    recalled = [name for name in figures if name in device.recalled]
    told = [f"{kind}: {', '.join(names)}" for kind, names in (("published", read), ("recalled", recalled)) if names]
    return Roofs(
        name=device.name,
        kind="published",
        source="; ".join(told) or "nothing is published",
        flops_per_s={dtype: device.peak_flops(dtype) for dtype in device.tera_per_s},
        bytes_per_s=device.bandwidth(),
        dispatch_floor_s={},
    )


def predict(work: cost.Work, dtype: str, dispatches: Measured, floor_s: Measured, roofs: Roofs) -> dict[str, Any]:
    """The times and the bound of one call, as fields of a `PlannedCell`.

    Args:
        work: of the call.
        dtype: of the activations.
        dispatches: operations of the call.
        floor_s: time of the smallest operation; where it is not known, launching counts nothing.
        roofs: of the hardware.
    """
    peak = roofs.flops_per_s.get(dtype, Absent(reason=f"no peak of {dtype} is known for {roofs.name}"))
    if roofs.kind == "none" and isinstance(roofs.bytes_per_s, Absent):
        peak = roofs.bytes_per_s
    missing = next((roof for roof in (peak, roofs.bytes_per_s) if isinstance(roof, Absent)), None)
    if isinstance(peak, Absent) or isinstance(roofs.bytes_per_s, Absent):
        return dict.fromkeys(("compute_s", "transfer_s", "dispatch_s", "seconds", "bound"), missing)
    launches = 0 if isinstance(dispatches, Absent) or isinstance(floor_s, Absent) else round(dispatches)
    floor = 0.0 if isinstance(floor_s, Absent) else floor_s
    found = cost.predicted_seconds(work.flops, work.bytes_moved, peak, roofs.bytes_per_s, launches, floor)
    bound: Literal["compute", "bandwidth", "dispatch"] = "dispatch" if found.overhead_bound else found.bound
    unknown = floor_s if isinstance(floor_s, Absent) else dispatches
    return {
        "compute_s": found.compute_s,
        "transfer_s": found.transfer_s,
        "dispatch_s": unknown if isinstance(unknown, Absent) else found.dispatch_s,
        "seconds": found.seconds,
        "bound": bound,
    }


def floor_of(roofs: Roofs, runtime: str) -> Measured:
    """Time of a runtime's smallest operation, or why it is not known."""
    return roofs.dispatch_floor_s.get(
        runtime, Absent(reason=f"what an operation of {runtime} costs at least on {roofs.name} is not known")
    )


def plan_study(study: Study, store: Store | None, device_name: str | None = None) -> Plan:
    """Predict every cell of a study.

    Args:
        study: what is to be run.
        store: where this machine's ceilings are kept.
        device_name: predict for this hardware of the table and not for this machine.

    Raises:
        AssayError: the study, the model or the device cannot be used.
    """
    planned = plan_rows(study)
    machine = surroundings.machine()
    threads = study.threads or machine.usable_cpus
    if device_name is None:
        roofs = measured_roofs(known_ceilings(store, study.device), machine.cpu_model, threads)
        available = _available(study)
    else:
        roofs = published_roofs(device_name)
        available = Absent(reason=f"the memory of {roofs.name} is not in the table")
    said: list[str] = []
    model = catalog.assembled_model(study.model, DEFAULT_DIRECTORY if store is None else store.directory, said.append)
    artifacts, dispatches, remarks = _ask(study, model, planned)
    cells = [
        _cell(study, row, artifacts[row.name], workload, dispatches, roofs)
        for row in planned
        for workload in study.workloads
    ]
    needs: dict[str, Measured] = {row.name: _largest(cells, row.name, artifacts[row.name]) for row in planned}
    rows = tuple(
        PlannedVariant(
            name=row.name,
            role=row.role,
            runtime=row.runtime,
            artifact=artifacts[row.name],
            memory_bytes=needs[row.name],
        )
        for row in planned
    )
    baseline = next((row.name for row in rows if row.role == "baseline"), "")
    if study.measure.null_variant and baseline:
        needs[NULL_NAME] = needs[baseline]
    others = [name for name in needs if name != baseline and not isinstance(needs[name], Absent)]
    groups = fitting.groups(baseline, others, needs, available)
    return Plan(
        name=study.name,
        model=study.model,
        roofs=roofs,
        rows=rows,
        cells=tuple(cells),
        together_bytes=_sum(needs),
        available_bytes=available,
        groups=groups,
        warnings=(*said, *remarks, *_warnings(study, rows, needs, available, groups)),
    )


def _available(study: Study) -> Measured:
    if study.device != "cpu":
        return Absent(reason=f"how much memory {study.device} has is not asked before it is used")
    return surroundings.load().available_bytes


def _ask(
    study: Study, model: str, planned: Sequence[PlannedRow]
) -> tuple[dict[str, PlannedArtifact | Absent], Mapping[str, int], Sequence[str]]:
    """The artifacts to be, the operations of a pass, and what is odd in the model's files."""
    recipes = [
        {
            "transforms": [spec.model_dump(mode="json") for spec in row.variant.transforms],
            "format": catalog.runtime_entry(row.runtime).format,
        }
        for row in planned
    ]
    try:
        with WorkerProcess("plan") as worker:
            answer = worker.ask("plan", _TIMEOUT_S, model=model, adapter=study.adapter, recipes=recipes)
    except WorkerFailed as failure:
        raise RunError(
            f"A plan for the model {study.model!r} was asked for", failure.outcome.message, "Check the file"
        ) from None
    found: dict[str, PlannedArtifact | Absent] = {}
    for row, told in zip(planned, answer["planned"], strict=True):
        found[row.name] = (
            PlannedArtifact.from_json(json.dumps(told["artifact"]))
            if "artifact" in told
            else Absent(reason=told["reason"])
        )
    return found, answer["dispatches"], answer["remarks"]


def _cell(
    study: Study,
    row: PlannedRow,
    artifact: PlannedArtifact | Absent,
    workload: Workload,
    dispatches: Mapping[str, int],
    roofs: Roofs,
) -> PlannedCell:
    if isinstance(artifact, Absent):
        return _empty_cell(row.name, workload, artifact, artifact)
    batch = cached_batch(study.workloads)
    memory = float(
        cost.session_bytes(artifact, workload, capacity_needed(study, artifact.contract.context_length), batch)
    )
    if workload.kind == "load":
        cell = _empty_cell(row.name, workload, Absent(reason="how fast files are read here is not measured"), memory)
        return cell.model_copy(update={"flops": 0.0, "bytes_moved": float(artifact.weight_bytes), "dispatches": 0.0})
    try:
        work = cost.work(artifact, workload, row.variant.decoding)
    except InputError as error:
        return _empty_cell(row.name, workload, Absent(reason=error.found), memory)
    steps = {"prefill": 0, "encode": 0, "train_step": 0, "decode": 1}.get(workload.kind, workload.new_tokens - 1)
    launches = float(dispatches["step"] * steps + dispatches["prompt"] * (work.passes - steps))
    return PlannedCell(
        row=row.name,
        workload=workload.name,
        tokens=work.tokens,
        flops=float(work.flops),
        bytes_moved=float(work.bytes_moved),
        dispatches=launches,
        memory_bytes=memory,
        **predict(work, artifact.contract.dtype, launches, floor_of(roofs, row.runtime), roofs),
    )


def _empty_cell(row: str, workload: Workload, reason: Absent, memory: Measured) -> PlannedCell:
    return PlannedCell(
        row=row,
        workload=workload.name,
        tokens=0,
        flops=reason,
        bytes_moved=reason,
        dispatches=reason,
        memory_bytes=memory,
        compute_s=reason,
        transfer_s=reason,
        dispatch_s=reason,
        seconds=reason,
        bound=reason,
    )


def _largest(cells: Sequence[PlannedCell], row: str, artifact: PlannedArtifact | Absent) -> Measured:
    sizes = [cell.memory_bytes for cell in cells if cell.row == row]
    known = [size for size in sizes if not isinstance(size, Absent)]
    if known:
        return max(known)
    return artifact if isinstance(artifact, Absent) else float(artifact.resident_weight_bytes)


def _sum(needs: Mapping[str, Measured]) -> Measured:
    known = [size for size in needs.values() if not isinstance(size, Absent)]
    return sum(known) if known else Absent(reason="no variant can be built")


def _warnings(
    study: Study,
    rows: Sequence[PlannedVariant],
    needs: Mapping[str, Measured],
    available: Measured,
    groups: Sequence[Sequence[str]],
) -> list[str]:
    found = [f"{row.name} cannot be built: {row.artifact.reason}" for row in rows if isinstance(row.artifact, Absent)]
    contracts = [row.artifact.contract for row in rows if isinstance(row.artifact, PlannedArtifact)]
    context = min((contract.context_length for contract in contracts), default=1 << 62)
    asked = capacity_needed(study, context)
    if asked > context:
        found.append(
            f"the study asks for {asked} positions of the KV cache, the model has {context}: it will be refused"
        )
    if isinstance(available, Absent):
        return found
    found += [
        f"{name} does not fit: it needs at least {need / 1e9:.3g} GB, {available / 1e9:.3g} GB are available"
        for name, need in needs.items()
        if not isinstance(need, Absent) and need > available
    ]
    if not all(fitting.fits(group, needs, available) for group in groups):
        found.append("not even two workers fit together: they will be loaded in turn, which compares them less well")
    elif len(groups) > 1:
        held = "; ".join(", ".join(group) for group in groups)
        found.append(f"not all workers fit together: rounds will hold {held}")
    return found
