"""The carried text is long and varied enough, and a user's file is read whole or refused with the reason."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.run.texts import load_text


def test_prose_is_plain_varied_prose() -> None:
    prose = load_text("prose")
    words = re.findall(r"[\w'’]+", prose.text.lower())
    assert len(words) >= 6500
    paragraphs = prose.text.strip().split("\n\n")
    assert all("\n" not in paragraph for paragraph in paragraphs)
    assert len(set(paragraphs)) == len(paragraphs)
    # Ordinary English: a rich vocabulary, and hardly a run of eight words that comes twice.
    assert len(set(words)) / len(words) > 0.2
    runs = Counter(tuple(words[i : i + 8]) for i in range(len(words) - 8))
    assert sum(count - 1 for count in runs.values()) < 10
    assert prose.digest == hashlib.sha256(prose.text.encode()).hexdigest()
    assert prose.digest[:12] in prose.description


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the package gguf is not installed")
def test_prose_has_room_for_quality_and_prompts(smollm2_path: Path) -> None:
    """At least 8,192 + 512 tokens of SmolLM2's tokenizer, counted by transformers."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(smollm2_path.parent), gguf_file=smollm2_path.name)
    assert len(tokenizer(load_text("prose").text).input_ids) >= 8192 + 512


def test_a_file_is_read_byte_for_byte(tmp_path: Path) -> None:
    content = "Zwölf Boxkämpfer\r\njagen\n\n🙂 Eva".encode()
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    text = load_text(str(path))
    assert text.text.encode() == content
    assert text.digest == hashlib.sha256(content).hexdigest()
    assert text.title == "text.txt"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no text"),
        (b" \n\t\n", "no text"),
        (b"abc\xff\xfe", "byte 3 is not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=found) as caught:
        load_text(str(path))
    assert "bad.txt" in caught.value.asked
    assert caught.value.exit_status == 2


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_text(str(tmp_path / "missing.txt"))
    with pytest.raises(InputError, match="directory"):
        load_text(str(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        load_text("nul\0byte")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"):
        load_text(str(tmp_path / "pipe"))
