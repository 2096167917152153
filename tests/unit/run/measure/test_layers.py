"""Layers are held against the reference's by PSNR, and only where both show them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from assay.core.records import Absent
from assay.run.measure.layers import TOKENS, layer_fidelity, psnr_db, write_layers


class Shows:
    """A session of two layers whose outputs are the given ones."""

    def __init__(self, *outputs: tuple[str, np.ndarray]) -> None:
        self.outputs = list(outputs)
        self.read = 0

    def layer_outputs(self, tokens_BT: np.ndarray) -> list[tuple[str, np.ndarray]]:
        self.read = tokens_BT.shape[1]
        return self.outputs


def test_psnr_is_that_of_the_formula_and_finite_for_equal_arrays() -> None:
    reference = np.array([[3.0, -4.0]], dtype=np.float32)
    assert psnr_db(reference, reference) == pytest.approx(20 * math.log10((4 + 1e-5) / 1e-10))
    assert psnr_db(reference, reference + 0.5) == pytest.approx(20 * math.log10((4 + 1e-5) / 0.5), rel=1e-6)


def test_each_layer_is_held_against_its_own(tmp_path: Path) -> None:
    first, second = (np.full((1, 4, 3), value, dtype=np.float32) for value in (1.0, 2.0))
    reference = Shows(("layers.9", first), ("layers.10", second))
    path = tmp_path / "layers.npz"
    write_layers(reference, range(1000), path)
    assert reference.read == TOKENS
    found = layer_fidelity(Shows(("layers.9", first), ("layers.10", second + 0.2)), range(1000), path)
    assert not isinstance(found, Absent)
    assert [layer.layer for layer in found] == ["layers.9", "layers.10"]
    assert found[0].psnr_db > 190
    assert found[1].psnr_db == pytest.approx(20, abs=1e-3)


def test_what_cannot_be_held_against_it_says_why(tmp_path: Path) -> None:
    path = tmp_path / "layers.npz"
    assert "reference's runtime" in _reason(layer_fidelity(Shows(), range(9), path))
    assert "does not show" in _reason(layer_fidelity(object(), range(9), path))
    write_layers(object(), range(9), path)
    assert not path.exists()
    write_layers(Shows(("a", np.ones((1, 2, 2), dtype=np.float32))), range(9), path)
    assert "1 layers" in _reason(layer_fidelity(Shows(), range(9), path))


def _reason(found: object) -> str:
    assert isinstance(found, Absent)
    return found.reason
