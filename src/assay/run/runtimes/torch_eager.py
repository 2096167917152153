"""The runtime `torch`: PyTorch, eager, on CPU, CUDA or MPS; it refuses other formats and devices that are not there.

Importing this module imports torch and everything that a session needs, so that an import can be timed as one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from assay.core.errors import UnsupportedError
from assay.core.records import Decoding, Target
from assay.run import torch_devices
from assay.run.probe import Probe
from assay.run.torch_session import open_torch_session

if TYPE_CHECKING:
    from assay.run.session import Encoder, Session

RUNTIME = "torch"
HEADS = ("last", "all")
"""Which logits a prefill can compute (`Decoding.head`); a runtime without this says those of the last token."""


def probe() -> Probe:
    """Which torch this is and which devices it finds."""
    return Probe(
        usable=True,
        version=torch.__version__,
        devices=torch_devices.available(),
        facts=torch_devices.cpu_facts(),
    )


def open_session(
    directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1
) -> Session | Encoder:
    """Load an artifact and allocate its KV cache; an encoder has none.

    Args:
        directory: an artifact of the format `torch`.
        target: device and threads; 0 threads means as many as the process may use.
        decoding: kind of cache, chunk of a prefill.
        capacity: tokens of the longest sequence.
        batch: sequences in parallel.

    Raises:
        UnsupportedError: another format, compute unit or a device that is not there.
        ContractError: the capacity exceeds the model's context, or the artifact's parts disagree.
        CorruptFileError: the artifact is damaged.
    """
    asked = f"open a session of {directory} on {target.device}"
    if target.format != "torch":
        raise UnsupportedError(asked, f"this runtime reads the format torch, not {target.format}", "Build for torch")
    if target.compute_units != "all":
        raise UnsupportedError(
            asked, f"torch cannot choose the compute units {target.compute_units!r}", "Use compute_units = 'all'"
        )
    return open_torch_session(directory, target, decoding, capacity, batch)
