"""Probes find what was planted: rounded products, a compiler that breaks, a clock that does not wait, dead meters."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from assay.core.records import Absent, Estimate
from assay.run.measure import probes
from assay.run.measure.energy.base import NoMeter
from assay.run.measure.energy.probe import Choice


def rounded(kind: torch.dtype) -> Callable[[Any, Any], Any]:
    return lambda left, right: left.to(kind).float() @ right.to(kind).float()


def to_tf32(numbers: Any) -> Any:
    """Ten bits of mantissa, to nearest: what a TF32 unit reads."""
    return ((numbers.view(torch.int32) + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


@pytest.mark.parametrize(
    ("product", "found"),
    [
        (torch.mm, "float32"),
        (rounded(torch.bfloat16), "bfloat16"),
        (lambda left, right: to_tf32(left) @ to_tf32(right), "tf32"),
        (rounded(torch.float64), "float32"),
    ],
)
def test_the_precision_of_a_product_is_read_from_its_error(product: Any, found: str) -> None:
    told = probes.matmul_precision(torch, "cpu", product)
    assert told.found == found
    assert "relative error" in told.evidence


def test_a_broken_product_has_no_precision() -> None:
    assert isinstance(probes.matmul_precision(torch, "cpu", lambda left, _: left).found, Absent)


def test_torch_s_own_switch_is_seen_where_this_processor_obeys_it() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert probes.matmul_precision(torch, "cpu").found == "float32"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("printed", "found"),
    [("[9, 0, true]", True), ("[0, 0, true]", False), ("[9, 1, true]", False), ("[9, 0, false]", False)],
)
def test_a_compiler_that_captures_nothing_or_breaks_did_not_engage(printed: str, found: bool) -> None:
    assert probes.compilation_engages(f"print('{printed}')").found is found


def test_a_compiler_that_fails_or_never_ends_is_not_known() -> None:
    failed = probes.compilation_engages("raise RuntimeError('no C++ compiler')")
    assert failed.found == Absent(reason="RuntimeError: no C++ compiler")
    endless = probes.compilation_engages("import time; time.sleep(60)", seconds=0.5)
    assert isinstance(endless.found, Absent)


def test_work_that_is_waited_for_takes_twice_as_long_twice() -> None:
    waited = probes.device_synchronised(lambda: _spin(1e-3), lambda: None)
    assert waited.found is True
    told = probes.device_synchronised(lambda: None, lambda: _spin(2e-3))
    assert told.found is False
    assert "x the time" in told.evidence


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_an_output_that_ignores_its_input_is_seen() -> None:
    one, two = np.zeros(3), np.ones(3)
    assert probes.output_depends_on_input(lambda x: x * 2, one, two).found is True
    assert probes.output_depends_on_input(lambda _: one, one, two).found is False


def test_levels_tell_the_bits_that_weights_have() -> None:
    draw = np.random.default_rng(0)
    assert probes.levels_fit(draw.integers(0, 16, (8, 256)), 4).found is True
    assert probes.levels_fit(draw.integers(0, 200, (8, 4096)), 4).found is False


class Meter:
    name, kind, covers = "a meter", "counter", "the package"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def begin_window(self) -> None:
        """Nothing to begin."""

    def end_window(self) -> Any:
        return self.answer


def test_a_meter_lives_where_it_moves() -> None:
    moved = Meter(Estimate(value=3.0, low=2.9, high=3.1, method="counted"))
    assert probes.energy_counter_alive("cpu", lambda: None, Choice(moved, ())).found is True
    still = Meter(Absent(reason="the meter did not move"))
    assert probes.energy_counter_alive("cpu", lambda: None, Choice(still, ())).found is False
    none = probes.energy_counter_alive("cpu", lambda: None, Choice(NoMeter("no meter here"), ()))
    assert none.found == Absent(reason="no meter here")


def test_a_probe_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no kernel\nand more")

    monkeypatch.setattr(probes, "matmul_precision", broken)
    monkeypatch.setattr(probes, "compilation_engages", lambda: probes.output_depends_on_input(np.negative, 1, 2))
    told = list(probes.machine_facts(torch, "cpu", lambda: None))
    assert told[0].found == Absent(reason="no kernel")
    assert len(told) == 5
