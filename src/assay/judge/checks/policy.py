"""Every threshold of the checks, in one place. It refuses thresholds of unknown names."""

from __future__ import annotations

from assay.core.records import Record


class CheckPolicy(Record):
    """Thresholds; each field says which rule of disbelief it belongs to."""
