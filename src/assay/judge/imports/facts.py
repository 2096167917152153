"""Facts of a set-up from cells, labels and prose. It refuses to take a guess of prose for a fact.

What stands plainly ("averaged over 10 runs", "batch size 4") is a fact; what stands in a sentence that hedges
("your GPU might be ...") is a hypothesis; what a text states twice and differently is neither, and is listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from assay.core.hardware import recognised
from assay.core.records import Absent, Scalar
from assay.judge.imports.numbers import Decimal, number_in, plain
from assay.judge.imports.vocabulary import role_of

WHOLE = frozenset(
    {"samples", "warmup", "batch", "concurrency", "new_tokens", "prompt_tokens", "context", "stride", "threads",
     "parameters", "layers", "hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "vocab_size", "ddof"}
)  # fmt: skip
FLAGS = frozenset(
    {"compiled", "gated_mlp", "tf32", "autocast", "speculative", "random_weights", "rejected_draft_changed_cache",
     "planted_fault_found", "tied"}
)  # fmt: skip
TEXTS = frozenset(
    {"model", "family", "size", "shape", "role", "requested_device", "requested_dtype", "runtime", "device",
     "compute_units", "dataset", "phase", "energy_kind", "calibration_source", "bundle", "status"}
)  # fmt: skip
"""Facts that stay texts, even where they are written in digits."""
_YES = re.compile(
    r"^(yes|y|true|on|1|enabled|compiled|with|✓|✔|✅|☑|max-autotune|reduce-overhead|default|inductor|jit)",
    re.IGNORECASE,
)
_NO = re.compile(
    r"^(no|n|false|off|0|disabled|eager|none|without|not|-|–|—|✗|✘|❌|x$|uncompiled|vanilla)", re.IGNORECASE
)

_DTYPES = (
    ("mixed", r"mixed|amp|autocast"),
    ("tf32", r"tf32"),
    ("bfloat16", r"bf16|bfloat16"),
    ("float16", r"fp16|float16|f16|half"),
    ("float32", r"fp32|float32|f32|full precision|single precision"),
    ("float64", r"fp64|float64|f64"),
    ("fp8", r"fp8|float8|e4m3|e5m2"),
    ("int8", r"int8|w8a8|w8a16|q8(_0)?|8[- ]bit"),
    ("int4", r"int4|w4a16|w4a8|4[- ]bit|nf4|awq|gptq"),
    ("int3", r"int3|3[- ]bit"),
    ("int2", r"int2|2[- ]bit"),
)
_DTYPE_PATTERNS = tuple(
    (name, re.compile(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", re.IGNORECASE)) for name, pattern in _DTYPES
)
_GGUF = re.compile(r"(?<![a-z0-9])(i?q[1-8](?:_[0-9a-z]+){0,2})(?![a-z0-9])", re.IGNORECASE)
_UNCOMPILED = re.compile(r"\b(eager|uncompiled|not compiled|no[- ]compile|without (torch\.?)?compil)", re.IGNORECASE)
_COMPILED = re.compile(r"\b(torch\.compile|compiled|\+ ?compile|with compile|compile=true|inductor)\b", re.IGNORECASE)
HEDGE = re.compile(
    r"\b(might|may be|maybe|probably|perhaps|could be|possibly|presumably|likely|i think|guess|assum\w+|"
    r"seems?|suspect|your gpu|your device|your machine|if you|should be|would be|unsure|not sure|e\.g\.|for example)\b",
    re.IGNORECASE,
)

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTED = re.compile(
    rf"\b(?:{'|'.join(_NUMBERS)})\b(?=\s+(?:\w+\s+)?(?:warm|runs?\b|iterations?\b|samples?\b|trials?\b|repeats?\b))",
    re.IGNORECASE,
)
_HEDGING = re.compile(r"\s+\b(probably|perhaps|maybe|possibly|presumably|likely)\b\s+", re.IGNORECASE)
_N = r"(\d{1,3}(?:,\d{3})+|\d+)"
_PROSE: tuple[tuple[str, str], ...] = (
    ("samples", (
            r"(?:averaged?|averages?|means?|medians?|mean and std|measured|timed|taken|run|repeated)[^.\d]{0,40}?"
            rf"(?:over|of|across|from|for)\s+{_N}\s+(?:\w+ )?"
            r"(?:runs?|iterations?|samples?|trials?|steps?|repeats?|repetitions?|measurements?|calls?|passes)"
        )),
    ("samples", rf"\b{_N}\s+(?:timed|measured|measurement|benchmark)\s+(?:runs?|iterations?|samples?|steps?|calls?)"),
    ("samples", rf"\b{_N}\s+(?:runs?|iterations?|samples?|trials?|repeats?|measurements?)\s+(?:each|per|were|after)"),
    ("samples", rf"\bn\s*=\s*{_N}\b"),
    ("warmup", rf"\b{_N}\s+warm-?\s?up"),
    ("warmup", rf"\bwarm-?\s?up\w*\s*(?:of|:|=|steps?:|runs?:|iterations?:)\s*{_N}\b"),
    ("batch", rf"\bbatch(?:[\s_-]?sizes?)?\s*(?:of|is|was|=|:)?\s*{_N}\b"),
    ("batch", rf"\bbs\s*=\s*{_N}\b"),
    ("context", rf"\b(?:context|ctx)(?:[\s_-]?(?:length|size|window))?\s*(?:of|is|was|=|:)?\s*{_N}\b"),
    (
        "prompt_tokens",
        rf"\b(?:sequence|seq|prompt|input)[\s_-]?(?:length|len|size|tokens)\s*(?:of|is|was|=|:)?\s*{_N}\b",
    ),
    ("prompt_tokens", rf"\b(?:a |the )?prompt of {_N} tokens"),
    ("new_tokens", rf"\b(?:generat\w+|decod\w+|produc\w+)\s+{_N}\s+(?:new\s+)?tokens"),
    ("new_tokens", rf"\b{_N}\s+(?:new|generated|output)\s+tokens"),
    ("stride", rf"\bstride\s*(?:of|is|was|=|:)?\s*{_N}\b"),
    ("threads", rf"\b{_N}\s+(?:cpu\s+)?threads\b"),
    ("vocab_size", rf"\bvocab(?:ulary)?(?:[\s_-]?size)?\s*(?:of|is|was|=|:)?\s*{_N}\b"),
    ("concurrency", rf"\b{_N}\s+concurrent\b"),
)  # fmt: skip
_PROSE_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _PROSE)
_NO_WARMUP = re.compile(r"\b(?:no|without(?: any)?)\s+warm-?\s?up", re.IGNORECASE)
_TF32 = re.compile(
    r"\b(?:allow_tf32\s*=\s*(true|false)|tf32\s+(?:is|was|were)?\s*(enabled|disabled|on|off|allowed))\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_PAIR = re.compile(r"^\s*(?:[-*+•]\s+)?\**\s*([A-Za-z][\w ./()-]{1,30}?)\s*\**\s*[:=]\s*\**\s*([^\n]{1,80})$")
_ON_DEVICE = re.compile(
    r"(?:\b(?:on|using|with|device|gpu|hardware|machine)\s*:?\s+|^\s*(?=(?:one|an?|single|our|1 ?x)\b))"
    r"(?:an?|the|one|single|our|my|1x)?\s*((?:[\w-]+\s?){1,6})",
    re.IGNORECASE,
)
LIMIT_PROSE = 20_000
"""Characters of prose beside one table that are read."""


class Stated(NamedTuple):
    """What prose says of a set-up."""

    facts: dict[str, Scalar]
    hypotheses: dict[str, Scalar]
    unclear: tuple[str, ...]


def fact_value(name: str, text: str, decimal: Decimal = ".") -> Scalar | None:
    """A fact from a cell; None where the cell does not hold such a fact."""
    said = plain(text)
    if name in FLAGS:
        bare = text.strip().strip("*`_ ")
        return True if _YES.match(bare) else False if _NO.match(bare) else None
    if name in WHOLE:
        found = re.fullmatch(
            r"(?:bs|batch|n|b|t|l|s)?\s*[=:]?\s*(.+?)\s*(?:tokens|tok|runs|samples|threads|layers|params|parameters)?",
            said,
            re.IGNORECASE,
        )
        number = number_in(found[1] if found else said, decimal)
        if number is None or number.is_range or number.is_ratio:
            return None
        factor = 1e9 if number.unit and number.unit.base == "B" and number.unit.factor == 1 else 1.0
        if number.unit and number.unit.base == "count":
            factor = number.unit.factor
        elif number.unit and factor == 1.0:
            return None
        if factor != 1.0 and name != "parameters":
            return None
        value = number.value * factor
        return round(value) if abs(value - round(value)) < 1e-6 and value >= 0 else None
    if name == "weight_bits":
        number = number_in(said, decimal)
        return number.value if number and 0 < number.value <= 64 else None
    if name == "dtype":
        return dtype_in(said) or (said if said else None)
    number = number_in(said, decimal) if name not in TEXTS else None
    return said or None if number is None or number.is_range else number.value


def dtype_in(text: str) -> str | None:
    """The one type that a text names, in the words of `core.figures.FACTS`; None where it names none or several."""
    gguf = {found.upper() for found in _GGUF.findall(text)}
    if len(gguf) == 1:
        return str(gguf.pop())
    found = [name for name, pattern in _DTYPE_PATTERNS if pattern.search(text)]
    if "mixed" in found:
        return "mixed"
    return found[0] if len(found) == 1 else None


def label_facts(label: str) -> dict[str, Scalar]:
    """Facts that a row's name or a heading states: type, compiled or eager, batch."""
    facts: dict[str, Scalar] = {}
    dtype = dtype_in(label)
    if dtype:
        facts["dtype"] = dtype
    if _UNCOMPILED.search(label):
        facts["compiled"] = False
    elif _COMPILED.search(label):
        facts["compiled"] = True
    batch = re.search(r"\b(?:bs|batch(?:[ _]?size)?)\s*[=:]?\s*(\d{1,6})\b", label, re.IGNORECASE)
    if batch:
        facts["batch"] = int(batch[1])
    return facts


