"""What a timed cell takes and what its device can give: FLOPs, bytes, ceilings. It refuses ceilings that nobody stated.

Costs are lower bounds (the useful half of a causal attention, the head at one position of a prefill), so that
a rate above a ceiling is one whatever the implementation does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.core import cost, hardware
from assay.core.records import Absent, Cell
from assay.core.shapes import EXAMPLE
from assay.judge.checks.base import Subject
from assay.judge.checks.figures import SHAPE_FACTS, Entry, entries, varying
from assay.judge.checks.policy import CheckPolicy

Kind = Literal["forward", "backward", "step", "prefill", "decode"]
_TIMES: dict[str, Kind] = {
    "forward_s": "forward", "backward_s": "backward", "train_step_s": "step", "prefill_s": "prefill",
    "ttft_s": "prefill", "tpot_s": "decode",
}  # fmt: skip
_RATES: dict[str, Kind] = {"prefill_tok_per_s": "prefill", "decode_tok_per_s": "decode"}
_CAUSAL_FORWARDS = {"forward": 1, "backward": 2, "step": 3}


@dataclass(frozen=True)
class Timed:
    """One timed cell."""

    entry: Entry
    metric: str
    kind: Kind
    seconds: float
    """Of one call."""
    longest_s: float
    """Two standard errors above, where the error is known."""

    @property
    def cell(self) -> Cell:
        """The cell of the figure that was printed."""
        return self.entry.cell(self.metric)

    @property
    def flops(self) -> float | None:
        """Of one call, at least; None where shape or length is not known."""
        shape, tokens = self.entry.shape, self.entry.amount("prompt_tokens")
        if shape is None or tokens is None:
            return None
        contract = shape.contract()
        batch = int(self.entry.amount("batch") or 1)
        if self.kind == "decode":
            return float(batch * cost.decode_flops(contract, int(tokens)))
        if self.kind == "prefill":
            return float(cost.prefill_flops(contract, batch, int(tokens), causal_useful=True))
        times = _CAUSAL_FORWARDS[self.kind]
        return float(times * cost.forward_flops(contract, batch, int(tokens), causal_useful=True))

    @property
    def bytes_moved(self) -> float | None:
        """Of one decode step, at least: all weights once, and the cache; None where the weights are not known."""
        weights = weight_bytes(self.entry)
        if self.kind != "decode" or weights is None:
            return None
        shape = self.entry.shape
        tokens = self.entry.amount("prompt_tokens") or 0.0
        if shape is None:
            return weights
        dtype = self.entry.dtype if self.entry.dtype in cost.DTYPE_BYTES else "int8"
        batch = self.entry.amount("batch") or 1.0
        return weights + batch * tokens * cost.kv_bytes_per_token(shape.contract(dtype))


def timed(entry: Entry) -> list[Timed]:
    """The times of an entry, and rates of which the time itself is not there; each positive."""
    found: list[Timed] = []
    for metric, kind in _TIMES.items():
        seconds = entry.value(metric)
        if seconds is not None and seconds > 0 and _own(entry, metric):
            found.append(Timed(entry, metric, kind, seconds, seconds + 2 * (entry.error(metric) or 0.0)))
    have = {each.kind for each in found}
    for metric, kind in _RATES.items():
        rate = entry.value(metric)
        work = (entry.amount("batch") or 1.0) if kind == "decode" else entry.tokens
        if kind in have or rate is None or rate <= 0 or work is None or not _own(entry, metric):
            continue
        slowest = max(rate - 2 * (entry.error(metric) or 0.0), 0.1 * rate)
        found.append(Timed(entry, metric, kind, work / rate, work / slowest))
    return found


def _own(entry: Entry, metric: str) -> bool:
    """Whether the figure is of this entry's workload, not one that all of its row's entries see."""
    figure = entry.figure(metric)
    return figure is not None and figure.metric.partition("@")[2] == entry.workload


def weight_bytes(entry: Entry) -> float | None:
    """Bytes of weights that a step streams: recorded, printed, or parameters x bits / 8; None where not known."""
    recorded = (
        entry.amount("decode_weight_bytes") or entry.value("resident_weight_bytes") or entry.value("weight_bytes")
    )
    if recorded:
        return recorded
    parameters, bits = parameter_count(entry), entry.weight_bits
    return parameters * bits / 8 if parameters and bits else None


def parameter_count(entry: Entry) -> float | None:
    """Parameters, stated or by the shape with its vocabulary; None where not known."""
    stated = entry.amount("parameters")
    shape = entry.shape
    if stated is None and shape is not None and shape.vocab_size:
        return float(shape.parameters)
    return stated


@dataclass(frozen=True)
class Ceiling:
    """A rate that cannot be beaten, and what says so."""

    value: float
    source: str


def peak(entry: Entry, dtype: str = "") -> Ceiling | None:
    """FLOP/s of the row's type: measured on this machine for a study, published for stated hardware; else None."""
    name = dtype or entry.dtype
    roofs = entry.subject.roofs
    if roofs is not None and roofs.kind != "none" and entry.subject.rows:
        found = roofs.flops_per_s.get(name)
        return Ceiling(found, f"{roofs.name}, {roofs.kind}") if isinstance(found, float) else None
    device = entry.device
    published = None if device is None else device.peak_flops(name)
    if device is None or published is None or isinstance(published, Absent):
        return None
    tag = ", recalled" if name in device.recalled else ""
    return Ceiling(published, f"{device.name}, published{tag}")


