"""A GGUF vocabulary as a tokenizer of the `tokenizers` package. It refuses kinds whose rules it does not know.

Two kinds exist: byte-level BPE with its merges (`gpt2`), and SentencePiece BPE with scores (`llama`), whose merges are
every way of cutting a piece in two pieces, the best piece first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as InnerTokenizer

from assay.core.errors import TokenizerError

_CONTROL, _USER_DEFINED = 3, 4
_SPACE = "\u2581"
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_LETTERS}|\p{{N}}|{_REST}"
PRE_TOKENIZERS: Mapping[str, str] = MappingProxyType(
    {
        "default": "gpt-2",
        "gpt-2": "gpt-2",
        "smollm": "smollm",
        "llama-bpe": "llama-3",
        "llama3": "llama-3",
        "llama-v3": "llama-3",
        "qwen2": "qwen2",
        "deepseek-r1-qwen": "qwen2",
    }
)
"""How text is cut before BPE, by `tokenizer.ggml.pre`. A file that states none is cut as `default`."""


def build(metadata: Mapping[str, Any], tokens: list[str]) -> InnerTokenizer:
    """The tokenizer of a GGUF file's metadata, without the special tokens around a text.

    `tokens` is the array `tokenizer.ggml.tokens`, which takes long enough to read once.

    Raises:
        TokenizerError: the vocabulary is missing, damaged, or of a kind that Assay does not know.
    """
    model = metadata.get("tokenizer.ggml.model")
    match model:
        case "gpt2":
            inner = _byte_level(metadata, tokens)
        case "llama":
            inner = _sentencepiece(metadata, tokens)
        case _:
            raise error(f"its vocabulary is of the kind {model!r}", "Assay knows the kinds gpt2 (BPE) and llama (SPM)")
    _add_whole_tokens(inner, metadata, tokens)
    return inner


def error(found: str, remedy: str = "Convert the model again") -> TokenizerError:
    """The error for a GGUF vocabulary that cannot be used."""
    return TokenizerError("A tokenizer was to be built from GGUF metadata", found, remedy)


def strings(metadata: Mapping[str, Any], key: str) -> list[str]:
    """An array of strings.

    Raises:
        TokenizerError: it is missing, or no such array.
    """
    found = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise error(f"'tokenizer.ggml.{key}' is missing, or no array of strings")
    return found


def _numbers(metadata: Mapping[str, Any], key: str, count: int) -> list[Any]:
    found = metadata.get(f"tokenizer.ggml.{key}")
    if found is None or isinstance(found, str | int | float) or len(found) != count:
        raise error(f"'tokenizer.ggml.{key}' is missing, or has not one entry for each of {count} tokens")
    values: list[Any] = found.tolist() if hasattr(found, "tolist") else list(found)
    return values


def _byte_level(metadata: Mapping[str, Any], tokens: list[str]) -> InnerTokenizer:
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pre = metadata.get("tokenizer.ggml.pre", "default")
    if pre not in PRE_TOKENIZERS:
        raise error(f"its text is cut by the rule {pre!r}", f"Assay knows: {', '.join(PRE_TOKENIZERS)}")
    rule = PRE_TOKENIZERS[pre]
    bpe = models.BPE(
        vocab=vocabulary,
        merges=_merges(strings(metadata, "merges"), vocabulary),
        fuse_unk=False,
        ignore_merges=rule == "llama-3",
    )
    inner = InnerTokenizer(bpe)
    inner.pre_tokenizer = _pre_tokenizer(rule)
    inner.decoder = decoders.ByteLevel()
    if rule == "qwen2":
        inner.normalizer = normalizers.NFC()
    return inner


def _merges(lines: Sequence[str], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    merges = []
    for line in lines:
        left, space, right = line.partition(" ")
        if not space or left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise error(f"the merge {line!r} names pieces that are not in the vocabulary")
        merges.append((left, right))
    return merges


def _pre_tokenizer(rule: str) -> pre_tokenizers.PreTokenizer:
    match rule:
        case "gpt-2":
            return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        case "smollm":
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                ]
            )
        case _:
            pattern = Regex(_LLAMA3 if rule == "llama-3" else _QWEN2)
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(pattern, behavior="isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )


def _sentencepiece(metadata: Mapping[str, Any], tokens: list[str]) -> InnerTokenizer:
    gemma = str(metadata.get("general.architecture", "")).startswith("gemma")
    if gemma:
        tokens = [_spelled(token) for token in tokens]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Gemma's scores do not follow the order of its merges; the order of its pieces does.
    scores = [] if gemma else _numbers(metadata, "scores", len(tokens))
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    named = isinstance(unknown, int) and 0 <= unknown < len(tokens)
    inner = InnerTokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_implied_merges(tokens, vocabulary, scores),
            unk_token=tokens[unknown] if isinstance(unknown, int) and named else None,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="first", split=False)
        steps.append(decoders.Strip(content=" ", left=1))
    else:
        inner.normalizer = normalizers.Replace(" ", _SPACE)
    inner.decoder = decoders.Sequence(steps)
    return inner


def _spelled(token: str) -> str:
    """Gemma's pieces of spaces are stored with real spaces, and looked up with the sign for a space."""
    return _SPACE * len(token) if token and not token.strip(" ") else token


def _implied_merges(
    tokens: Sequence[str], vocabulary: Mapping[str, int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Every cut of a piece in two pieces: best score first (or order of pieces), then longest left part first."""
    cuts: list[tuple[float, str, str]] = []
    for index, token in enumerate(tokens):
        score = scores[index] if scores else -index
        cuts.extend(
            (score, left, right)
            for middle in range(len(token) - 1, 0, -1)
            if (left := token[:middle]) in vocabulary and (right := token[middle:]) in vocabulary
        )
    if scores:
        cuts.sort(key=lambda cut: (cut[0], len(cut[1]), len(cut[2])), reverse=True)
    return [(left, right) for _, left, right in cuts]


def _add_whole_tokens(inner: InnerTokenizer, metadata: Mapping[str, Any], tokens: list[str]) -> None:
    """Control tokens (special) and tokens of the user's own are never cut."""
    if "tokenizer.ggml.token_type" not in metadata:
        return
    kinds = _numbers(metadata, "token_type", len(tokens))
    for sought, add in ((_CONTROL, inner.add_special_tokens), (_USER_DEFINED, inner.add_tokens)):
        whole = (token for token, kind in zip(tokens, kinds, strict=True) if kind == sought and token)
        add([AddedToken(token, normalized=False) for token in whole if inner.token_to_id(token) is not None])
