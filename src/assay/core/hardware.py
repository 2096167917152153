"""Published ceilings of hardware, as data. It refuses sparse peaks, and marks what is recalled and not verified.

Dense peaks in TFLOP/s (`int8`, `fp8`: TOP/s), bandwidth in GB/s, power in watts, with 10^12 and 10^9. A figure that
is missing is not in the table: `peak_flops` and its like then give Absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from assay.core.errors import InputError
from assay.core.records import Absent, Measured

TERA = 1e12
GIGA = 1e9


@dataclass(frozen=True)
class Device:
    """One piece of hardware. Types are named as the field does: float32, tf32, bfloat16, float16, int8, fp8."""

    name: str
    kind: str
    """`nvidia`, `apple_gpu`, `apple_ane`."""
    tera_per_s: Mapping[str, tuple[float, float]]
    """Dense peak by type, lowest and highest published."""
    gigabytes_per_s: tuple[float, float] | None = None
    watts: tuple[float, float] | None = None
    compute_capability: float | None = None
    recalled: frozenset[str] = frozenset()
    """Fields (types, `bandwidth`, `power`) whose figures are recalled, not read in a source."""
    aliases: tuple[str, ...] = ()

    @property
    def tensor_cores(self) -> bool:
        """NVIDIA only: from compute capability 7.0."""
        return self.compute_capability is not None and self.compute_capability >= 7.0

    def peak_flops(self, dtype: str) -> Measured:
        """Highest published dense FLOP/s (or integer operations/s) of a type."""
        if dtype in self.tera_per_s:
            return self.tera_per_s[dtype][1] * TERA
        return Absent(reason=f"no dense peak of {dtype} is published for {self.name}")

    def bandwidth(self) -> Measured:
        """Highest published memory bandwidth, bytes/s."""
        if self.gigabytes_per_s is None:
            return Absent(reason=f"no memory bandwidth is published for {self.name}")
        return self.gigabytes_per_s[1] * GIGA

    def power_w(self) -> Measured:
        """Highest published board power."""
        return Absent(reason=f"no power is published for {self.name}") if self.watts is None else self.watts[1]

    def supports(self, dtype: str) -> bool | Absent:
        """NVIDIA: whether tensor cores take a type, by compute capability; Absent for others."""
        if self.compute_capability is None:
            return Absent(reason=f"{self.name} has no compute capability")
        least = LEAST_CAPABILITY.get(dtype)
        if least is None:
            return Absent(reason=f"no least compute capability is known for {dtype}")
        return self.compute_capability >= least


LEAST_CAPABILITY = MappingProxyType({"float16": 7.0, "bfloat16": 8.0, "tf32": 8.0, "fp8": 8.9})
"""Compute capability from which tensor cores take a type."""

CPU_FLOPS_PER_CYCLE = MappingProxyType(
    {"avx2 float32": 32, "avx512f float32": 64, "amx_bf16 bfloat16": 1024, "amx_int8 int8": 2048}
)
"""Operations per cycle and core by instruction set and type; the first two are recalled."""

NEURAL_ENGINE_REAL_FP16 = MappingProxyType({"M1": 4.8 * TERA, "M4": 19.0 * TERA})
"""fp16 FLOP/s that were measured on Apple's Neural Engine, against the TOPS that are advertised."""


def _one(value: float) -> tuple[float, float]:
    return (float(value), float(value))


def _nvidia(
    name: str,
    capability: float,
    tera: Mapping[str, float | tuple[float, float]],
    gigabytes: float | tuple[float, float],
    watts: float | tuple[float, float],
    recalled: str = "",
    aliases: tuple[str, ...] = (),
) -> Device:
    return Device(
        name=name,
        kind="nvidia",
        tera_per_s=MappingProxyType({k: v if isinstance(v, tuple) else _one(v) for k, v in tera.items()}),
        gigabytes_per_s=gigabytes if isinstance(gigabytes, tuple) else _one(gigabytes),
        watts=watts if isinstance(watts, tuple) else _one(watts),
        compute_capability=capability,
        recalled=frozenset(recalled.split()),
        aliases=aliases,
    )


def _apple_gpu(
    name: str, tera: float | tuple[float, float] | None, gigabytes: float | tuple[float, float], recalled: str = ""
) -> Device:
    peaks = {} if tera is None else {"float32": tera if isinstance(tera, tuple) else _one(tera)}
    return Device(
        name=f"{name} GPU",
        kind="apple_gpu",
        tera_per_s=MappingProxyType(peaks),
        gigabytes_per_s=gigabytes if isinstance(gigabytes, tuple) else _one(gigabytes),
        recalled=frozenset(recalled.split()),
        aliases=(name,),
    )


