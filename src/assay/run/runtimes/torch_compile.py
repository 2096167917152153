"""The runtime `torch-compile`: PyTorch's compiler on the same artifacts; it refuses what runtime `torch` refuses.

Compilation is a knob of torch and no engine of its own: it stands in the catalog so that a table can hold it beside
eager. Whether it engaged is answered by the compiler's own counters among the facts, never by what was asked.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from assay.core.errors import UnsupportedError
from assay.core.records import Decoding, Scalar, Target
from assay.run import torch_devices
from assay.run.probe import Probe
from assay.run.torch_session import TorchSession, open_torch_session

if TYPE_CHECKING:
    from assay.run.session import Session

RUNTIME = "torch-compile"
_PROMPTS = (7, 12)
"""Lengths of two prompts, of which the compiler learns that the length varies."""
_STEPS = 3


def probe() -> Probe:
    """Which torch this is, and whether its compiler finds a C++ compiler."""
    compiler = next((name for name in ("g++", "clang++", "c++", "cl") if _on_path(name)), "")
    return Probe(
        usable=bool(compiler),
        version=torch.__version__,
        devices=torch_devices.available(),
        facts={"cpp_compiler": compiler, **torch_devices.cpu_facts()},
        reason="" if compiler else "torch.compile needs a C++ compiler on the PATH, such as g++",
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Session:
    """Load an artifact and compile its forward for prompts and for single steps; see `torch_eager.open_session`.

    The time of the compiler, with the calls that make it compile, is `compile_s` among the facts.

    Raises:
        UnsupportedError: as the runtime `torch`, or an encoder.
    """
    asked = f"open a compiled session of {directory} on {target.device}"
    if target.format != "torch":
        raise UnsupportedError(asked, f"this runtime reads the format torch, not {target.format}", "Build for torch")
    if target.compute_units != "all":
        raise UnsupportedError(
            asked, f"torch cannot choose the compute units {target.compute_units!r}", "Use compute_units = 'all'"
        )
    session = open_torch_session(directory, target, decoding, capacity, batch)
    if not isinstance(session, TorchSession):
        raise UnsupportedError(asked, "the model is an encoder", "Use the runtime torch")
    # One thread: a pool of compiling processes would outlive the compilation, and disturb what is timed.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch._dynamo.utils  # imported late: seconds and 100 MB that a look at the runtime need not pay

    counters = torch._dynamo.utils.counters
    counters.clear()
    told: dict[str, Scalar] = {}

    def facts() -> dict[str, Scalar]:
        graphs = int(counters["stats"]["unique_graphs"])
        return {
            **told,
            "compiled_graphs": graphs,
            "compiled_graphs_since_warm_up": graphs - int(told.get("compiled_graphs_at_load", 0)),  # type: ignore[arg-type]
            "graph_breaks": sum(counters["graph_break"].values()),
            "compiled_operations": int(counters["stats"]["calls_captured"]),
            "compile_cache_hits": int(counters["inductor"]["fxgraph_cache_hit"]),
            "compile_cache_misses": int(counters["inductor"]["fxgraph_cache_miss"]),
        }

    session.prefill(np.zeros((batch, capacity), dtype=np.int64))  # tables of positions are as long as they will be
    session.rewind(0)
    started = time.perf_counter()
    session.run_by(_compiled, facts)
    _warm_up(session, capacity, batch)
    told["compile_s"] = time.perf_counter() - started
    told["compiled_graphs_at_load"] = int(counters["stats"]["unique_graphs"])
    return session


def _compiled(model: nn.Module) -> Callable[..., Any]:
    """The compiled forward. A batch of one may lie with any stride, and each stride would be a graph of its own."""
    forward = torch.compile(model)

    def call(tokens_BT: Tensor, *rest: Any) -> Any:
        return forward(tokens_BT.clone(memory_format=torch.contiguous_format), *rest)

    return call


def _warm_up(session: TorchSession, capacity: int, batch: int) -> None:
    """Call each form once or twice, so that lengths are variables of the compiled graphs and no constants."""
    for length in _PROMPTS:
        session.prefill(np.zeros((batch, min(length, capacity)), dtype=np.int64))
    for _ in range(min(_STEPS, capacity - session.length)):
        session.decode(np.zeros((batch, 1), dtype=np.int64))
    session.rewind(0)


def _on_path(name: str) -> bool:
    return shutil.which(name) is not None
