"""The vocabulary of a GGUF file: the source's own, or tokenizer.json's. It refuses to leave llama.cpp without one.

llama.cpp opens no text model without tokens. Where there is no tokenizer, or one of a kind that GGUF has no words for,
placeholders take their place: token ids work, text does not, and the note says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType

from assay.build.checkpoints.gguf_container import read_gguf
from assay.core.records import ModelSource

_PRE_BY_RULE = {"GPT": "gpt-2", "Digits": "smollm"}
_CONTROL, _NORMAL, _UNUSED = int(TokenType.CONTROL), int(TokenType.NORMAL), int(TokenType.UNUSED)


def write_vocabulary(writer: GGUFWriter, source: ModelSource, tokenizer: Path | None, vocab_size: int) -> str:
    """Write `tokenizer.*`; a note for the user where it is not what the model was trained with.

    Args:
        writer: of the file.
        source: a GGUF source hands over its own vocabulary.
        tokenizer: the directory with tokenizer.json, None where the model has none.
        vocab_size: rows of the embedding; tokens that no text gives are filled up.
    """
    if source.kind == "gguf":
        _copy(writer, Path(source.location))
        return ""
    reason = "the model has no tokenizer"
    if tokenizer is not None:
        content = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
        pre = _pre_tokenizer(content)
        if content.get("model", {}).get("type") == "BPE" and pre:
            config = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
            _byte_level(writer, content, config, pre, vocab_size)
            return ""
        reason = "its tokenizer is of a kind that is not written to GGUF here"
    _placeholders(writer, vocab_size)
    return f"the GGUF's vocabulary is made of placeholders ({reason}): give token ids, not text"


def _copy(writer: GGUFWriter, path: Path) -> None:
    metadata = read_gguf(path).metadata
    for key in metadata:
        if key.startswith("tokenizer."):
            _add(writer, key, metadata[key])


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case np.ndarray():
            writer.add_array(key, value.tolist())
        case _:
            writer.add_array(key, list(value))


def _pre_tokenizer(content: dict[str, Any]) -> str:
    """`tokenizer.ggml.pre` of a byte-level BPE whose way of cutting text is known; empty where it is not."""
    found = content.get("pre_tokenizer") or {}
    steps = found.get("pretokenizers", [found])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True) and not steps[0].get("add_prefix_space"):
        return _PRE_BY_RULE["GPT"]
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and steps[1].get("use_regex", True):
        return _PRE_BY_RULE["Digits"]
    return ""


def _byte_level(writer: GGUFWriter, content: dict[str, Any], config: dict[str, Any], pre: str, vocab_size: int) -> None:
    vocabulary: dict[str, int] = dict(content["model"]["vocab"])
    special = {item["content"] for item in content.get("added_tokens", ()) if item.get("special")}
    vocabulary |= {item["content"]: item["id"] for item in content.get("added_tokens", ())}
    by_id = {index: token for token, index in vocabulary.items()}
    tokens = [by_id.get(index, f"[unused{index}]") for index in range(vocab_size)]
    kinds = [
        _UNUSED if index not in by_id else _CONTROL if by_id[index] in special else _NORMAL
        for index in range(vocab_size)
    ]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    for role, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("unk_token", writer.add_unk_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        named = config.get(role)
        if isinstance(named, str) and named in vocabulary:
            add(vocabulary[named])
    if isinstance(config.get("chat_template"), str):
        writer.add_chat_template(config["chat_template"])


def _placeholders(writer: GGUFWriter, vocab_size: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    # llama.cpp opens no vocabulary of this kind without a merge.
    writer.add_token_list([*("t", "0", "t0")[:vocab_size], *(f"t{index}" for index in range(3, vocab_size))])
    writer.add_token_types([_NORMAL] * vocab_size)
    writer.add_token_merges(["t 0"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
