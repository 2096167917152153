"""The machine's own ceilings: matrix products, memory bandwidth, dispatch, clock, noise. It refuses to hide contention.

A ceiling is the best of several bursts, since whatever disturbs can only slow them down; how much the bursts differ,
and whether the process got the CPUs that it asked for, is recorded beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from assay.core.errors import MissingDependencyError, UnsupportedError
from assay.core.records import Absent, Ceilings, Established, Load, Machine, Measured
from assay.run.measure import environment
from assay.run.measure.clock import clock_resolution_s, collector_off, timed_calls
from assay.run.measure.probes import machine_facts

PRODUCT_SIZES = (256, 1024, 2048)
"""The first one tells how long the others will take: a type without a kernel of its own can be 100 times slower."""
BURSTS = 10
LEAST_CALLS = 3
"""Of a product: one to warm up, one to see how long it takes, one burst."""
BURST_S = 0.02
"""Length of a burst: as many calls as that takes, at least one."""
OUTSIDE_FACTOR = 4.5
"""Arrays of the outer bandwidth, in last-level caches."""
INSIDE_SHARE = 0.25
"""Working set of the inner bandwidth, in last-level caches."""
MEMORY_SHARE = 0.5
"""Most of the available memory that the arrays may take."""
NOISE_CALLS = 100
NOISE_SIZE = 256
FLOOR_CALLS = 2000
FLOOR_S = 0.5
ARRAYS = 3
GEMV_COLUMNS = 1024
KERNELS = ("read_sum", "triad", "gemv")
PRODUCT_SHARE = 0.6
"""Share of the time that goes to matrix products."""

LEAST_CPU_SHARE = 0.9
MOST_PRESSURE = 5.0
MOST_STOLEN = 0.01
_FLOAT_BYTES = 4
_DTYPES = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class _Bench:
    """torch, the device, and how to wait for it."""

    torch: Any
    device: str

    def sync(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        elif self.device == "mps":
            self.torch.mps.synchronize()

    def seconds_per_call(self, call: Callable[[], object], deadline_s: float) -> float:
        """Best burst of up to `BURSTS`, until the deadline (on the monotonic clock); at least one burst."""
        call()
        self.sync()
        once = self._burst(call, 1)
        calls = max(1, math.ceil(BURST_S / once))
        best = once
        for _ in range(BURSTS):
            if time.perf_counter() > deadline_s:
                break
            best = min(best, self._burst(call, calls))
        return best

    def _burst(self, call: Callable[[], object], calls: int) -> float:
        self.sync()
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        self.sync()
        return (time.perf_counter() - begin) / calls


def measure_ceilings(seconds: float = 15.0, device: str = "cpu") -> Ceilings:
    """Measure what this machine can do at best, with as many threads as torch is set to.

    Args:
        seconds: time that the probe may take, about; less time means fewer bursts.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        MissingDependencyError: torch is not installed.
        UnsupportedError: torch does not see the device.
    """
    bench = _bench(device)
    described, before, times = environment.machine(), environment.load(), environment.cpu_times()
    began, cpu_began = time.perf_counter(), time.process_time()
    with collector_off(), bench.torch.inference_mode():
        flops = dict(_products(bench, seconds * PRODUCT_SHARE))
        products_s, products_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        noise = _noise(bench)
        floor = _dispatch_floor(bench)
        inside, outside = _bandwidths(bench, described, before, began + seconds)
    after = environment.load(times)
    threads = int(bench.torch.get_num_threads())
    share: Measured = Absent(reason=f"the products ran on {device}")
    if device == "cpu":
        share = products_cpu_s / (products_s * threads)
    return Ceilings(
        machine=described.content_digest,
        measured_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_s=time.perf_counter() - began,
        device=device,
        threads=threads,
        flops_per_s=flops,
        cache_bytes_per_s=inside,
        memory_bytes_per_s=outside,
        dispatch_floor_s={"torch": floor},
        clock_resolution_s=clock_resolution_s(),
        noise=noise,
        cpu_share=share,
        contention=contention(share, before, after),
        before=before,
        after=after,
    )


def establish(device: str = "cpu") -> tuple[Established, ...]:
    """What the probes of `run.measure.probes` find on a device; compilation takes most of the time.

    Raises:
        MissingDependencyError: torch is not installed.
        UnsupportedError: torch does not see the device.
    """
    bench = _bench(device)
    with bench.torch.no_grad():
        return tuple(machine_facts(bench.torch, device, bench.sync))


def contention(cpu_share: Measured, before: Load, after: Load) -> tuple[str, ...]:
    """Why a measurement may have shared its CPUs: a low CPU share, pressure before it, stolen time.

    Pressure after the measurement is its own doing where all CPUs were used, so that of before counts.
    """
    found = []
    if isinstance(cpu_share, float) and cpu_share < LEAST_CPU_SHARE:
        found.append(f"the threads had {cpu_share:.0%} of the CPU time that they could have used")
    pressure, stolen = before.psi_cpu_some_avg10, after.steal_fraction
    if isinstance(pressure, float) and pressure > MOST_PRESSURE:
        found.append(f"processes waited for a CPU in {pressure:.0f} % of the 10 s before")
    if isinstance(stolen, float) and stolen > MOST_STOLEN:
        found.append(f"the hypervisor took {stolen:.1%} of the CPU time")
    return tuple(found)


def _bench(device: str) -> _Bench:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependencyError("measuring this machine's ceilings", "torch", "torch") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device, False):
        seen = ", ".join(name for name, there in available.items() if there)
        raise UnsupportedError(f"the ceilings of {device!r}", f"torch sees {seen}", "Name one of these")
    return _Bench(torch, device)


def _products(bench: _Bench, seconds: float) -> Iterator[tuple[str, Measured]]:
    """FLOP/s of square products, the best of both sizes, by type; a size that would not fit in the time is left out."""
    begin = time.perf_counter()
    for index, dtype in enumerate(_DTYPES):
        deadline = begin + seconds * (index + 1) / len(_DTYPES)
        best: Measured = Absent(reason="no time was left")
        operation_s = 0.0
        for size in PRODUCT_SIZES:
            if time.perf_counter() + LEAST_CALLS * operation_s * size**3 > deadline:
                break
            try:
                call_s = bench.seconds_per_call(_product(bench, dtype, size), deadline)
            except (RuntimeError, NotImplementedError) as error:
                best = Absent(reason=f"torch has no product of {dtype} on {bench.device}: {str(error).splitlines()[0]}")
                break
            found = 2.0 * size**3 / call_s
            best = max(best, found) if isinstance(best, float) else found
            operation_s = call_s / size**3
        yield dtype, best


def _product(bench: _Bench, dtype: str, size: int) -> Callable[[], object]:
    torch = bench.torch
    if dtype == "int8":
        left, right = (torch.randint(-127, 127, (size, size), dtype=torch.int8, device=bench.device) for _ in range(2))
        return lambda: torch._int_mm(left, right)
    kind = getattr(torch, dtype)
    left, right = (torch.randn(size, size, device=bench.device).to(kind) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _noise(bench: _Bench) -> Measured:
    """Interquartile range over median of equal products that follow each other."""
    product = _product(bench, "float32", NOISE_SIZE)
    product()

    def call() -> None:
        product()
        bench.sync()

    _, durations = timed_calls(call, NOISE_CALLS)
    durations.sort()
    middle = durations[NOISE_CALLS // 2]
    return (durations[3 * NOISE_CALLS // 4] - durations[NOISE_CALLS // 4]) / middle


def _dispatch_floor(bench: _Bench) -> Measured:
    """Seconds of an addition to one number: what a call costs that computes almost nothing."""
    number = bench.torch.zeros(1, device=bench.device)

    def calls() -> None:
        for _ in range(FLOOR_CALLS):
            number.add_(1.0)

    return bench.seconds_per_call(calls, time.perf_counter() + FLOOR_S) / FLOOR_CALLS


def _bandwidths(
    bench: _Bench, described: Machine, before: Load, deadline: float
) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """Bytes/s inside and outside of the last-level cache, by kernel."""
    cache = _last_level_cache(bench, described)
    if isinstance(cache, Absent):
        absent: dict[str, Measured] = dict.fromkeys(KERNELS, cache)
        return absent, absent
    now = time.perf_counter()
    middle = now + max(0.0, deadline - now) / 3
    inside = dict(_kernels(bench, int(cache * INSIDE_SHARE) // ARRAYS, middle))
    array_bytes = int(cache * OUTSIDE_FACTOR)
    available = before.available_bytes
    if bench.device == "cpu" and isinstance(available, float) and ARRAYS * array_bytes > MEMORY_SHARE * available:
        reason = Absent(
            reason=f"{ARRAYS} arrays of {array_bytes / 2**20:.0f} MiB do not fit in half of the available memory"
        )
        return inside, dict.fromkeys(KERNELS, reason)
    return inside, dict(_kernels(bench, array_bytes, deadline))


def _kernels(bench: _Bench, array_bytes: int, deadline: float) -> Iterator[tuple[str, Measured]]:
    """Bytes/s of a sum (reads one array), a = b + s c (reads two, writes one), and a matrix-vector product."""
    torch = bench.torch
    columns = GEMV_COLUMNS
    rows = max(1, array_bytes // (_FLOAT_BYTES * columns))
    first, second, third = (torch.ones(rows * columns, device=bench.device) for _ in range(ARRAYS))
    matrix, vector = first.view(rows, columns), torch.ones(columns, device=bench.device)
    product = torch.empty(rows, device=bench.device)
    size = rows * columns * _FLOAT_BYTES
    calls: tuple[tuple[str, int, Callable[[], object]], ...] = (
        ("read_sum", size, lambda: torch.sum(first)),
        ("triad", 3 * size, lambda: torch.add(second, third, alpha=0.5, out=first)),
        ("gemv", size, lambda: torch.mv(matrix, vector, out=product)),
    )
    begin = time.perf_counter()
    for index, (name, moved, call) in enumerate(calls):
        until = begin + (deadline - begin) * (index + 1) / len(calls)
        yield name, moved / bench.seconds_per_call(call, until)


def _last_level_cache(bench: _Bench, described: Machine) -> Measured:
    """Bytes of one instance of the last cache before memory."""
    if bench.device == "cuda":
        return float(bench.torch.cuda.get_device_properties(0).L2_cache_size)
    for level in ("L3", "L2"):
        if level in described.cache_bytes:
            return float(described.cache_bytes[level])
    return Absent(reason="the system does not tell the size of the last-level cache")
