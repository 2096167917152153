"""Reads dumps of MLComputePlan: which operation goes to which unit. It refuses to count constants and unknown ones.

Three forms: lines that name the device class of an operation, CoreMLInspect's `0.68% G|C  name = op(...)`, and JSON
with a preferred device for each operation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from assay.core.figures import FigureTable
from assay.judge.imports.builder import Builder, text
from assay.judge.imports.document import Document

NAME = "compute-plan"
_CLASS = re.compile(r"ML(CPU|GPU|NeuralEngine)ComputeDevice")
_PREFERRED = re.compile(r"preferred\w*\W{0,6}[^,;]{0,40}?ML(CPU|GPU|NeuralEngine)ComputeDevice", re.IGNORECASE)
_INSPECT = re.compile(r"^\s*[\d.]{1,12}%\s+([CGN])\|[CGN]{0,3}\s+\S+ = \S+\(")
_CONSTANT = re.compile(r"(?:\b|\.)const\b(?!\w)|\bconst\(", re.IGNORECASE)
_DEPTH = 6
_GLANCE = 2_000
_LIMIT = 200_000
"""Values of a document that are looked at: to know it, and to read it."""
_UNITS = {"CPU": "cpu", "GPU": "gpu", "NeuralEngine": "ane", "C": "cpu", "G": "gpu", "N": "ane"}
_KEYS = ("preferred", "preferred_device", "preferredDevice", "preferred_compute_device", "preferredComputeDevice",
         "compute_unit", "computeUnit", "device")  # fmt: skip
_OPERATION = ("operator", "operator_name", "operatorName", "op", "op_type", "type", "operation", "name")


def recognises(document: Document) -> bool:
    """True where operations and their devices are named."""
    if document.is_json:
        return next(_json_operations(document.json, _GLANCE), None) is not None
    return any(_CLASS.search(line) or _INSPECT.match(line) for line in document.lines()[:400])


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row: operations on each unit."""
    operations = _json_operations(document.json, _LIMIT) if document.is_json else _line_operations(document)
    counts = Counter(operations)
    builder = Builder(document.stem, document.name)
    row = builder.row(document.stem, {})
    if row is None:
        return ()
    for unit in ("ane", "gpu", "cpu"):
        builder.figure(row, f"operations_{unit}", float(counts[unit]), where="the whole plan")
    builder.recognised("operations by preferred unit; constants are not operations")
    for kind, words in (("constant", "constants"), ("unknown", "operations whose unit is unknown")):
        if counts[kind]:
            builder.unread(f"{counts[kind]} {words}, which do not count")
    return builder.build()


def _line_operations(document: Document) -> Iterator[str]:
    for line in document.lines():
        inspected = _INSPECT.match(line)
        found = _PREFERRED.search(line) or _CLASS.search(line)
        if inspected:
            yield _UNITS[inspected[1]]
        elif _CONSTANT.search(line):
            yield "constant"
        elif found:
            yield _UNITS[found[1]]
        elif re.search(r"\boperation\b.*\b(nil|null|none|unknown)\b", line[:400], re.IGNORECASE):
            yield "unknown"


def _json_operations(content: Any, limit: int) -> Iterator[str]:
    """The units of operations, found in at most so many values of the document."""
    waiting = [(content, 0)]
    while waiting and limit > 0:
        value, depth = waiting.pop()
        limit -= 1
        inner: Any = ()
        if isinstance(value, list):
            inner = value[:limit]
        elif isinstance(value, Mapping):
            unit = next((found for key in _KEYS if (found := text(value, key))), None)
            operation = next((found for key in _OPERATION if (found := text(value, key))), None)
            named = _unit(unit) if unit else None
            placed = any(key in value for key in _KEYS) and (named or unit is None or unit == "unknown")
            if operation is not None and placed:
                yield "constant" if _CONSTANT.search(operation) else named or "unknown"
                continue
            inner = value.values()
        if depth < _DEPTH:
            waiting += [(each, depth + 1) for each in inner if isinstance(each, list | Mapping)]


def _unit(name: str) -> str | None:
    found = _CLASS.search(name)
    if found:
        return _UNITS[found[1]]
    word = name.strip().casefold().replace(" ", "").replace("_", "")
    return {"cpu": "cpu", "gpu": "gpu", "ane": "ane", "ne": "ane", "neuralengine": "ane", "npu": "ane"}.get(word)
