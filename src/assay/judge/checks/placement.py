"""Rule 21: something else ran than was asked for, or next to nothing did."""

from __future__ import annotations

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, canonical_dtype, entries, row_entries
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import bandwidth, peak, timed

NAME = "placement"
RULE = "21"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare what was asked with what is recorded, and look for a device that had next to nothing to do."""
    findings: list[Finding] = []
    for entry in row_entries(subject):
        findings += _asked(entry)
    for entry in entries(subject):
        findings += [*_idle(entry, policy), *_slow(entry, policy)]
    asked = any(entry.fact(f"requested_{n}") is not None for entry in row_entries(subject) for n in ("device", "dtype"))
    return Answer(
        tuple(findings),
        () if asked or not subject.tables or subject.rows else ("no device and dtype that were asked for",),
    )


def _cells(entry: Entry) -> tuple[Cell, ...]:
    found = {
        figure.metric: None for figure in entry.table.figures if figure.row == entry.row.name
    }  # every figure of the row is of the other thing
    return tuple(Cell(row=entry.row.name, metric=metric, table=entry.label) for metric in found)


def _asked(entry: Entry) -> list[Finding]:
    said = []
    device, wanted = entry.text("device").casefold(), entry.text("requested_device").casefold()
    if device and wanted and wanted.partition(":")[0] not in device and device.partition(":")[0] not in wanted:
        said.append(f"device {entry.text('requested_device')} was asked for, {entry.text('device')} ran")
    ran, asked = entry.dtype, canonical_dtype(entry.text("requested_dtype"))
    if ran and asked and ran != asked:
        said.append(f"{asked} was asked for, {ran} ran")
    product = entry.text("matmul_precision")
    if ran == "float32" and product and product != "float32":
        said.append(f"float32 is named, a product of its process has the precision of {product}")
    cells = _cells(entry)
    if not said or not cells:
        return []
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=cells,
            summary=f"{entry.name}: {'; '.join(said)}",
            cause="the runtime fell back or a switch changed it, and the row is named after what was asked",
            remedy="Name the row after what ran, or make the runtime refuse to fall back",
        )
    ]


def _idle(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    used = entry.value("utilisation")
    if used is None or used >= policy.least_utilisation:
        return []
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=entry.cells("utilisation"),
            numbers={"utilisation": used},
            summary=f"{entry.name} used {used:.1%} of the device",
            cause="cause unknown; the work ran elsewhere, or the device waited for something else",
            remedy="Look where the operations ran, and profile one call",
        )
    ]


def _slow(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    ceiling, width = peak(entry), bandwidth(entry)
    if ceiling is None or width is None:
        return []
    found = []
    for each in timed(entry):
        flops = each.flops
        moved = each.bytes_moved if each.kind == "decode" else None
        if flops is None or (each.kind == "decode" and moved is None):
            continue
        mfu = flops / each.seconds / ceiling.value
        mbu = 0.0 if moved is None else moved / each.seconds / width.value
        if mfu < policy.least_mfu and mbu < policy.least_mbu:
            found.append(
                Finding(
                    check=NAME,
                    severity="WARN",
                    cells=(each.cell,),
                    numbers={"mfu": mfu, "mbu": mbu},
                    summary=f"{entry.name} reaches {mfu:.2%} of the peak of {ceiling.source}"
                    + (f" and {mbu:.2%} of its bandwidth" if moved is not None else "")
                    + f" ({each.metric})",
                    cause="cause unknown; a fallback to another device, a unit slip or a fixed overhead do this",
                    remedy="Look where the operations ran, and profile one call",
                )
            )
    return found
