"""One interface over tokenizer.json and the GGUF vocabulary. It refuses text without UTF-8 and ids without a token."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as InnerTokenizer
from tokenizers import processors

from assay.build import tokenizer_vocabularies
from assay.build.files import read_json, require_file
from assay.core.canonical import digest
from assay.core.errors import CheckpointError, MissingDependencyError, TokenizerError
from assay.core.records import Absent, Text

_REPLACEMENT = "\ufffd"
_MAX_PENDING = 8
"""Tokens held back for a character that is not whole yet; four bytes are the most that one can need."""


@dataclass(frozen=True)
class _Special:
    """The special tokens of a tokenizer by role, as strings; absent roles are left out."""

    roles: Mapping[str, str]
    """`bos_token`, `eos_token`, `unk_token`, `pad_token`."""
    bos_id: int | Absent
    eos_ids: tuple[int, ...]
    chat_template: Text


class Tokenizer:
    """Text to ids and back. Made by `from_file` or `from_gguf`."""

    def __init__(self, inner: InnerTokenizer, special: _Special) -> None:
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self._special = special

    @classmethod
    def from_file(
        cls, tokenizer_json: Path, tokenizer_config: Path | None = None, *, eos_ids: tuple[int, ...] = ()
    ) -> Tokenizer:
        """Read tokenizer.json and, for the special tokens and the chat template, tokenizer_config.json.

        `eos_ids` adds ids that end a generation, such as those of generation_config.json.

        Raises:
            TokenizerError: a file is missing or cannot be read.
        """
        config = _read(tokenizer_config) if tokenizer_config is not None else {}
        inner = _read_inner(tokenizer_json)
        roles = {role: _content(config[role]) for role in _ROLES if config.get(role) is not None}
        bos = inner.token_to_id(roles["bos_token"]) if "bos_token" in roles else None
        eos = inner.token_to_id(roles["eos_token"]) if "eos_token" in roles else None
        if "add_bos_token" in config or "add_eos_token" in config:
            _surround(inner, bos if config.get("add_bos_token") else None, eos if config.get("add_eos_token") else None)
        template = _template(config, tokenizer_json.parent / "chat_template.jinja")
        absent = Absent(reason="the tokenizer's files name no token that begins a text")
        known = (() if eos is None else (eos,)) + eos_ids
        return cls(inner, _Special(roles, absent if bos is None else bos, tuple(dict.fromkeys(known)), template))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """Build the tokenizer of a GGUF file from its metadata.

        Raises:
            TokenizerError: the vocabulary is missing, damaged, or of a kind that Assay does not know.
        """
        if "tokenizer.ggml.model" not in metadata:
            raise tokenizer_vocabularies.error("the file holds no vocabulary", "Use a file that has one")
        tokens = tokenizer_vocabularies.strings(metadata, "tokens")
        inner = tokenizer_vocabularies.build(metadata, tokens)
        ids = {name: _id_in(metadata, f"{name}_token_id", len(tokens)) for name in _GGUF_ROLES}
        sentencepiece = metadata["tokenizer.ggml.model"] == "llama"
        pre = tokenizer_vocabularies.PRE_TOKENIZERS.get(str(metadata.get("tokenizer.ggml.pre")))
        add_bos = metadata.get("tokenizer.ggml.add_bos_token", sentencepiece or pre == "llama-3")
        add_eos = metadata.get("tokenizer.ggml.add_eos_token", False)
        _surround(inner, ids["bos"] if add_bos else None, ids["eos"] if add_eos else None)
        roles = {role: tokens[index] for name, role in _GGUF_ROLES.items() if role and (index := ids[name]) is not None}
        ends = (ids[name] for name in ("eos", "eot", "eom"))
        template = metadata.get("tokenizer.chat_template")
        absent = Absent(reason="the GGUF file names no token that begins a text")
        return cls(
            inner,
            _Special(
                roles,
                absent if ids["bos"] is None else ids["bos"],
                tuple(dict.fromkeys(index for index in ends if index is not None)),
                template if isinstance(template, str) and template else _NO_TEMPLATE,
            ),
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included. A model may have more rows."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    @property
    def bos_id(self) -> int | Absent:
        """Id of the token that begins a text."""
        return self._special.bos_id

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end a generation; empty where the files name none."""
        return self._special.eos_ids

    @property
    def chat_template(self) -> Text:
        """The Jinja template that turns a conversation into text."""
        return self._special.chat_template

    def chat(self, prompt: str, system: str = "") -> list[int]:
        """Ids of a prompt as a user's message, up to where the model's answer begins.

        The template's text brings its own special tokens, so none are added around it.

        Raises:
            TokenizerError: there is no template, or it refuses.
            MissingDependencyError: jinja2 is not installed.
        """
        asked = "A prompt was to be put into the chat template"
        if isinstance(self.chat_template, Absent):
            raise TokenizerError(asked, self.chat_template.reason, "Give the prompt as it is (leave --chat out)")
        if importlib.util.find_spec("jinja2") is None:
            raise MissingDependencyError(asked, "jinja2", "torch")
        from assay.build.chat import render

        messages = [{"role": "system", "content": system}] if system else []
        text = render(self.chat_template, [*messages, {"role": "user", "content": prompt}], self._special.roles)
        return self.encode(text, add_special=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides ids: vocabulary, merges, rules, special tokens."""
        return digest({"tokenizer": self._inner.to_str(), "eos_ids": self.eos_ids})

    def encode(self, text: str, add_special: bool = True) -> list[int]:
        """Ids of a text; `add_special` puts the tokens around it that the model was trained with.

        Raises:
            TokenizerError: the text holds half of a surrogate pair, which has no UTF-8.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"A text of {len(text)} characters was to be encoded",
                f"character {error.start} is the lone surrogate U+{ord(text[error.start]):04X}, which is no character",
                "Decode the text's bytes with errors='replace', or remove the character",
            ) from error
        ids: list[int] = self._inner.encode(text, add_special_tokens=add_special).ids
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD.

        Raises:
            TokenizerError: an id has no token.
        """
        known = [int(index) for index in ids]
        for index in known:
            if not 0 <= index < 1 << 32 or self._inner.id_to_token(index) is None:
                raise TokenizerError(
                    f"{len(known)} ids were to be decoded",
                    f"{index} is no token of {self.vocab_size}",
                    "Check that model and tokenizer belong together",
                )
        text: str = self._inner.decode(known, skip_special_tokens=skip_special)
        return text

    def stream(self, skip_special: bool = True) -> Stream:
        """A decoder for ids that come one by one."""
        return Stream(self, skip_special)

    def save(self, directory: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, as transformers' AutoTokenizer loads them.

        Raises:
            TokenizerError: the directory cannot be written.
        """
        config: dict[str, Any] = dict(self._special.roles)
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config["clean_up_tokenization_spaces"] = False
        if not isinstance(self.chat_template, Absent):
            config["chat_template"] = self.chat_template
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "tokenizer.json").write_text(self._inner.to_str(pretty=False), encoding="utf-8")
            text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
            (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise TokenizerError(
                f"A tokenizer was to be written to {directory}",
                f"the system refused: {error}",
                "Choose another directory",
            ) from error


class Stream:
    """Decodes ids as they come, and never gives out part of a character.

    All pieces together are `Tokenizer.decode` of all ids, as long as the ids are valid UTF-8.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._ids: list[int] = []
        self._given = 0
        """How many of `_ids` were given out as text; they stay as context, for rules on a text's first space."""

    def push(self, token: int) -> str:
        """The text that is certain now; empty while a character is not whole.

        Raises:
            TokenizerError: the id has no token.
        """
        self._ids.append(token)
        return self._take(force=len(self._ids) - self._given > _MAX_PENDING)

    def flush(self) -> str:
        """The rest, with U+FFFD for a character that never became whole."""
        return self._take(force=True)

    def _take(self, force: bool) -> str:
        before = self._tokenizer.decode(self._ids[: self._given], self._skip_special)
        after = self._tokenizer.decode(self._ids, self._skip_special)
        if after.endswith(_REPLACEMENT) and not force:
            return ""
        self._ids = self._ids[self._given :]
        self._given = len(self._ids)
        return after[len(before) :]


_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_GGUF_ROLES: Mapping[str, str] = {
    "bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token", "eot": "", "eom": "",
}  # fmt: skip
_NO_TEMPLATE = Absent(reason="the tokenizer came without a chat template")


def _id_in(metadata: Mapping[str, Any], key: str, count: int) -> int | None:
    found = metadata.get(f"tokenizer.ggml.{key}")
    if found is None:
        return None
    if not isinstance(found, int) or not 0 <= found < count:
        raise tokenizer_vocabularies.error(f"'tokenizer.ggml.{key}' is {found!r}, no id of its {count} tokens")
    return found


def _surround(inner: InnerTokenizer, bos: int | None, eos: int | None) -> None:
    """Put `bos` before and `eos` behind every text that is encoded with its special tokens."""
    names = [(inner.id_to_token(index), index) for index in (bos, eos) if index is not None]
    begin = [inner.id_to_token(bos)] if bos is not None else []
    end = [inner.id_to_token(eos)] if eos is not None else []
    inner.post_processor = processors.TemplateProcessing(single=[*begin, "$A", *end], special_tokens=names)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, "The tokenizer's file")
    except CheckpointError as error:
        raise TokenizerError(error.asked, error.found, error.remedy) from error


def _read_inner(path: Path) -> InnerTokenizer:
    try:
        require_file(path, "The tokenizer's file")
    except CheckpointError as error:
        raise TokenizerError(error.asked, error.found, error.remedy) from error
    # The package raises plain Exception for whatever is wrong in a file: nothing narrower can be caught.
    try:
        return InnerTokenizer.from_file(str(path))
    except Exception as error:
        raise TokenizerError(
            f"The tokenizer's file {path} was to be read", f"it is no tokenizer: {error}", "Download it again"
        ) from error


def _content(token: Any) -> str:
    """A special token of tokenizer_config.json: a string, or an object with the string in it."""
    content = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(content, str):
        raise TokenizerError(
            "A special token of tokenizer_config.json was to be read", f"it is {token!r}, no string", "Correct the file"
        )
    return content


def _template(config: Mapping[str, Any], beside: Path) -> Text:
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, Mapping)}
        found = named.get("default")
    if found is None and beside.is_file():
        try:
            found = beside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"{beside} was to be read", f"it cannot be: {error}", "Correct the file") from error
    return found if isinstance(found, str) and found else _NO_TEMPLATE
