"""What `assay doctor` found, as text or JSON. It computes no number."""

from __future__ import annotations

from collections.abc import Iterator

from assay.core.records import Absent, Ceilings, Established, Examination, Measured, Text
from assay.show.format import bytes_text

_UNKNOWN = Absent(reason="not measured")


def render_examination(found: Examination, as_json: bool = False) -> str:
    """A machine, its runtimes, its models and its ceilings."""
    return found.model_dump_json(indent=2) if as_json else "\n".join(_lines(found))


def _lines(found: Examination) -> Iterator[str]:
    machine, load = found.machine, found.load
    yield f"Machine   {_text(machine.cpu_model)}, {machine.usable_cpus} of {machine.logical_cpus} CPUs usable"
    yield f"          {machine.system} {machine.release}, {machine.architecture}, {bytes_text(machine.memory_bytes)}"
    caches = ", ".join(f"{name} {bytes_text(size)}" for name, size in machine.cache_bytes.items())
    yield f"          caches: {caches or 'not readable'}"
    yield f"          instruction sets: {', '.join(machine.isa) or 'none that matter'}"
    yield f"          hypervisor: {_text(machine.hypervisor)}; governor: {_text(machine.governor)}"
    yield f"          accelerators: {', '.join(machine.accelerators) or 'none found'}"
    yield f"Now       load average {_number(load.load_average)}, CPU pressure {_number(load.psi_cpu_some_avg10, ' %')}"
    yield f"          stolen CPU time {_share(load.steal_fraction)}, available memory {_bytes(load.available_bytes)}"
    yield f"          temperature {_number(load.temperature_c, ' °C')}; thermal state {_text(load.thermal_state)}"
    for runtime in found.runtimes:
        state = f"{_text(runtime.version)}, devices: {', '.join(runtime.devices)}" if runtime.usable else "not usable"
        yield f"Runtime   {runtime.name}: {state}"
        yield from (f"          {line}" for line in ((*runtime.facts,) if runtime.usable else (runtime.reason,)))
    for name, where in found.models.items():
        yield f"Model     {name}: {where}"
    yield from _ceilings(found.ceilings)


def _ceilings(ceilings: Ceilings | Absent) -> Iterator[str]:
    if isinstance(ceilings, Absent):
        yield f"Ceilings  {ceilings.reason}"
        return
    yield f"Ceilings  measured {ceilings.measured_utc} with {ceilings.threads} threads"
    for dtype, rate in ceilings.flops_per_s.items():
        yield f"          matrix product, {dtype}: {_scaled(rate, 1e9, 'GFLOP/s')}"
    for kernel, rate in ceilings.memory_bytes_per_s.items():
        inside = _scaled(ceilings.cache_bytes_per_s.get(kernel, _UNKNOWN), 1e9, "GB/s")
        yield f"          {kernel}: {_scaled(rate, 1e9, 'GB/s')} from memory, {inside} in the last-level cache"
    for runtime, floor in ceilings.dispatch_floor_s.items():
        yield f"          smallest operation of {runtime}: {_scaled(floor, 1e-6, 'µs')}"
    yield f"          clock resolution: {_scaled(ceilings.clock_resolution_s, 1e-9, 'ns')}"
    yield f"          noise (interquartile range / median): {_share(ceilings.noise)}"
    yield from (f"          {_fact(each)}" for each in ceilings.established)
    yield from (f"          not to be trusted: {reason}" for reason in ceilings.contention)


def _fact(each: Established) -> str:
    found = f"not known ({each.found.reason})" if isinstance(each.found, Absent) else each.found
    said = {True: "yes", False: "NO"}.get(found, found) if isinstance(found, bool) else found
    return f"{each.name.replace('_', ' ')}: {said} ({each.evidence})"


def _text(value: Text) -> str:
    return value if isinstance(value, str) else f"unknown ({value.reason})"


def _number(value: Measured, unit: str = "") -> str:
    return f"unknown ({value.reason})" if isinstance(value, Absent) else f"{value:.3g}{unit}"


def _scaled(value: Measured, scale: float, unit: str) -> str:
    return f"unknown ({value.reason})" if isinstance(value, Absent) else f"{value / scale:.4g} {unit}"


def _share(value: Measured) -> str:
    return f"unknown ({value.reason})" if isinstance(value, Absent) else f"{100 * value:.2g} %"


def _bytes(value: Measured) -> str:
    return f"unknown ({value.reason})" if isinstance(value, Absent) else bytes_text(value)
