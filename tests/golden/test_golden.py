"""Every record of every past format version still loads, keeps all that it held, and round-trips."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assay.core import audit, decisions, figures, gate, imported_log, records
from assay.core.records import Versioned

GOLDEN = Path(__file__).parent
STORED = {
    name.lower(): kind
    for module in (records, figures, audit, decisions, imported_log, gate)
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, Versioned) and kind is not Versioned
}
CASES = [
    (f"{name}-v{version}.json", kind) for name, kind in STORED.items() for version in range(1, kind.FORMAT_VERSION + 1)
]


def holds(whole: Any, part: Any) -> bool:
    """Whether all that `part` says is in `whole`; fields that were added since are in `whole` alone."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and holds(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize(("name", "kind"), CASES, ids=[name for name, _ in CASES])
def test_a_record_of_every_version_loads_and_round_trips(name: str, kind: type[Versioned]) -> None:
    text = (GOLDEN / name).read_text()
    record = kind.from_json(text)
    assert record.format_version == kind.FORMAT_VERSION
    again = kind.from_json(record.to_json())
    assert again == record
    assert again.content_digest == record.content_digest


@pytest.mark.parametrize(("name", "kind"), CASES, ids=[name for name, _ in CASES])
def test_a_record_of_the_present_version_keeps_all_that_it_held(name: str, kind: type[Versioned]) -> None:
    written = json.loads((GOLDEN / name).read_text())
    if written["format_version"] == kind.FORMAT_VERSION:
        assert holds(json.loads(kind.from_json(json.dumps(written)).to_json()), written)


def test_no_golden_file_is_without_a_record() -> None:
    assert {path.name for path in GOLDEN.glob("*.json")} == {name for name, _ in CASES}


@pytest.mark.parametrize("kind", STORED.values(), ids=list(STORED))
def test_a_record_of_a_later_version_is_refused_with_a_remedy(kind: type[Versioned]) -> None:
    later = json.loads((GOLDEN / f"{kind.__name__.lower()}-v1.json").read_text())
    for version in (kind.FORMAT_VERSION + 1, 0, "1"):
        with pytest.raises(ValidationError, match="newer Assay"):
            kind.from_json(json.dumps(later | {"format_version": version}))


def test_an_upgrade_is_asked_for_every_version_but_the_present_one() -> None:
    class Second(Versioned):
        FORMAT_VERSION = 2
        seconds: float

        @classmethod
        def upgrade(cls, fields: dict[str, Any], found: int) -> dict[str, Any]:
            assert found == 1
            return {"seconds": fields["milliseconds"] / 1000}

    assert Second.from_json('{"format_version": 1, "milliseconds": 5}').seconds == 0.005
    assert Second.from_json('{"format_version": 2, "seconds": 5}').seconds == 5

    class Forgotten(Versioned):
        FORMAT_VERSION = 2

    with pytest.raises(ValidationError, match="no upgrade from format version 1"):
        Forgotten.from_json('{"format_version": 1}')
