"""The audit that docs/audit.md shows is what the command prints. ASSAY_UPDATE_DOCS=1 writes it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from click.testing import CliRunner

from assay.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audit.md"
_BLOCK = re.compile(r"(?<=^\$ assay audit examples/timings\.md\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_the_command_prints() -> None:
    done = CliRunner().invoke(main, ["audit", str(ROOT / "examples" / "timings.md")])
    assert done.exit_code == 1
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("ASSAY_UPDATE_DOCS"):
        PAGE.write_text(_BLOCK.sub(lambda _: done.stdout, page, count=1), encoding="utf-8")
        return
    shown = _BLOCK.search(page)
    assert shown is not None
    assert shown[0] == done.stdout, "run with ASSAY_UPDATE_DOCS=1"
