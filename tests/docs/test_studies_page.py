"""docs/studies.md holds every key of a study: its tables are made from the JSON schema, and must not lag behind it.

`ASSAY_UPDATE_DOCS=1 pytest tests/docs/test_studies_page.py` writes them anew.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from assay import catalog
from assay.core.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
BLOCK = re.compile(r"<!-- keys (?P<name>[a-z_0-9 ]+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)
LIMITS = {"exclusiveMinimum": "> {}", "minimum": "≥ {}", "exclusiveMaximum": "< {}", "maximum": "≤ {}"}

RECORDS = {
    "study": "Study",
    "variants": "StudyVariant",
    "transforms": "TransformSpec",
    "decoding": "Decoding",
    "workloads": "Workload",
    "gate": "Gate",
    "quality": "QualityPlan",
    "measure": "MeasurePolicy",
}


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"] if option.get("type") != "null")
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "table"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}s"
    if field["type"] == "object":
        return "table"
    limits = ", ".join(form.format(field[key]) for key, form in LIMITS.items() if key in field)
    return " ".join(filter(None, (field["type"], limits)))


def _default(name: str, field: Mapping[str, Any], required: list[str]) -> str:
    if name in required:
        return "required"
    default = field.get("default")
    if default is None:
        return "not asked" if "anyOf" in field else "none"
    if isinstance(default, dict):
        return "see below" if default else "none"
    if isinstance(default, list):
        if any(isinstance(item, dict) for item in default):
            return "load, prefill 512, decode 128+64"
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`" if default else "none"
    if isinstance(default, str):
        return f'`"{default}"`' if default else "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _of_record(field: Mapping[str, Any], records: Mapping[str, Any]) -> str:
    """What the record itself says: pydantic leaves a field's description out where it is the same."""
    return str(records.get(field.get("$ref", "").rpartition("/")[2], {}).get("description", ""))


def _table(schema: Mapping[str, Any], records: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        meaning = " ".join((field.get("description") or meanings.get(name) or _of_record(field, records)).split())
        assert meaning, f"{schema.get('title')}.{name} has no description"
        default = _default(name, field, schema.get("required", []))
        rows.append(f"| `{name}` | {_type(field)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _attribute_docstrings(options: type) -> dict[str, str]:
    """Text under each field, as `use_attribute_docstrings` would take it."""
    body = ast.parse(inspect.getsource(options)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = str(text.value.value)
    return found


def _tables() -> Iterator[tuple[str, str]]:
    schema = Study.model_json_schema()
    for name, record in RECORDS.items():
        yield name, _table(schema if record == "Study" else schema["$defs"][record], schema["$defs"], {})
    for kind, module in catalog.TRANSFORMS.items():
        options = importlib.import_module(module).Options
        yield f"transform {kind}", _table(options.model_json_schema(), {}, _attribute_docstrings(options))


def test_every_table_of_keys_is_up_to_date() -> None:
    pytest.importorskip("torch")
    tables = dict(_tables())
    page = PAGE.read_text(encoding="utf-8")
    there = {block["name"]: block["table"] for block in BLOCK.finditer(page)}
    assert set(there) == set(tables), "docs/studies.md has a marked block for every table"
    if os.environ.get("ASSAY_UPDATE_DOCS") == "1":
        page = BLOCK.sub(lambda block: f"<!-- keys {block['name']} -->\n{tables[block['name']]}<!-- end -->", page)
        PAGE.write_text(page, encoding="utf-8")
        there = tables
    for name, table in tables.items():
        assert there[name] == table, f"the table {name!r} is out of date: ASSAY_UPDATE_DOCS=1 writes it anew"


def test_every_record_of_the_schema_has_its_table() -> None:
    assert set(Study.model_json_schema()["$defs"]) == set(RECORDS.values()) - {"Study"}
