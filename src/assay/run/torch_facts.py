"""What torch did, as facts: types, layers, kernels. It refuses to say what was only asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from assay.build.exporters.torch import compute_dtype
from assay.build.nn.kv_cache import KVCache
from assay.core.records import Artifact, Decoding, Scalar
from assay.run import torch_devices
from assay.run.measure.probes import levels_fit

_MATRIX_PARTS = ("mm", "matmul", "linear", "attention", "addmv")


def matrix_operations(model: Any, tokens_BT: Tensor) -> dict[str, Scalar]:
    """`kernels`: ATen operations that multiply matrices in a pass over some tokens, as torch dispatches them.

    `dispatches`: how many operations but views the pass dispatches. Both without inference mode, under which
    composite operations would be seen and not the kernels below them.
    """
    seen = _SeenOperations()
    with torch.no_grad(), seen:
        model(tokens_BT)
    kernels = sorted(name for name in seen.names if any(part in name for part in _MATRIX_PARTS))
    return {"kernels": tuple(kernels), "dispatches": seen.dispatches}


def claimed_bits(model: nn.Module, artifact: Artifact) -> dict[str, Scalar]:
    """`weights_have_claimed_bits`: whether the first group of the first palettized layer has at most 2^bits values.

    Nothing where no layer was palettized, or where its weights were not expanded.
    """
    for spec, change in zip(artifact.transforms, artifact.changes, strict=False):
        bits, rows = spec.options.get("bits"), spec.options.get("output_channels", 32)
        if spec.kind != "palettize" or change.kind != spec.kind or not isinstance(rows, int):
            continue
        weight = getattr(model.get_submodule(change.modules[0]), "weight", None)
        if isinstance(weight, Tensor) and weight.is_floating_point():
            group = weight[:rows].float().reshape(1, -1).cpu().numpy()
            found = levels_fit(group, bits if isinstance(bits, int) else 4).found
            return {"weights_have_claimed_bits": found} if isinstance(found, bool) else {}
    return {}


class _SeenOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the names of dispatched operations, and counts those that are no views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.dispatches = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to skip torch's compiler would import it, which takes seconds and 100 MB in every worker."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name().partition(".")[0])
        self.dispatches += not func.is_view
        return func(*args, **(kwargs or {}))


def static_facts(
    model: nn.Module,
    artifact: Artifact,
    decoding: Decoding,
    cache: KVCache | None,
    device: torch.device,
    threads: int,
) -> dict[str, Scalar]:
    """What can be read from the loaded model without running it."""
    bytes_by_dtype: dict[str, int] = {}
    for parameter in model.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        bytes_by_dtype[name] = bytes_by_dtype.get(name, 0) + parameter.nbytes
    ranked = sorted(bytes_by_dtype, key=lambda name: -bytes_by_dtype[name])
    facts: dict[str, Scalar] = {
        "torch": torch.__version__,
        "device": str(device),
        "threads": threads,
        "weights_dtype": tuple(ranked),
        "activations_dtype": str(compute_dtype(model)).removeprefix("torch."),
        "resident_weight_bytes": sum(bytes_by_dtype.values()),
        "kv_cache": "none" if cache is None else cache.kind,
        "kv_cache_bytes": 0 if cache is None else cache.nbytes,
        "prefill_chunk": decoding.prefill_chunk,
        "prefill_head": decoding.head,
        "layers": tuple(sorted({type(module).__name__ for module in model.modules() if not list(module.children())})),
    }
    if device.type == "cpu":
        facts.update(torch_devices.cpu_facts())
    if device.type == "cuda":
        facts["device_name"] = torch.cuda.get_device_name(device)
    return facts
