"""Shapes of models, by name or as somebody writes them, from which costs are computed without a checkpoint.

It refuses to guess: a name that is not in the table has no shape, and a shape without a vocabulary counts no head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from assay.core import cost
from assay.core.errors import InputError
from assay.core.records import Absent, Contract

EXAMPLE = "S=12x768x3072,gated"
_WRITTEN = re.compile(r"(?P<layers>\d+)[x*](?P<hidden>\d+)[x*](?P<inner>\d+)", re.IGNORECASE)
_OPTIONS = ("vocab", "heads", "kv_heads", "head_dim")


@dataclass(frozen=True)
class Shape:
    """What the operations of a decoder depend on. Zero stands for a part that was not said."""

    layers: int
    hidden_size: int
    intermediate_size: int
    gated: bool = False
    vocab_size: int = 0
    """Zero: the head is left out of every count, which is then a lower bound."""
    heads: int = 0
    """Zero: heads that together are as wide as the model."""
    kv_heads: int = 0
    """Zero: as many as `heads`."""
    head_dim: int = 0
    """Zero: hidden_size / heads."""
    tied: bool = True

    def contract(self, dtype: str = "float32") -> Contract:
        """The shapes as a contract, for `core.cost`; its context length says nothing."""
        heads = self.heads or 1
        return Contract(
            architecture="unknown",
            context_length=1 << 30,
            sliding_window=Absent(reason="not said"),
            vocab_size=self.vocab_size or 1,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=self.kv_heads or heads,
            head_dim=self.head_dim or self.hidden_size // heads,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            gated_mlp=self.gated,
            tie_word_embeddings=self.tied,
            dtype=dtype,
        )

    @property
    def parameters(self) -> int:
        """Parameters of the matrices; positions, norms and biases are left out (under 1 % but for tiny models)."""
        head = self.vocab_size * self.hidden_size
        return cost.matmul_parameters(self.contract()) - (0 if self.vocab_size else self.hidden_size) + (
            0 if self.tied else head
        )  # fmt: skip

    @property
    def flops_per_token_and_layer(self) -> float:
        """Of the matrix products of one layer, without attention over the context."""
        contract = self.contract()
        return 2 * (cost.matmul_parameters(contract) - cost.head_parameters(contract)) / self.layers


_GPT2 = Shape(12, 768, 3072, vocab_size=50257, heads=12)
_SMOL = Shape(30, 576, 1536, gated=True, vocab_size=49152, heads=9, kv_heads=3)
_LLAMA = Shape(32, 4096, 11008, gated=True, vocab_size=32000, heads=32, tied=False)

KNOWN = MappingProxyType(
    {
        "gpt2": _GPT2,
        "gpt2-medium": replace(_GPT2, layers=24, hidden_size=1024, intermediate_size=4096, heads=16),
        "gpt2-large": replace(_GPT2, layers=36, hidden_size=1280, intermediate_size=5120, heads=20),
        "gpt2-xl": replace(_GPT2, layers=48, hidden_size=1600, intermediate_size=6400, heads=25),
        "smollm2-135m": _SMOL,
        "smollm2-360m": replace(_SMOL, layers=32, hidden_size=960, intermediate_size=2560, heads=15, kv_heads=5),
        "smollm2-1.7b": replace(_SMOL, layers=24, hidden_size=2048, intermediate_size=8192, heads=32, kv_heads=32),
        "gemma-3-270m": Shape(18, 640, 2048, True, 262144, 4, 1, 256),
        "tinyllama-1.1b": replace(_LLAMA, layers=22, hidden_size=2048, intermediate_size=5632, kv_heads=4),
        "llama-2-7b": _LLAMA,
        "llama-3-8b": replace(_LLAMA, intermediate_size=14336, kv_heads=8, vocab_size=128256),
    }
)
"""Shapes from the published configurations (config.json of each model)."""

_ALIASES = MappingProxyType({"gpt2-small": "gpt2", "gpt2-124m": "gpt2", "gpt2-1.5b": "gpt2-xl"})


def known_shape(model: str) -> Shape | None:
    """The shape of a model by its name as people write it (`GPT-2 medium`, `openai/gpt2-xl`); None where unknown."""
    name = canonical_name(model)
    return KNOWN.get(name) if name else None


@cache
def canonical_name(model: str) -> str:
    """The name that tables use for a model as people write it; empty where no table has it."""
    text = re.sub(r"[\s_]+", "-", model.strip().casefold().rpartition("/")[2])
    text = re.sub(r"^gpt-2", "gpt2", text)
    text = re.sub(r"-(instruct|base|hf|it|chat|v\d+(\.\d+)?)\b", "", text)
    text = re.sub(r"^meta-", "", text)
    text = _ALIASES.get(text, text)
    return text if text in KNOWN else ""


def parse_shape(text: str) -> tuple[str, Shape]:
    """A shape as it is written: `S=12x768x3072,gated`, with `vocab=`, `heads=`, `kv_heads=`, `head_dim=`, `untied`.

    Returns:
        The name before `=` (empty where there is none: every row has this shape), and layers x hidden x inner.

    Raises:
        InputError: it is written otherwise.
    """
    name, equals, rest = text.partition("=") if re.match(r"^[^=,]+=\d+[x*]", text) else ("", "", text)
    sizes, *options = [part.strip() for part in rest.split(",")]
    found = _WRITTEN.fullmatch(sizes)
    if not found or 0 in map(int, found.groups()):
        raise _refused(text, f"{sizes!r} is not layers x hidden size x inner size")
    shape = Shape(int(found["layers"]), int(found["hidden"]), int(found["inner"]))
    for option in options:
        key, equals, value = option.partition("=")
        if option in ("gated", "untied"):
            shape = replace(shape, gated=shape.gated or option == "gated", tied=shape.tied and option != "untied")
        elif key in _OPTIONS and equals and value.isdecimal() and int(value) > 0:
            shape = _with(shape, key, int(value))
        else:
            raise _refused(text, f"{option!r} is no option of a shape")
    return name.strip(), shape


def _with(shape: Shape, option: str, value: int) -> Shape:
    match option:
        case "vocab":
            return replace(shape, vocab_size=value)
        case "heads":
            return replace(shape, heads=value)
        case "kv_heads":
            return replace(shape, kv_heads=value)
        case _:
            return replace(shape, head_dim=value)


def _refused(text: str, found: str) -> InputError:
    return InputError(
        f"the shape {text!r}",
        found,
        f"Write it as {EXAMPLE}: a size's name, layers x hidden size x inner size of the MLP, then any of gated, "
        f"untied, {', '.join(f'{key}=N' for key in _OPTIONS)}",
    )
