"""How far each layer's output is from the reference's: PSNR by layer, so that the first one that strays is named.

It refuses layers that the reference does not have: two models of different depth are not held against each other.
Shape suffixes: T tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.records import Absent, LayerFidelity
from assay.run.session import Layered

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENS = 128
"""Of the text, in one pass: enough for a mean over positions, and a file of some megabytes."""


def write_layers(session: object, text: Sequence[int], path: Path) -> None:
    """Write the reference's layer outputs to `path`; nothing where its runtime does not show its layers.

    Args:
        session: the reference's.
        text: token ids.
        path: file to write; the caller deletes it.
    """
    if not isinstance(session, Layered):
        return
    outputs = session.layer_outputs(_tokens(text))
    named: dict[str, Any] = {f"{place:04d} {name}": values for place, (name, values) in enumerate(outputs)}
    np.savez(path, **named)


def layer_fidelity(session: object, text: Sequence[int], path: Path) -> tuple[LayerFidelity, ...] | Absent:
    """PSNR of each layer's output against the reference's, in the order of the model.

    20 log10((max|reference| + 1e-5) / (RMSE + 1e-10)), over all positions and channels, in float64.
    """
    if not isinstance(session, Layered):
        return Absent(reason="this runtime does not show its layers")
    if not path.exists():
        return Absent(reason="the reference's runtime does not show its layers")
    outputs = session.layer_outputs(_tokens(text))
    with np.load(path) as stored:
        names = sorted(stored.files)
        if [name[5:] for name in names] != [name for name, _ in outputs]:
            return Absent(reason=f"the reference has {len(names)} layers of other names, this has {len(outputs)}")
        return tuple(
            LayerFidelity(layer=name, psnr_db=psnr_db(stored[key], values))
            for key, (name, values) in zip(names, outputs, strict=True)
        )


def psnr_db(reference_TD: NDArray[np.float32], values_TD: NDArray[np.float32]) -> float:
    """Peak signal to noise ratio in dB; two equal arrays give a large finite number."""
    exact = reference_TD.astype(np.float64)
    rmse = math.sqrt(float(np.mean((values_TD.astype(np.float64) - exact) ** 2)))
    return 20.0 * math.log10((float(np.abs(exact).max()) + 1e-5) / (rmse + 1e-10))


def _tokens(text: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray([list(text[:TOKENS])], dtype=np.int64)
