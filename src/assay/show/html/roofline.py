"""Where each variant stands under the machine's roofs: FLOPs, bytes and time of one call. It measures nothing.

FLOPs and bytes come from the shapes by `core.cost`, the time from the result. It refuses to place a variant whose speed
is missing or invalid, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.core import cost
from assay.core.records import Absent, Artifact, Ceilings, Estimate, Round, Workload
from assay.show import format as shown
from assay.show.view import CellView, View


@dataclass(frozen=True)
class Roof:
    """The most that the machine did with one type of number."""

    dtype: str
    flops_per_s: float


@dataclass(frozen=True)
class Bandwidth:
    """The most that the machine moved: from memory, or within the last-level cache."""

    name: str
    bytes_per_s: float


@dataclass(frozen=True)
class Point:
    """One variant on one workload."""

    row: str
    workload: str
    dtype: str
    flops_per_byte: float
    flops_per_s: float
    share: float
    """Of the lower of the two roofs above it: the peak of its type, or bandwidth times FLOPs per byte."""
    bound: str


@dataclass(frozen=True)
class Roofline:
    """What is drawn, and what could not be."""

    roofs: tuple[Roof, ...]
    bandwidths: tuple[Bandwidth, ...]
    points: tuple[Point, ...]
    left_out: tuple[str, ...]
    contention: tuple[str, ...]


def roofline_of(view: View, rounds: Sequence[Round], ceilings: Ceilings | None) -> Roofline | Absent:
    """The roofline of a result.

    Args:
        view: the result as it is shown.
        rounds: its runs, which hold the lengths of the workloads.
        ceilings: what the machine can do at best.
    """
    if ceilings is None:
        return Absent(
            reason="this machine's ceilings were not measured; run `assay doctor --measure`, then report again"
        )
    memory = ceilings.memory_bandwidth
    if isinstance(memory, Absent):
        return Absent(reason=memory.reason)
    peaks = {dtype: peak for dtype, peak in ceilings.flops_per_s.items() if isinstance(peak, float)}
    workloads = {run.workload.name: run.workload for measured in rounds for run in measured.runs}
    artifacts = {shown.one_line(row.name): row.artifact for row in view.result.rows}
    points, left_out = [], []
    for row in view.rows:
        for cell in row.cells:
            workload = _workload(view, cell, workloads)
            if workload is None:
                continue
            point = _point(row.name, cell, workload, artifacts[row.name], peaks, memory)
            if isinstance(point, Absent):
                left_out.append(f"{row.name}, {workload.name}: {point.reason}")
            else:
                points.append(point)
    if not points:
        return Absent(reason="; ".join(left_out) or "no prefill or decode was measured")
    used = {point.dtype for point in points}
    cache = max((value for value in ceilings.cache_bytes_per_s.values() if isinstance(value, float)), default=0.0)
    bandwidths = (Bandwidth("memory", memory), *([Bandwidth("last-level cache", cache)] if cache > memory else []))
    return Roofline(
        roofs=tuple(Roof(dtype, peak) for dtype, peak in peaks.items() if dtype in used),
        bandwidths=bandwidths,
        points=tuple(points),
        left_out=tuple(left_out),
        contention=ceilings.contention,
    )


def _workload(view: View, cell: CellView, workloads: dict[str, Workload]) -> Workload | None:
    metric = shown.base_metric(cell.column.key)
    kind = {"prefill_tok_per_s": "prefill", "decode_tok_per_s": "decode"}.get(metric)
    named = shown.workload_of(cell.column.key)
    found = [workload for workload in workloads.values() if workload.kind == kind and named in ("", workload.name)]
    return found[0] if found else None


def _point(
    name: str,
    cell: CellView,
    workload: Workload,
    artifact: Artifact | Absent,
    peaks: dict[str, float],
    memory: float,
) -> Point | Absent:
    if isinstance(artifact, Absent):
        return artifact
    if isinstance(cell.raw, Absent):
        return cell.raw
    if cell.struck:
        return Absent(reason="its speed is invalid")
    dtype = artifact.contract.dtype
    if dtype not in peaks:
        return Absent(reason=f"the peak of {dtype} was not measured")
    tokens_per_s = cell.raw.value if isinstance(cell.raw, Estimate) else cell.raw
    work = cost.work(artifact, workload)
    intensity = work.flops / work.bytes_moved
    achieved = work.flops * tokens_per_s / work.tokens
    roof = min(peaks[dtype], memory * intensity)
    bound = cost.predicted_seconds(work.flops, work.bytes_moved, peaks[dtype], memory).bound
    return Point(name, workload.name, dtype, intensity, achieved, achieved / roof, bound)
