"""Plain lists for the terminal and for machines. It shows texts as they are, cut nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Entry = Mapping[str, str]


def render_entries(entries: Sequence[Entry], as_json: bool = False) -> str:
    """Entries as aligned columns (the last one unpadded), or as JSON."""
    if as_json:
        return json.dumps([dict(entry) for entry in entries], indent=2, ensure_ascii=False)
    if not entries:
        return "(none)"
    columns = list(entries[0])
    widths = [max(len(column), *(len(entry[column]) for entry in entries)) for column in columns]
    lines = [columns, *([entry[column] for column in columns] for entry in entries)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
