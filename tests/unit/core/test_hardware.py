"""The table of hardware: looked up by names of drivers, dense peaks alone, and Absent for what is not published."""

from __future__ import annotations

import pytest

from assay.core.errors import InputError
from assay.core.hardware import CPU_FLOPS_PER_CYCLE, DEVICES, NEURAL_ENGINE_REAL_FP16, Device, device, recognised
from assay.core.records import Absent


def found(name: str) -> Device:
    entry = recognised(name)
    assert isinstance(entry, Device)
    return entry


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("Tesla T4", "T4"),
        ("Tesla P100-PCIE-16GB", "P100 PCIe"),
        ("Tesla P100-SXM2-16GB", "P100 SXM"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"),
        ("Apple M2", "M2 GPU"),
        ("Apple M2 Pro", "M2 Pro GPU"),
        ("Apple M4 Max GPU", "M4 Max GPU"),
    ],
)
def test_a_driver_s_name_is_recognised(reported: str, name: str) -> None:
    assert found(reported).name == name


@pytest.mark.parametrize("reported", ["NVIDIA GeForce RTX 4090", "Quadro T400", "Apple M22", ""])
def test_a_name_that_is_not_in_the_table_is_absent(reported: str) -> None:
    assert isinstance(recognised(reported), Absent)


def test_figures_are_in_si_units() -> None:
    a100 = device("a100")
    assert a100.peak_flops("bfloat16") == 312e12
    assert a100.bandwidth() == 2039e9
    assert a100.power_w() == 400
    assert device("M1").peak_flops("float32") == 2.6e12
    assert device("T4").peak_flops("int8") == 130e12


def test_what_is_not_published_is_absent() -> None:
    assert isinstance(device("V100").peak_flops("bfloat16"), Absent)
    assert isinstance(device("M4 Pro").peak_flops("float32"), Absent)
    assert isinstance(device("A14 GPU").bandwidth(), Absent)
    assert isinstance(device("A14 GPU").power_w(), Absent)


def test_tensor_cores_and_types_follow_the_compute_capability() -> None:
    assert not device("P100").tensor_cores
    assert device("T4").tensor_cores
    assert device("T4").supports("bfloat16") is False
    assert device("A100").supports("bfloat16") is True
    assert device("A100").supports("fp8") is False
    assert device("H100").supports("fp8") is True
    assert isinstance(device("M1").supports("bfloat16"), Absent)
    assert isinstance(device("A100").supports("fp4"), Absent)


def test_no_peak_is_a_sparse_one() -> None:
    """With sparsity the A100 would show 624 in 16 bits and the H100 1,979 in bfloat16."""
    assert device("A100").peak_flops("float16") == 312e12
    assert device("H100").peak_flops("bfloat16") == 989e12


def test_an_unknown_name_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(InputError, match="RTX PRO 6000"):
        device("abacus")


def test_names_are_unique_and_recalled_figures_exist() -> None:
    names = [name.casefold() for entry in DEVICES for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    for entry in DEVICES:
        assert entry.recalled <= {*entry.tera_per_s, "bandwidth", "power"}, entry.name
        for low, high in entry.tera_per_s.values():
            assert 0 < low <= high


def test_wider_instructions_do_more_per_cycle() -> None:
    assert list(CPU_FLOPS_PER_CYCLE.values()) == sorted(CPU_FLOPS_PER_CYCLE.values())
    for name, real in NEURAL_ENGINE_REAL_FP16.items():
        advertised = device(f"{name} Neural Engine").peak_flops("advertised")
        assert isinstance(advertised, float)
        assert real < advertised
