"""What torch finds on this machine: devices, instruction sets, threads; it refuses devices that are not there."""

from __future__ import annotations

import torch

from assay.core.errors import UnsupportedError
from assay.core.records import Scalar
from assay.run.cpus import usable_cpus


def available() -> tuple[str, ...]:
    """Names of the devices that work here: `cpu`, and `cuda` or `mps`."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)


def require(device: str) -> torch.device:
    """The torch device of a target's name, such as `cpu` or `cuda:1`.

    Raises:
        UnsupportedError: it is not there.
    """
    name, _, index = device.partition(":")
    count = torch.cuda.device_count() if name == "cuda" else 1
    if name not in available() or (index and (not index.isdigit() or int(index) >= count)):
        raise UnsupportedError(
            f"run on the device {device}",
            f"torch {torch.__version__} finds {', '.join(available())}",
            "Use one of these",
        )
    return torch.device(device)


def synchronize(device: torch.device) -> None:
    """Wait for the device; a no-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def use_threads(asked: int) -> int:
    """Set torch's threads, 0 meaning all that this process may run on; returns how many it uses then."""
    torch.set_num_threads(asked or usable_cpus())
    return torch.get_num_threads()


def cpu_facts() -> dict[str, Scalar]:
    """Which vector instructions torch's CPU kernels use, and which matrix instructions they may use."""
    probes = {
        "avx512_bf16": "_is_avx512_bf16_supported",
        "avx512_vnni": "_is_vnni_supported",
        "amx": "_is_amx_tile_supported",
        "amx_fp16": "_is_amx_fp16_supported",
    }
    found = [name for name, probe in probes.items() if hasattr(torch.cpu, probe) and getattr(torch.cpu, probe)()]
    return {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "cpu_matrix_instructions": tuple(found)}
