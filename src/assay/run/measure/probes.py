"""Facts that a table only claims: the precision that a product really has, whether a compiler engages, a clock waits.

Each probe answers with what was found and the figure that it stands on, and refuses to guess where it could not look.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from assay.core.errors import AssayError
from assay.core.records import Absent, Established
from assay.run.measure.energy.probe import Choice
from assay.run.measure.energy.probe import probe as energy_meter

SIZE = 384
"""Of the probed product: large enough for every fast kernel, small enough for a tenth of a second."""
_ERRORS = ((2e-5, "float32"), (1.2e-3, "tf32"), (2e-2, "bfloat16"))
"""Relative error of a product of normal numbers: about 3e-7 in float32; 11 significant bits (TF32, fp16) give 3e-4, the
8 of bf16 2.4e-3. The borders lie between."""
_TWICE = (1.6, 2.4)
"""Twice the calls over once, on a machine that may be busy; METHOD's 1.9 to 2.1 holds for whole studies."""
_LIVELY_S = 0.3
COMPILE_S = 60.0


def precision_of_error(error: float) -> str | Absent:
    """`float32`, `tf32` or `bfloat16` by the relative error of a float32 product; Absent where it is none of these."""
    for border, name in _ERRORS:
        if error < border:
            return name
    return Absent(reason=f"a relative error of {error:.2g} is that of no known type")


def matmul_precision(torch: Any, device: str, product: Callable[[Any, Any], Any] | None = None) -> Established:
    """Effective precision of a float32 product, by its error against float64 on the processor.

    Args:
        torch: the module.
        device: `cpu`, `cuda` or `mps`.
        product: what multiplies two float32 matrices; torch's own by default.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIZE, SIZE, generator=generator) for _ in range(2))
    multiply = torch.mm if product is None else product
    found = multiply(left.to(device), right.to(device)).double().cpu()
    exact = left.double() @ right.double()
    error = float((found - exact).norm() / exact.norm())
    return Established(
        name="matmul_precision",
        found=precision_of_error(error),
        evidence=f"a float32 product of {SIZE} x {SIZE} on {device} has a relative error of {error:.2g}",
    )


_COMPILES = """
import json, torch
from torch._dynamo.utils import counters
def work(x):
    for _ in range(4):
        x = (x * 1.01).sin() + x
    return x
x = torch.linspace(-2.0, 2.0, 4096)
with torch.no_grad():
    same = bool(torch.allclose(torch.compile(work)(x), work(x), atol=1e-5))
print(json.dumps([int(counters["stats"]["calls_captured"]), sum(counters["graph_break"].values()), same]))
"""
"""In a process of its own: a compiler may take minutes, start others, and leave its state behind."""


def compilation_engages(script: str = _COMPILES, seconds: float = COMPILE_S) -> Established:
    """Whether `torch.compile` captures a function and runs what it made, by the compiler's own counters.

    Args:
        script: prints the operations captured, the graph breaks, and whether the results are equal, as JSON.
        seconds: time after which the answer is not known.
    """
    name = "compilation_engaged"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"a small function was not compiled within {seconds:g} s"
        return Established(name=name, found=Absent(reason=reason), evidence="stopped")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"it ended with status {done.returncode}"
        return Established(name=name, found=Absent(reason=reason), evidence="torch.compile refused")
    captured, breaks, same = json.loads(done.stdout.splitlines()[-1])
    return Established(
        name=name,
        found=captured > 0 and breaks == 0 and same,
        evidence=f"{captured} operations captured, {breaks} graph breaks, results {'equal' if same else 'differ'}",
    )


def device_synchronised(call: Callable[[], object], sync: Callable[[], None], calls: int = 20) -> Established:
    """Whether the clock waits for the work: 2 k calls must take about twice as long as k.

    Args:
        call: asks the device for work.
        sync: waits until it is done.
        calls: k.
    """
    ratios = []
    call()
    sync()
    for _ in range(5):
        once, twice = _timed(call, sync, calls), _timed(call, sync, 2 * calls)
        ratios.append(twice / once if once > 0 else 0.0)
    ratio = median(ratios)
    return Established(
        name="device_synchronised",
        found=_TWICE[0] <= ratio <= _TWICE[1],
        evidence=f"{2 * calls} calls take {ratio:.3g} x the time of {calls} (the median of 5 pairs)",
    )


def _timed(call: Callable[[], object], sync: Callable[[], None], calls: int) -> float:
    sync()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    sync()
    return time.perf_counter() - begin


def output_depends_on_input(call: Callable[[Any], Any], first: Any, second: Any) -> Established:
    """Whether different inputs give different outputs, and the same input the same: no cache and no dead code between.

    Args:
        call: what computes, from an input to an array with `tobytes`.
        first: an input.
        second: another one.
    """
    one, other, again = (call(each).tobytes() for each in (first, second, first))
    return Established(
        name="output_depends_on_input",
        found=one != other,
        evidence=f"two inputs give {'different' if one != other else 'the same'} outputs, one input twice "
        f"{'the same' if one == again else 'different ones'}",
    )


def levels_fit(rows: Any, bits: int) -> Established:
    """Whether weights have the bits that they claim: at most 2^bits different values in each row that shares a scale.

    Args:
        rows: an array `[groups, values]`, one row for each scale or palette.
        bits: claimed bits per weight.
    """
    most = max(len(set(row)) for row in rows.tolist())
    return Established(
        name="weights_have_claimed_bits",
        found=most <= 2**bits,
        evidence=f"{most} different values in a group, of {2**bits} that {bits} bits have",
    )


def energy_counter_alive(device: str, work: Callable[[], object], choice: Choice | None = None) -> Established:
    """Whether the machine's meter moves while it works."""
    name = "energy_counter_alive"
    meter = (energy_meter(device) if choice is None else choice).meter
    if meter.kind == "none":
        return Established(name=name, found=Absent(reason=meter.end_window().reason), evidence="no meter")  # type: ignore[union-attr]
    meter.begin_window()
    until = time.perf_counter() + _LIVELY_S
    while time.perf_counter() < until:
        work()
    told = meter.end_window()
    said = told.reason if isinstance(told, Absent) else f"{told.value:.3g} J"
    return Established(
        name=name, found=not isinstance(told, Absent), evidence=f"{meter.name}: {said} in {_LIVELY_S:g} s"
    )


def machine_facts(torch: Any, device: str, sync: Callable[[], None]) -> Iterator[Established]:
    """Every probe that needs no model, on one device; one that fails says why and leaves the others alone."""
    square = torch.randn(SIZE, SIZE, device=device)

    def product() -> None:
        torch.mm(square, square)

    def applied(scale: float) -> Any:
        return torch.mm(square * scale, square).float().cpu().numpy()

    probes: tuple[tuple[str, Callable[[], Established]], ...] = (
        ("matmul_precision", lambda: matmul_precision(torch, device)),
        ("device_synchronised", lambda: device_synchronised(product, sync)),
        ("output_depends_on_input", lambda: output_depends_on_input(applied, 1.0, 2.0)),
        ("energy_counter_alive", lambda: energy_counter_alive(device, product)),
        ("compilation_engaged", compilation_engages),
    )
    for name, look in probes:
        try:
            yield look()
        except (AssayError, RuntimeError) as error:
            yield Established(name=name, found=Absent(reason=str(error).splitlines()[0]), evidence="the probe failed")
