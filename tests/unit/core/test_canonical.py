"""Canonical JSON: one text for one content, against the standard library and SHA-256 of known bytes."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.canonical import canonical_json, digest, file_digest

CONTENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(content: Any) -> Any:
    """The same content with the keys of every mapping in the opposite order."""
    if isinstance(content, dict):
        return {key: shuffled(content[key]) for key in reversed(content)}
    return [shuffled(item) for item in content] if isinstance(content, list) else content


@given(CONTENT)
def test_the_order_of_keys_does_not_matter_and_nothing_is_lost(content: Any) -> None:
    text = canonical_json(content)
    assert canonical_json(shuffled(content)) == text
    assert canonical_json(json.loads(text)) == text


def test_the_text_is_fixed() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é\n", "c": {}}) == '{"a":"é\\n","b":[1,2.5,null],"c":{}}'
    assert canonical_json((1, True)) == "[1,true]"


def test_the_digest_is_sha256_of_the_text() -> None:
    assert digest({}) == hashlib.sha256(b"{}").hexdigest()
    assert digest("é") == hashlib.sha256('"é"'.encode()).hexdigest()
    assert digest(1) != digest(1.0) != digest("1")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": [value]})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), Path("x")])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": value})


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_is_digested_whole(tmp_path: Path, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