def prose_facts(paragraphs: Iterable[str]) -> Stated:
    """Facts and hypotheses from the words beside a table."""
    found: dict[str, set[Scalar]] = {}
    guessed: dict[str, set[Scalar]] = {}
    text = "\n".join(paragraphs)[:LIMIT_PROSE]
    for sentence in _SENTENCE.split(text):
        stated = guessed if HEDGE.search(sentence) else found
        for name, value in _sentence_facts(_HEDGING.sub(" ", plain_prose(sentence))):
            stated.setdefault(name, set()).add(value)
    facts = {name: next(iter(values)) for name, values in found.items() if len(values) == 1}
    hypotheses = {n: next(iter(v)) for n, v in guessed.items() if len(v) == 1 and n not in facts}
    unclear = tuple(
        f"the text states {name} as {' and as '.join(sorted(map(str, values)))}: taken for none of them"
        for name, values in found.items()
        if len(values) > 1
    )
    return Stated(facts, hypotheses, unclear)


def plain_prose(text: str) -> str:
    """Prose without emphasis, with counts in digits."""
    text = _COUNTED.sub(lambda word: str(_NUMBERS.index(word[0].casefold())), text)
    return re.sub(r"[*`_]{1,3}(?=\w)|(?<=\w)[*`]{1,3}|(?<=[\w:])\*{1,3}", "", text)


