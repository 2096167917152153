"""Reads logs of macOS's powermetrics as text: power of CPU, GPU and Neural Engine. It refuses its plist form."""

from __future__ import annotations

import re

from assay.core.figures import FigureTable
from assay.judge.imports.builder import Builder, text
from assay.judge.imports.document import Document

NAME = "powermetrics"
_SAMPLE = re.compile(
    r"^\*\*\* Sampled system activity .{0,80}?\((\d{1,9}(?:\.\d{1,6})?)ms elapsed\) \*\*\*", re.MULTILINE
)
_POWER = re.compile(r"^(CPU|GPU|ANE|DRAM|Package|Combined)\s+Power[^:\n]{0,40}:\s*(\d{1,9}(?:\.\d{1,6})?)\s*(mW|W)\s*$")
_RESIDENCY = re.compile(r"^GPU (?:HW )?active residency:\s*(\d{1,3}(?:\.\d{1,4})?)%")
_MACHINE = re.compile(r"^Machine model:\s*(\S{1,60})")


def recognises(document: Document) -> bool:
    """True for the head of a sample, or a line of power in mW."""
    return bool(_SAMPLE.search(document.head)) or any(_POWER.match(line) for line in document.head.splitlines())


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each unit: mean power over the samples, computed here, with spread and extremes."""
    powers: dict[str, list[float]] = {}
    busy: list[float] = []
    machine: str | None = None
    for line in document.lines():
        power, residency, model = _POWER.match(line), _RESIDENCY.match(line), _MACHINE.match(line)
        if power:
            powers.setdefault(power[1], []).append(float(power[2]) * (1e-3 if power[3] == "mW" else 1.0))
        elif residency:
            busy.append(float(residency[1]) / 100)
        elif model:
            machine = text({"model": model[1]}, "model")
    elapsed = [float(found) / 1e3 for found in _SAMPLE.findall(document.text)]
    builder = Builder(document.stem, document.name)
    for unit, values in powers.items():
        if not any(values):
            builder.unread(f"{unit} power: 0 in every sample; the unit was idle, or the model does not cover it")
            continue
        row = builder.row(f"{unit} power", {"machine": machine, "compute_units": unit, "window_s": sum(elapsed) or None,
                                            "energy_kind": "vendor_model"})  # fmt: skip
        if row is None:
            break
        builder.sampled(row, "power_w", values, where=f"lines {unit} Power")
        if unit == "GPU" and busy:
            builder.sampled(row, "utilisation", busy, where="lines GPU active residency")
    builder.recognised("power of each unit: mean of the samples (computed here); a model of the vendor, not a meter")
    return builder.build()
