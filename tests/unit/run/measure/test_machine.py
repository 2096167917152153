"""The ceilings: a short probe gives a whole record, and contention is named."""

from __future__ import annotations

import pytest

from assay.core.errors import UnsupportedError
from assay.core.records import Absent, Ceilings, Load
from assay.run.measure import machine as probe
from assay.run.measure.environment import machine

NONE = Absent(reason="not read")


def state(pressure: float | Absent = NONE, stolen: float | Absent = NONE) -> Load:
    return Load(
        load_average=NONE,
        psi_cpu_some_avg10=pressure,
        steal_fraction=stolen,
        available_bytes=NONE,
        frequency_hz=NONE,
        temperature_c=NONE,
        thermal_state=NONE,
    )


def test_a_short_probe_gives_a_whole_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products and few calls: what is asserted is the record and its order of sizes, not the speed."""
    pytest.importorskip("torch")
    monkeypatch.setattr(probe, "PRODUCT_SIZES", (64, 128))
    monkeypatch.setattr(probe, "BURSTS", 2)
    monkeypatch.setattr(probe, "BURST_S", 0.001)
    monkeypatch.setattr(probe, "FLOOR_CALLS", 50)
    monkeypatch.setattr(probe, "OUTSIDE_FACTOR", 0.5)
    ceilings = probe.measure_ceilings(0.5)
    assert Ceilings.from_json(ceilings.to_json()) == ceilings
    assert ceilings.machine == machine().content_digest
    assert set(ceilings.flops_per_s) == {"float32", "bfloat16", "float16", "int8"}
    assert isinstance(ceilings.flops_per_s["float32"], float)
    assert set(ceilings.memory_bytes_per_s) == set(ceilings.cache_bytes_per_s) == {"read_sum", "triad", "gemv"}
    floor = ceilings.dispatch_floor_s["torch"]
    assert isinstance(floor, float)
    assert 0 < floor < 0.01
    assert isinstance(ceilings.memory_bandwidth, float)


def test_a_device_that_is_not_there_is_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(UnsupportedError, match="abacus"):
        probe.measure_ceilings(0.1, device="abacus")


def test_a_kernel_that_is_missing_is_absent_and_a_slow_one_ends_in_time() -> None:
    calls: list[float] = []

    class Slow(probe._Bench):
        def seconds_per_call(self, call: object, deadline_s: float) -> float:
            calls.append(deadline_s)
            return 100.0

    torch = pytest.importorskip("torch")
    found = dict(probe._products(Slow(torch, "cpu"), 60.0))
    assert len(calls) == 4  # the first size of each type: the next one would take 64 times as long
    assert found["float32"] == 2.0 * 256**3 / 100.0

    class Broken(probe._Bench):
        def seconds_per_call(self, call: object, deadline_s: float) -> float:
            raise RuntimeError("not implemented for this type\nand more")

    broken = dict(probe._products(Broken(torch, "cpu"), 60.0))["int8"]
    assert isinstance(broken, Absent)
    assert broken.reason.endswith("not implemented for this type")


def test_contention_is_named() -> None:
    quiet = state(pressure=1.0, stolen=0.001)
    assert probe.contention(0.97, quiet, quiet) == ()
    assert probe.contention(NONE, state(), state()) == ()
    found = probe.contention(0.5, state(pressure=40.0), state(stolen=0.03))
    assert [word in reason for word, reason in zip(("50%", "40 %", "3.0%"), found, strict=True)] == [True] * 3


def test_arrays_that_do_not_fit_are_not_tried() -> None:
    torch = pytest.importorskip("torch")
    described = machine().model_copy(update={"cache_bytes": {"L2": 2**20}})
    tight = state().model_copy(update={"available_bytes": 2.0**20})
    inside, outside = probe._bandwidths(probe._Bench(torch, "cpu"), described, tight, 0.0)
    assert all(isinstance(value, float) for value in inside.values())
    for value in outside.values():
        assert isinstance(value, Absent)
        assert "do not fit" in value.reason
    unknown = described.model_copy(update={"cache_bytes": {}})
    inside, _ = probe._bandwidths(probe._Bench(torch, "cpu"), unknown, tight, 0.0)
    assert all(isinstance(value, Absent) for value in inside.values())