def _iphone_gpu(name: str, float32: float, float16: float | None = None) -> Device:
    peaks = {"float32": _one(float32)} | ({} if float16 is None else {"float16": _one(float16)})
    return Device(name=f"{name} GPU", kind="apple_gpu", tera_per_s=MappingProxyType(peaks))


def _neural_engine(name: str, tops: float) -> Device:
    return Device(
        name=f"{name} Neural Engine", kind="apple_ane", tera_per_s=MappingProxyType({"advertised": _one(tops)})
    )


DEVICES: tuple[Device, ...] = (
    _nvidia("P100 SXM", 6.0, {"float32": 10.6, "float16": 21.2}, 732, 300, "bandwidth", ("P100",)),
    _nvidia("P100 PCIe", 6.0, {"float32": 9.3, "float16": 18.7}, 732, 250, "float32 float16 bandwidth"),
    _nvidia("V100", 7.0, {"float32": 15.7, "float16": 125}, 900, 300, "power"),
    _nvidia("T4", 7.5, {"float32": 8.1, "float16": 65, "int8": 130}, 320, 70, "", ("Tesla T4",)),
    _nvidia(
        "A100",
        8.0,
        {"float32": 19.5, "tf32": 156, "bfloat16": 312, "float16": 312, "int8": 624},
        (1555, 2039),
        400,
        "bandwidth",
    ),
    _nvidia(
        "H100 SXM",
        9.0,
        {"float32": 67, "tf32": 494, "bfloat16": 989, "float16": 989, "int8": 1979, "fp8": 1979},
        3350,
        700,
        "tf32 int8 fp8",
        ("H100",),
    ),
    _nvidia(
        "RTX PRO 6000",
        12.0,
        {"float32": 125, "tf32": 252, "bfloat16": 504, "float16": 504, "int8": 1008},
        1792,
        600,
    ),
    _apple_gpu("M1", 2.6, 68, "bandwidth"),
    _apple_gpu("M1 Pro", 5.3, 200, "bandwidth"),
    _apple_gpu("M1 Max", 10.6, 400, "bandwidth"),
    _apple_gpu("M2", 3.6, 102),
    _apple_gpu("M2 Pro", 6.8, 205),
    _apple_gpu("M2 Max", 13.6, 400, "bandwidth"),
    _apple_gpu("M3", 3.6, 102, "float32"),
    _apple_gpu("M3 Pro", 6.4, 154),
    _apple_gpu("M3 Max", 14.3, 400, "bandwidth"),
    _apple_gpu("M4", (3.0, 3.8), 120, "float32"),
    _apple_gpu("M4 Pro", None, 273),
    _apple_gpu("M4 Max", 13.7, (410, 546)),
    _iphone_gpu("A14", 0.65, 1.31),
    _iphone_gpu("A15", 1.71),
    _iphone_gpu("A16", 1.79),
    _neural_engine("A12", 5),
    _neural_engine("A14", 11),
    _neural_engine("M1", 11),
    _neural_engine("A15", 15.8),
    _neural_engine("M2", 15.8),
    _neural_engine("A16", 17),
    _neural_engine("A17 Pro", 35),
    _neural_engine("A18", 35),
    _neural_engine("M4", 38),
)
"""Published int8 gains of the Neural Engine conflict, so `advertised` is never a reason to strike out a number."""


def device(name: str) -> Device:
    """Find a device by its name or an alias, whatever the case.

    Raises:
        InputError: the table has no such device.
    """
    wanted = name.casefold()
    for entry in DEVICES:
        if wanted in (entry.name.casefold(), *(alias.casefold() for alias in entry.aliases)):
            return entry
    raise InputError(
        f"hardware named {name!r}", "the table does not have it", f"Use one of: {', '.join(d.name for d in DEVICES)}"
    )


_OTHER_THAN_ONE = re.compile(r"\b(ultra|mig|nvl|\d+ ?x|x ?\d+)\b")


def recognised(reported: str) -> Device | Absent:
    """The device that a driver's name means, such as `NVIDIA A100-SXM4-80GB` or `Apple M2 Pro`; the longest match wins.

    A name that only resembles an entry is a hypothesis: no check may condemn a number by it alone.
    """
    text = f" {reported.casefold().replace('-', ' ')} "
    if _OTHER_THAN_ONE.search(text):
        return Absent(reason=f"{reported!r} is several devices, or a variant that the table of hardware does not have")
    matches = [
        (len(name), entry)
        for entry in DEVICES
        if entry.kind != "apple_ane"
        for name in (entry.name, *entry.aliases)
        if f" {name.casefold()} " in text
    ]
    if not matches:
        return Absent(reason=f"the table of hardware has no {reported!r}")
    return max(matches, key=lambda match: match[0])[1]
