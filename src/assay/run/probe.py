"""Whether a runtime is usable on this machine, as one record; it refuses nothing."""

from __future__ import annotations

from pydantic import Field

from assay.core.records import FrozenMap, Record, Scalar, Text


class Probe(Record):
    """What a runtime found out about itself without loading a model."""

    usable: bool
    version: Text
    devices: tuple[str, ...]
    """Devices that a target may name."""
    facts: FrozenMap[Scalar] = Field(default_factory=dict)
    reason: str = ""
    """Why it is not usable."""
