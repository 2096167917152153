"""Reads logs of nvidia-smi: `--query-gpu=... --format=csv` and `dmon`. It refuses other output of it.

Rows are the GPUs; a figure is the mean over the log, computed here, with spread and extremes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from assay.core.figures import FigureTable
from assay.judge.imports.builder import Builder
from assay.judge.imports.document import Document

NAME = "nvidia-smi"
_COLUMNS = {
    "power.draw": ("power_w", 1.0), "power.draw.average": ("power_w", 1.0), "power.draw.instant": ("power_w", 1.0),
    "utilization.gpu": ("utilisation", 0.01), "memory.used": ("device_peak_bytes", 2.0**20),
    "pwr": ("power_w", 1.0), "sm": ("utilisation", 0.01), "fb": ("device_peak_bytes", 2.0**20),
}  # fmt: skip
_NUMBER = re.compile(r"\s*(-?\d{1,9}(?:\.\d{1,6})?)\s*(?:W|%|MiB|MHz|C)?\s*")
_LIMIT = "power.limit"


def recognises(document: Document) -> bool:
    """True for a header of queried fields, or dmon's."""
    return bool(re.search(r"\b(power\.draw|utilization\.gpu)\b", document.head.partition("\n")[0])) or bool(
        re.match(r"#\s*gpu\s+.*\b(pwr|sm)\b", document.text)
    )


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each GPU of the log."""
    return _dmon(document) if document.text.startswith("#") else _queried(document)


def _queried(document: Document) -> tuple[FigureTable, ...]:
    rows = _rows(document, csv.reader(io.StringIO(document.text)))
    header = [re.sub(r"\s*\[.*", "", cell.strip()) for cell in next(rows)]
    values: dict[str, dict[str, list[float]]] = {}
    limits: dict[str, float] = {}
    skipped = 0
    for row in rows:
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        index = next((cells[key] for key in ("index", "gpu_uuid", "uuid", "pci.bus_id") if key in cells), "")
        name = f"{cells.get('name', 'GPU')[:80]}{f', {index[:40]}' if index else ''}"
        found = False
        for field, text in cells.items():
            number = _NUMBER.fullmatch(text[:40])
            if number and field in _COLUMNS:
                values.setdefault(name, {}).setdefault(field, []).append(float(number[1]))
                found = True
            elif number and field == _LIMIT:
                limits[name] = float(number[1])
        skipped += not found
    return _built(document, values, limits, skipped)


def _rows(document: Document, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise document.corrupt(str(error)) from None


def _dmon(document: Document) -> tuple[FigureTable, ...]:
    header: list[str] = []
    values: dict[str, dict[str, list[float]]] = {}
    skipped = 0
    for line in document.lines():
        words = line.replace("#", " ").split()
        if line.startswith("#"):
            header = words if "gpu" in words else header
            continue
        if len(words) != len(header):
            skipped += bool(words)
            continue
        cells = dict(zip(header, words, strict=True))
        for field, text in cells.items():
            number = _NUMBER.fullmatch(text[:40])
            if field in _COLUMNS and number:
                values.setdefault(f"GPU {cells['gpu'][:40]}", {}).setdefault(field, []).append(float(number[1]))
    return _built(document, values, {}, skipped)


def _built(
    document: Document, values: dict[str, dict[str, list[float]]], limits: dict[str, float], skipped: int
) -> tuple[FigureTable, ...]:
    builder = Builder(document.stem, document.name)
    for name, fields in values.items():
        device = name.partition(",")[0]
        row = builder.row(name, {"device": device if device != "GPU" and not device.startswith("GPU ") else None,
                                 "power_limit_w": limits.get(name)})  # fmt: skip
        if row is None:
            break
        for field, samples in fields.items():
            metric, factor = _COLUMNS[field]
            if metric == "device_peak_bytes":
                builder.figure(row, metric, max(samples), factor=factor, samples=len(samples), where=f"column {field}")
                builder.recognised(f"{field}: peak device memory, the largest of the log")
            elif metric not in {
                _COLUMNS[other][0] for other in fields if list(fields).index(other) < list(fields).index(field)
            }:
                builder.sampled(row, metric, samples, factor=factor, where=f"column {field}")
                builder.recognised(f"{field}: {metric}, mean of the log (computed here)")
    if skipped:
        builder.unread(f"{skipped} lines without a number")
    return builder.build()
