"""An audit of where operations run, as text or JSON. It computes no number."""

from __future__ import annotations

from collections.abc import Mapping

from assay.core.placements import PlacementAudit
from assay.show.listing import render_entries


def render_placements(found: PlacementAudit, as_json: bool = False) -> str:
    """The audit: counts by device, and every change."""
    if as_json:
        return found.model_dump_json(indent=2)
    lines = [
        f"{found.counted} operations count; {found.left_out} constants or of unknown place do not",
        f"saved: {_devices(found.devices_before)}",
        f"now:   {_devices(found.devices_now)}",
    ]
    if found.changes:
        lines += ["", render_entries([change.model_dump() for change in found.changes]), ""]
    return "\n".join([*lines, f"{len(found.fallbacks) or 'no'} new fallback{'s' if len(found.fallbacks) > 1 else ''}"])


def _devices(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{device} {count}" for device, count in sorted(counts.items())) or "none"
