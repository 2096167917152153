"""Where operations of a model run, and what changed since a plan was saved. It refuses operations without a kind."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.core.records import FrozenMap, Record

_CONSTANTS = ("const", "constant", "constexpr")
_UNKNOWN = ("", "unknown", "none")
_CPU = ("cpu", "mlcpucomputedevice", "cpuexecutionprovider")


class PlacedOperation(Record):
    """One operation and its device, in lower case as the engine names it; empty where the engine does not know."""

    name: str
    kind: str
    device: str

    @property
    def counts(self) -> bool:
        """Whether it can be a fallback at all: neither a constant nor unknown."""
        kind = self.kind.rpartition(".")[2].lower()
        return not kind.startswith(_CONSTANTS) and self.device not in _UNKNOWN

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU."""
        return self.device in _CPU


class PlacementChange(Record):
    """What differs between two plans in one operation, or in one kind of operation."""

    outcome: Literal["new fallback", "moved", "better"]
    operation: str
    kind: str
    before: str
    now: str


class PlacementAudit(Record):
    """A plan held against a saved one."""

    counted: int = Field(ge=0)
    """Operations of the plan now that count."""
    left_out: int = Field(ge=0)
    """Constants, and operations of unknown place."""
    devices_before: FrozenMap[int]
    devices_now: FrozenMap[int]
    changes: tuple[PlacementChange, ...]

    @property
    def fallbacks(self) -> tuple[PlacementChange, ...]:
        """What fails the audit."""
        return tuple(change for change in self.changes if change.outcome == "new fallback")