def any_peak(entry: Entry) -> Ceiling | None:
    """FLOP/s of the fastest type of the stated device: a ceiling where the row's own type is not known or published."""
    device = entry.device
    peaks = [high for name, (_, high) in device.tera_per_s.items() if name not in ("int8", "fp8")] if device else []
    if device is None or not peaks or device.kind != "nvidia":
        return None
    return Ceiling(max(peaks) * hardware.TERA, f"{device.name}, its fastest type")


def bandwidth(entry: Entry) -> Ceiling | None:
    """Bytes/s of memory: measured on this machine for a study, published for stated hardware; else None."""
    roofs = entry.subject.roofs
    if roofs is not None and roofs.kind != "none" and entry.subject.rows:
        found = roofs.bytes_per_s
        return Ceiling(found, f"{roofs.name}, {roofs.kind}") if isinstance(found, float) else None
    device = entry.device
    published = None if device is None else device.bandwidth()
    if device is None or published is None or isinstance(published, Absent):
        return None
    return Ceiling(published, f"{device.name}, published{', recalled' if 'bandwidth' in device.recalled else ''}")


def missing_for_flops(entry: Entry) -> str:
    """Which fact would tell the FLOPs of a row: the words behind `no`; empty where none is missing."""
    if entry.shape is None:
        return f"shape of {entry.name} (--shape {EXAMPLE}, or --model with a name of the table)"
    if entry.amount("prompt_tokens") is None:
        return f"tokens of a call of {entry.name} (--context)"
    return ""


def missing_for_peak(entry: Entry) -> str:
    """Which fact would tell the ceiling of a row: the words behind `no`; empty where none is missing."""
    if entry.subject.rows:
        return f"measured peak of {entry.dtype or 'an unknown type'} (assay doctor --measure)"
    if not entry.text("device"):
        return f"device of {entry.name} (--device)"
    if entry.device is None:
        return f"entry for the device {entry.text('device')!r} in the table of hardware"
    if not entry.dtype:
        return f"type of the products of {entry.name} (dtype)"
    return f"published peak of {entry.dtype} for {entry.device.name}"


def flat_layers(subject: Subject, policy: CheckPolicy) -> list[tuple[str, list[tuple[Timed, Timed]]]]:
    """Pairs of a small and a large model whose layers take the same time, by metric: rule 10."""
    found: list[tuple[str, list[tuple[Timed, Timed]]]] = []
    for group in varying(entries(subject), *SHAPE_FACTS):
        by_metric: dict[str, list[Timed]] = {}
        for entry in group:
            for each in timed(entry):
                by_metric.setdefault(each.metric, []).append(each)
        found += [(metric, flat) for metric, rows in by_metric.items() if (flat := _flat(rows, policy))]
    return found


def _flat(rows: list[Timed], policy: CheckPolicy) -> list[tuple[Timed, Timed]]:
    found = []
    for small in rows:
        for large in rows:
            ours, theirs = large.entry.shape, small.entry.shape
            if ours is None or theirs is None:
                continue
            work = ours.flops_per_token_and_layer / theirs.flops_per_token_and_layer
            time = (large.seconds / ours.layers) / (small.seconds / theirs.layers)
            if work >= policy.overhead_work and abs(time - 1) <= policy.overhead_flat:
                found.append((small, large))
    return found
