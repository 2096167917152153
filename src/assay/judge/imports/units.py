"""Units as people write them, and what one of each is in the unit of `core.metrics`. It refuses unknown units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Unit:
    """A unit of the records, and how many of it one of the written unit is."""

    base: str
    """`s`, `B`, `J`, `W`, `tok/s`, `1/s`, `FLOP/s`, `1`, `bit`, `nats`, `dB`, `s/tok`, `J/tok`, `count`."""
    factor: float


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {}

    def add(base: str, factor: float, *names: str) -> None:
        table.update({name: Unit(base, factor) for name in names})

    add("s", 1, "s", "sec", "secs", "second", "seconds")
    add("s", 1e-3, "ms", "msec", "millisecond", "milliseconds", "millis")
    add("s", 1e-6, "us", "µs", "μs", "usec", "microsecond", "microseconds", "micros")
    add("s", 1e-9, "ns", "nsec", "nanosecond", "nanoseconds")
    add("s", 60, "min", "mins", "minute", "minutes")
    add("s", 3600, "h", "hr", "hour", "hours")
    for letter, power in (("", 0), ("k", 1), ("m", 2), ("g", 3), ("t", 4)):
        add("B", 1000**power, f"{letter}b")
        add("J", 1000**power, f"{letter}j") if letter not in ("m", "t") else None
        if letter:
            add("B", 1024**power, f"{letter}ib")
        add("FLOP/s", 1000**power, f"{letter}flop/s", f"{letter}flops/s", f"{letter}flop/sec", f"{letter}flops/sec")
    add("FLOP/s", 1e12, "tflops")
    add("FLOP/s", 1e15, "pflops", "pflop/s")
    add("B", 1, "byte", "bytes")
    add("J", 1, "joule", "joules")
    add("J", 1e-3, "mj", "millijoule", "millijoules")
    add("J", 3600, "wh")
    add("J", 3.6, "mwh")
    add("J", 3.6e6, "kwh")
    add("W", 1, "w", "watt", "watts")
    add("W", 1e-3, "mw", "milliwatt", "milliwatts")
    add("W", 1e3, "kw")
    tokens = ("tok", "toks", "token", "tokens", "t")
    for token in tokens:
        add("tok/s", 1, *(f"{token}{per}" for per in ("/s", "/sec", "/second", " per second", " per sec", "s/s")))
        add("s/tok", 1e-3, f"ms/{token}", f"ms per {token}") if token != "t" else None
        add("s/tok", 1, f"s/{token}", f"sec/{token}", f"seconds/{token}") if token != "t" else None
        add("s/tok", 1e-6, f"us/{token}", f"µs/{token}") if token != "t" else None
        add("J/tok", 1, f"j/{token}") if token != "t" else None
        add("J/tok", 1e-3, f"mj/{token}") if token != "t" else None
    add("tok/s", 1, "tps", "tokens per s")
    add("tok/s", 1e3, "ktok/s", "ktokens/s", "k tok/s", "k tokens/s")
    for item in ("sample", "samples", "seq", "seqs", "sequences", "req", "reqs", "requests", "request", "it", "iter",
                 "iters", "iterations", "images", "img", "items", "inferences", "inf", "batches", "steps", "queries",
                 "calls"):  # fmt: skip
        add("1/s", 1, f"{item}/s", f"{item}/sec", f"{item}/second", f"{item} per second")
    add("1/s", 1, "qps", "rps", "fps", "hz", "1/s")
    add("1", 0.01, "%", "percent", "pct")
    add("bit", 1, "bit", "bits", "bpw")
    add("nats", 1, "nats", "nat")
    add("dB", 1, "db")
    add("count", 1e3, "k", "thousand")
    add("count", 1e6, "m", "mio", "million")
    add("count", 1e9, "bn", "billion")
    return table


_UNITS = MappingProxyType(_table())
_CASED = MappingProxyType(
    {"MB": Unit("B", 1e6), "Mb": Unit("B", 1e6), "B": Unit("B", 1), "GB": Unit("B", 1e9), "M": Unit("count", 1e6),
     "MWh": Unit("J", 3.6e9), "mWh": Unit("J", 3.6), "MJ": Unit("J", 1e6), "mJ": Unit("J", 1e-3), "MW": Unit("W", 1e6),
     "mW": Unit("W", 1e-3), "G": Unit("B", 2**30), "GFLOPS": Unit("FLOP/s", 1e9), "MFLOPS": Unit("FLOP/s", 1e6)}
)  # fmt: skip
"""Where the case tells units apart."""


def unit_of(text: str) -> Unit | None:
    """The unit that a text is, or None where it is none."""
    written = re.sub(r"\s+", " ", text.strip().strip("()[]").strip().rstrip("."))
    if written in _CASED:
        return _CASED[written]
    return _UNITS.get(written.casefold().replace(" / ", "/").replace("/ ", "/").replace(" /", "/"))


def from_base(metric_unit: str, unit: Unit) -> float | None:
    """The factor that brings a number in `unit` to a metric's unit; None where they measure different things."""
    if unit.base == metric_unit or (metric_unit, unit.base) in _ALSO:
        return unit.factor
    return None


_ALSO = frozenset({("s", "s/tok"), ("J", "J/tok"), ("tok/s", "1/s")})
"""A time per token is recorded in seconds; a rate of steps of one token in tokens."""