def _sentence_facts(sentence: str) -> list[tuple[str, Scalar]]:
    found: list[tuple[str, Scalar]] = []
    for name, pattern in _PROSE_PATTERNS:
        match = pattern.search(sentence)
        if match and name not in {known for known, _ in found}:
            found.append((name, int(match[1].replace(",", ""))))
    if _NO_WARMUP.search(sentence):
        found.append(("warmup", 0))
    tf32 = _TF32.search(sentence)
    if tf32:
        found.append(("tf32", (tf32[1] or tf32[2]).casefold() in ("true", "enabled", "on", "allowed")))
    device = _ON_DEVICE.search(sentence)
    known = recognised(device[1]) if device else Absent(reason="no device is named")
    if not isinstance(known, Absent):
        found.append(("device", known.name))
    return [*found, *_pair(sentence, {name for name, _ in found})]


def _pair(sentence: str, known: Mapping[str, Scalar] | set[str]) -> list[tuple[str, Scalar]]:
    """`Device: RTX PRO 6000`, as people list a set-up."""
    pair = _PAIR.match(sentence)
    if not pair:
        return []
    role = role_of(pair[1])
    if role.kind != "fact" or role.name in known or role.name in ("phase", "size", "status", "role"):
        return []
    written = pair[2].rstrip(". ")
    if role.name in ("model", "device", "runtime"):
        written = re.split(r"\s+(?:on|with|at|in|using|from)\s", written)[0]
    value = fact_value(role.name, written)
    return [] if value is None or value == "" else [(role.name, value)]
