"""Rule 32: a type or a unit that the stated hardware does not have."""

from __future__ import annotations

import re

from assay.core.records import Absent, Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "hardware_contradiction"
RULE = "32"
_TYPES = {"tf32": "tf32", "fp8": "fp8"}
"""Types that exist on tensor cores alone; bf16 and fp16 are emulated below their capability: slow, not wrong."""
_TENSOR = re.compile(r"tensor[ -]?cores?", re.IGNORECASE)


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold types, and printed FLOP/s, against the compute capability and the dense peaks of the stated device."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in row_entries(subject):
        device = entry.device
        if device is None:
            if entry.dtype in _TYPES or entry.figure("achieved_flops_per_s") is not None:
                unseen[f"no device of {entry.name} that the table of hardware has (--device)"] = None
            continue
        said = _impossible(entry)
        if said:
            findings.append(_finding(entry, _cells(entry), said))
        achieved, dense = entry.value("achieved_flops_per_s"), device.peak_flops(entry.dtype)
        if achieved is not None and not isinstance(dense, Absent) and achieved > policy.above_peak * dense:
            doubled = f"; {2 * dense / 1e12:.4g} is the figure with sparsity" if achieved <= 2.1 * dense else ""
            findings.append(
                _finding(
                    entry,
                    entry.cells("achieved_flops_per_s"),
                    f"{achieved / 1e12:.4g} TFLOP/s are more than the dense {dense / 1e12:.4g} of {entry.dtype} on "
                    f"{device.name}{doubled}",
                )
            )
    return Answer(tuple(findings), tuple(unseen))


def _impossible(entry: Entry) -> str:
    device = entry.device
    if device is None or device.compute_capability is None:
        return ""
    if entry.dtype in _TYPES and device.supports(entry.dtype) is False:
        return f"{entry.dtype} on {device.name}, whose compute capability is {device.compute_capability:g}"
    if (
        entry.dtype == "bfloat16"
        and device.supports("bfloat16") is False
        and _TENSOR.search(entry.text("compute_units"))
    ):
        return f"bf16 tensor cores on {device.name}, whose compute capability is {device.compute_capability:g}"
    if _TENSOR.search(entry.text("compute_units")) and not device.tensor_cores:
        return f"tensor cores on {device.name}, whose compute capability is {device.compute_capability:g}"
    return ""


def _cells(entry: Entry) -> tuple[Cell, ...]:
    return tuple(
        Cell(row=figure.row, metric=figure.metric, table=entry.label)
        for figure in entry.table.figures
        if figure.row == entry.row.name
    )


def _finding(entry: Entry, cells: tuple[Cell, ...], said: str) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=cells,
        numbers={"compute_capability": entry.device.compute_capability or "unknown"} if entry.device else {},
        summary=f"{entry.name} claims {said}",
        cause="the device or the type is not the one that is named, or a peak with sparsity was taken for a dense one",
        remedy="Read the device's name and the type of a product from the program that ran",
    )
