"""How much of the machine a run used: MFU, MBU and predicted time beside the measured one. It measures nothing.

It refuses to hold a time against ceilings of another device or another number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.core import cost
from assay.core.errors import InputError
from assay.core.records import Absent, Decoding, Estimate, Measured, Roofs, Workload
from assay.pipeline.prediction import floor_of, predict

TIMES = {
    "prefill": "prefill_s",
    "decode": "tpot_s",
    "generate": "end_to_end_s",
    "encode": "encode_s",
    "train_step": "train_step_s",
}
"""The sampled time of a call of each kind of workload."""
_FIGURES = ("predicted_s", "mfu", "mbu")


def utilisation(
    artifact: cost.Sized,
    decoding: Decoding,
    runtime: str,
    workloads: Sequence[Workload],
    measured: Mapping[str, Measured | Estimate],
    roofs: Roofs,
    dispatches: Measured,
) -> dict[str, Measured | Estimate]:
    """`predicted_s`, `mfu` and `mbu` of every workload whose time was measured, by `metric@workload`.

    Args:
        artifact: the weights.
        decoding: how the row is run.
        runtime: whose dispatch floor counts.
        workloads: of the study.
        measured: the row's metrics.
        roofs: of the machine; without any each figure is missing once, with the reason.
        dispatches: operations of one pass.
    """
    if isinstance(roofs.bytes_per_s, Absent):
        return dict.fromkeys(_FIGURES, roofs.bytes_per_s)
    found: dict[str, Measured | Estimate] = {}
    for workload in workloads:
        metric = TIMES.get(workload.kind, "")
        seconds = measured.get(f"{metric}@{workload.name}", measured.get(metric))
        if seconds is None or isinstance(seconds, Absent):
            continue
        found |= _figures(artifact, decoding, runtime, workload, seconds, roofs, roofs.bytes_per_s, dispatches)
    return found


def _figures(
    artifact: cost.Sized,
    decoding: Decoding,
    runtime: str,
    workload: Workload,
    seconds: float | Estimate,
    roofs: Roofs,
    bandwidth: float,
    dispatches: Measured,
) -> dict[str, Measured | Estimate]:
    names = [f"{figure}@{workload.name}" for figure in _FIGURES]
    try:
        work = cost.work(artifact, workload, decoding)
    except InputError as error:
        return dict.fromkeys(names, Absent(reason=error.found))
    dtype = artifact.contract.dtype
    launches = dispatches if isinstance(dispatches, Absent) else dispatches * work.passes
    predicted = predict(work, dtype, launches, floor_of(roofs, runtime), roofs)["seconds"]
    peak = roofs.flops_per_s.get(dtype, Absent(reason=f"no peak of {dtype} is known for {roofs.name}"))
    used = peak if isinstance(peak, Absent) else _share(work.flops, seconds, peak, roofs.source)
    return dict(zip(names, (predicted, used, _share(work.bytes_moved, seconds, bandwidth, roofs.source)), strict=True))


def _share(amount: float, seconds: float | Estimate, ceiling: float, source: str) -> float | Estimate:
    """Of a ceiling that was reached: amount / (t x ceiling)."""
    if not isinstance(seconds, Estimate):
        return amount / (seconds * ceiling)
    return Estimate(
        value=amount / (seconds.value * ceiling),
        low=amount / (seconds.high * ceiling),
        high=amount / (seconds.low * ceiling),
        level=seconds.level,
        method=f"{seconds.method}; against {ceiling:.4g}/s, {source}",
    )
