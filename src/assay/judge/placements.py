"""Where each operation of a model runs, now against a saved plan; it refuses plans in which no operation has a device.

The rule: a plan that was saved when all was well is the baseline. Constants, and operations of which the engine does
not know where they run, do not count. What ran on an accelerator in the baseline and runs on the CPU now is a new
fallback; so are more operations of a kind on the CPU than before, where names have changed. A new fallback fails.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from assay.core.errors import CheckpointError, CorruptFileError
from assay.core.placements import PlacedOperation, PlacementAudit, PlacementChange

_MOST_BYTES = 256 << 20


def audit(saved: Sequence[PlacedOperation], now: Sequence[PlacedOperation]) -> PlacementAudit:
    """Hold a plan against a saved one: by name where both have it, by kind where they have not."""
    before = {operation.name: operation for operation in saved if operation.counts}
    present = {operation.name: operation for operation in now if operation.counts}
    changes = [
        _moved(before[name], present[name])
        for name in present
        if name in before and before[name].device != present[name].device
    ]
    gone = Counter(operation.kind for name, operation in before.items() if name not in present and operation.on_cpu)
    come = Counter(operation.kind for name, operation in present.items() if name not in before and operation.on_cpu)
    changes += [
        PlacementChange(
            outcome="new fallback",
            operation=f"{count - gone[kind]} more of this kind",
            kind=kind,
            before=f"{gone[kind]} on the CPU",
            now=f"{count} on the CPU",
        )
        for kind, count in sorted(come.items())
        if count > gone[kind] and _has_accelerator(saved)
    ]
    return PlacementAudit(
        counted=len(present),
        left_out=sum(not operation.counts for operation in now),
        devices_before=dict(Counter(operation.device for operation in before.values())),
        devices_now=dict(Counter(operation.device for operation in present.values())),
        changes=tuple(changes),
    )


def _moved(before: PlacedOperation, now: PlacedOperation) -> PlacementChange:
    outcome: Literal["new fallback", "moved", "better"] = "moved"
    if now.on_cpu:
        outcome = "new fallback"
    elif before.on_cpu:
        outcome = "better"
    return PlacementChange(outcome=outcome, operation=now.name, kind=now.kind, before=before.device, now=now.device)


def _has_accelerator(operations: Sequence[PlacedOperation]) -> bool:
    return any(operation.counts and not operation.on_cpu for operation in operations)


# ---------------------------------------------------------------------------------------------------- reading


def read_placements(path: Path) -> tuple[PlacedOperation, ...]:
    """The operations of a plan in JSON: a dump of MLComputePlan or the like, or a profile of ONNX Runtime.

    Raises:
        CheckpointError: the file is missing or too large.
        CorruptFileError: it is no such plan, or no operation of it has a device.
    """
    asked = f"The plan {path} was to be read"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(asked, f"it is larger than {_MOST_BYTES} bytes", "Give the plan of one model")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(asked, str(error), "Check the path") from None
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(asked, f"it is no JSON: {error}", "Save the plan again") from None
    if isinstance(content, Mapping) and isinstance(content.get("operations"), list):
        found = _dumped(content["operations"], asked)
    elif isinstance(content, list):
        found = _profiled(content)
    else:
        raise CorruptFileError(asked, "it has no list 'operations'", "docs/placements.md shows how one is saved")
    if not any(operation.counts for operation in found):
        raise CorruptFileError(
            asked, "no operation in it has a device", "Save it on the device, with its compute units"
        )
    return found


def _dumped(operations: Sequence[Any], asked: str) -> tuple[PlacedOperation, ...]:
    found = []
    for index, operation in enumerate(operations):
        if not isinstance(operation, Mapping) or not isinstance(operation.get("kind"), str):
            raise CorruptFileError(asked, f"operation {index} has no 'kind'", "docs/placements.md shows the form")
        name, device = operation.get("name"), operation.get("device")
        found.append(
            PlacedOperation(
                name=str(name) if name else f"operation {index}",
                kind=operation["kind"],
                device=device.lower() if isinstance(device, str) else "",
            )
        )
    return tuple(found)


def _profiled(events: Sequence[Any]) -> tuple[PlacedOperation, ...]:
    """Nodes of an ONNX Runtime profile: events of the category `Node` that are kernels, each node once."""
    found: dict[str, PlacedOperation] = {}
    for event in events:
        arguments = event.get("args") if isinstance(event, Mapping) and event.get("cat") == "Node" else None
        if isinstance(arguments, Mapping) and "provider" in arguments:
            name = str(event.get("name", "")).removesuffix("_kernel_time")
            kind = str(arguments.get("op_name", "unknown"))
            found[name] = PlacedOperation(name=name, kind=kind, device=str(arguments["provider"]).lower())
    return tuple(found.values())
