"""The computation of a model as a short list of operations, for exporters; it refuses what it has no word for.

A family's own forward is run once with values that compute nothing and remember how they came about, so that an
exporter needs no file per family. The leaves of `build.nn` (attention, rotation, norms, quantised layers) are one
operation each.

Shape suffixes: B batch (here 1), T new tokens, P tokens held in the KV cache, N query heads, G key-value heads, H head
dim, D model dim, O output channels, I input channels.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.nn.attention import causal_attention
from assay.build.nn.int4 import Int4Linear
from assay.build.nn.linear import Int8Linear, PaletteLinear, plain_layer
from assay.build.nn.norm import RMSNorm, WideRMSNorm
from assay.build.nn.rope import RotaryTable, rotate
from assay.build.nn.select import replace
from assay.core.errors import UnsupportedError

_ASKED = "describe the computation of this model to another engine"
QUANTISED = (Int4Linear, Int8Linear)
"""Layers whose weight is one value of the kind `quantised`, to be carried as it is stored."""


class Dim(int):
    """A length that is known only when the model runs; as a number it is an example."""

    name: str

    def __new__(cls, example: int, name: str) -> Self:
        """`example` stands for it in arithmetic."""
        made = super().__new__(cls, example)
        made.name = name
        return made

    def __add__(self, other: int) -> int:
        if isinstance(other, Dim):
            return Dim(int(self) + int(other), f"{self.name}+{other.name}")
        return int(self) + other


NEW = Dim(3, "new")
"""T: tokens of this call."""
HELD = Dim(5, "held")
"""P: tokens in the cache before it."""


class Value:
    """The result of one operation.

    Args:
        op: its name: one of `OPERATIONS`.
        inputs: what it is computed from.
        shape: of the result; lengths that vary are `Dim`.
        options: what else the operation must know.
    """

    def __init__(self, op: str, inputs: Sequence[Value], shape: Sequence[int], **options: Any) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.shape = tuple(shape)
        self.options = options
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self.ndim = len(self.shape)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None
    ) -> Any:
        """What torch calls instead of its own function where an argument is a Value."""
        operation = _FUNCTIONS.get(function)
        if operation is None:
            raise _no_word(getattr(function, "__name__", str(function)))
        return operation(*arguments, **(keywords or {}))

    def __getattr__(self, name: str) -> Any:
        raise _no_word(name)

    def __add__(self, other: Value | float) -> Value:
        return _elementwise("add", self, other)

    def __mul__(self, other: Value | float) -> Value:
        return _elementwise("multiply", self, other)

    def __truediv__(self, number: float) -> Value:
        return _elementwise("multiply", self, 1.0 / number)

    __radd__ = __add__
    __rmul__ = __mul__

    def __getitem__(self, part: Any) -> Value:
        if isinstance(part, slice) and part.start is HELD and isinstance(part.stop, Dim) and part.step is None:
            return Value("rows_at_positions", (self,), (NEW, *self.shape[1:]))
        raise _no_word(f"a part [{part}]")

    def view(self, *shape: int) -> Value:
        """The same numbers in another shape, of which one length may vary."""
        if sum(isinstance(length, Dim) for length in shape) + (-1 in shape) > 1:
            raise _no_word(f"a shape of {shape}")
        known = [-1 if isinstance(length, Dim) else int(length) for length in shape]
        filled = [length if length != -1 else self._rest(shape) for length in shape]
        return Value("reshape", (self,), filled, to=tuple(known))

    reshape = view

    def _rest(self, shape: Sequence[int]) -> int:
        rest = math.prod(self.shape) // math.prod(length for length in shape if length != -1)
        varying = [length for length in self.shape if isinstance(length, Dim)]
        return varying[0] if varying and not any(isinstance(length, Dim) for length in shape) else rest

    def transpose(self, first: int, second: int) -> Value:
        """Two dimensions exchanged."""
        order = list(range(self.ndim))
        order[first], order[second] = order[second], order[first]
        return self.permute(*order)

    def permute(self, *order: int) -> Value:
        """The dimensions in another order."""
        order = tuple(at % self.ndim for at in order)
        return Value("transpose", (self,), [self.shape[at] for at in order], order=order)

    def unbind(self, dim: int = 0) -> tuple[Value, ...]:
        """One value for each entry of a dimension."""
        rest = [length for at, length in enumerate(self.shape) if at != dim]
        return tuple(Value("take", (self,), rest, axis=dim, index=index) for index in range(self.shape[dim]))

    def tanh(self) -> Value:
        """Hyperbolic tangent."""
        return Value("tanh", (self,), self.shape)

    def to(self, *_: Any) -> Value:
        """Itself: types are the exporter's affair."""
        return self

    def contiguous(self) -> Value:
        """Itself: order in memory is the engine's affair."""
        return self


@dataclass(frozen=True)
class Weights:
    """What a weight of the graph holds: a tensor, or a quantised layer whose weight it is."""

    name: str
    content: Tensor | nn.Module


@dataclass
class Graph:
    """A model's computation on T new tokens behind P held ones, for one sequence."""

    tokens: Value
    """int64 `[1, T]`."""
    positions: Value
    """int64 `[K]`: of which of the T tokens logits are wanted."""
    logits: Value
    """`[1, K, V]`."""
    appended: list[tuple[Value, Value]] = field(default_factory=list)
    """Keys and values of each layer, held and new ones, `[1, G, P + T, H]`."""

    def values(self) -> Iterator[Value]:
        """Every value, each after what it is computed from."""
        seen: set[int] = set()
        roots = [self.logits, *(value for pair in self.appended for value in pair)]
        stack: list[tuple[Value, bool]] = [(root, False) for root in reversed(roots)]
        while stack:
            value, ready = stack.pop()
            if ready:
                yield value
            elif id(value) not in seen:
                seen.add(id(value))
                stack.append((value, True))
                stack.extend((each, False) for each in reversed(value.inputs) if id(each) not in seen)


def describe(model: nn.Module, family: str) -> Graph:
    """Run a model's forward once on values that compute nothing. The model is as before afterwards, but for palettes,
    which are expanded.

    Args:
        model: of a family, after its transforms.
        family: the name of its module.

    Raises:
        UnsupportedError: the forward does something that has no word here, or the model is no causal decoder.
    """
    made: Any = model
    head = sys.modules[family].contract(made.config, "float32").head
    if head != "causal":
        raise UnsupportedError(_ASKED, f"there are no words for a model of head {head!r}", "Use the runtime torch")
    for path in [path for path, module in model.named_modules() if isinstance(module, PaletteLinear)]:
        found = model.get_submodule(path)
        assert isinstance(found, PaletteLinear)
        replace(model, path, plain_layer(found))
    tokens = Value("tokens", (), (1, NEW))
    positions = Value("positions", (), (Dim(2, "wanted"),))
    cache = _Held()
    with ExitStack() as stack:
        stack.enter_context(_leaves_described(sys.modules[family]))
        for path, module in list(model.named_modules()):
            stack.enter_context(_module_described(path, module, positions))
        logits = model(tokens, cache)
    return Graph(tokens, positions, logits, [cache.appended[layer] for layer in sorted(cache.appended)])


class _Held:
    """Stands for the KV cache."""

    length = HELD

    def __getattr__(self, name: str) -> Any:
        raise _no_word(f"{name} of its cache")

    def __init__(self) -> None:
        self.appended: dict[int, tuple[Value, Value]] = {}

    def update(self, layer: int, k_BGTH: Value, v_BGTH: Value) -> tuple[Value, Value]:
        """Append to what is held."""
        B, G, _, H = k_BGTH.shape
        shape = (B, G, HELD + NEW, H)
        key = Value("append", (k_BGTH,), shape, layer=layer, kind="key")
        value = Value("append", (v_BGTH,), shape, layer=layer, kind="value")
        self.appended[layer] = key, value
        return key, value

    def advance(self, tokens: int) -> None:
        """Nothing is kept here."""


@contextmanager
def _leaves_described(family: Any) -> Iterator[None]:
    """Put the descriptions of the leaf functions of `build.nn` in their place in a family's module."""
    described: dict[Any, Callable[..., Any]] = {causal_attention: _attention, rotate: _rotated}
    names = {name: found for name, found in vars(family).items() if callable(found) and _hashable(found) in described}
    try:
        for name, found in names.items():
            setattr(family, name, described[found])
        yield
    finally:
        for name, found in names.items():
            setattr(family, name, found)


def _hashable(found: Any) -> Any:
    return found if isinstance(found, type(causal_attention)) else None


@contextmanager
def _module_described(path: str, module: nn.Module, positions: Value) -> Iterator[None]:
    """Let a module's parameters be values, and its forward one operation where it is a leaf."""
    parameters = dict(module._parameters)
    tables = {name: found for name, found in vars(module).items() if isinstance(found, RotaryTable)}
    hook = None
    if path == "lm_head":
        hook = module.register_forward_pre_hook(lambda _, inputs: (_selected(inputs[0], positions),))
    try:
        if isinstance(module, QUANTISED):
            module.__dict__["forward"] = _quantised(path, module)
        elif isinstance(module, RMSNorm | WideRMSNorm):
            module.__dict__["forward"] = _rms_norm(path, module)
        else:
            for leaf, parameter in parameters.items():
                if parameter is not None:
                    del module._parameters[leaf]
                    module.__dict__[leaf] = _weight(f"{path}.{leaf}", parameter)
        module.__dict__.update({name: _DescribedTable(table) for name, table in tables.items()})
        yield
    finally:
        module.__dict__.pop("forward", None)
        for leaf in parameters:
            module.__dict__.pop(leaf, None)
        module._parameters.update(parameters)
        module.__dict__.update(tables)
        if hook is not None:
            hook.remove()


class _DescribedTable:
    """Stands for a table of rotary positions."""

    def __init__(self, table: RotaryTable) -> None:
        self._table = table

    def slice(self, start: int, tokens: int, like: Value, padding_B: None = None) -> tuple[Value, Value]:
        """The angles of this call's positions; the pair goes to `rotate` as it is."""
        if start is not HELD or tokens is not NEW or padding_B is not None:
            raise _no_word("rotary positions other than those of the new tokens")
        if self._table._scaling.by_length:
            raise _no_word("rotary positions whose angles depend on the length of the sequence")
        angles = Value("angles", (), (NEW,), table=self._table)
        return angles, angles


def _weight(name: str, parameter: nn.Parameter) -> Value:
    value = Value("weight", (), parameter.shape, weights=Weights(name, parameter.detach()), key=id(parameter))
    value.dtype = parameter.dtype
    return value


def _quantised(path: str, module: Any) -> Callable[[Value], Value]:
    shape = (module.out_features, module.in_features)
    weight = Value("quantised", (), shape, weights=Weights(f"{path}.weight", module), key=id(module))
    bias = None if module.bias is None else _weight(f"{path}.bias", module.bias)
    return lambda x: _linear(x, weight, bias)


def _rms_norm(path: str, module: RMSNorm | WideRMSNorm) -> Callable[[Value], Value]:
    if module.weight is None:
        raise _no_word("a norm without weights")
    weight = _weight(f"{path}.weight", module.weight)
    if isinstance(module, WideRMSNorm):
        factor = Weights(f"{path}.weight", module.weight.detach().float() + module._offset)
        weight = Value("weight", (), module.weight.shape, weights=factor, key=id(module))
    return lambda x: Value("rms_norm", (x, weight), x.shape, epsilon=float(module._eps))


def _selected(x_BTD: Value, positions: Value) -> Value:
    return Value("select", (x_BTD, positions), (1, positions.shape[0], x_BTD.shape[2]))


def _linear(x: Value, weight: Value, bias: Value | None = None) -> Value:
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return Value("linear", inputs, (*x.shape[:-1], weight.shape[0]))


def _embedding(tokens: Value, weight: Value, *_: Any, **__: Any) -> Value:
    return Value("embedding", (tokens, weight), (*tokens.shape, weight.shape[1]))


def _layer_norm(
    x: Value, shape: Sequence[int], weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5
) -> Value:
    if weight is None or len(shape) != 1:
        raise _no_word("a layer norm without weights")
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return Value("layer_norm", inputs, x.shape, epsilon=eps)


def _silu(x: Value, inplace: bool = False) -> Value:
    return Value("silu", (x,), x.shape)


def _gelu(x: Value, approximate: str = "none") -> Value:
    return Value("gelu", (x,), x.shape, approximate=approximate)


def _elementwise(op: str, x: Value, other: Value | Tensor | float) -> Value:
    if isinstance(other, Value):
        longer, shorter = (x, other) if x.ndim >= other.ndim else (other, x)
        if longer.shape[longer.ndim - shorter.ndim :] != shorter.shape:
            raise _no_word(f"{op} of {x.shape} and {other.shape}")
        return Value(op, (x, other), longer.shape)
    if isinstance(other, Tensor) and other.numel() == 1:
        other = other.item()
    if isinstance(other, int | float):
        return Value(f"{op}_number", (x,), x.shape, number=float(other))
    raise _no_word(f"{op} with a {type(other).__name__}")


def _rotated(x_BNTH: Value, cos_TH: Value, sin_TH: Value) -> Value:
    if cos_TH is not sin_TH or cos_TH.op != "angles":
        raise _no_word("a rotation by other angles than a table's")
    return Value("rotate", (x_BNTH, cos_TH), x_BNTH.shape)


def _attention(
    q_BNTH: Value,
    k_BGSH: Value,
    v_BGSH: Value,
    *,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    mask_B1TS: None = None,
) -> Value:
    if mask_B1TS is not None or k_BGSH.op != "append" or v_BGSH.op != "append":
        raise _no_word("attention with a mask of its own, or to what is not in the cache")
    B, N, T, H = q_BNTH.shape
    return Value(
        "attention",
        (q_BNTH, k_BGSH, v_BGSH),
        (B, T, N * H),
        scale=1 / math.sqrt(H) if scale is None else scale,
        window=window,
        softcap=softcap,
    )


def _no_word(what: str) -> UnsupportedError:
    return UnsupportedError(
        _ASKED, f"its forward uses {what}, which exporters have no operation for", "Use the runtime torch"
    )


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    F.embedding: _embedding,
    F.layer_norm: _layer_norm,
    F.silu: _silu,
    F.gelu: _gelu,
}

OPERATIONS = (
    "tokens",
    "positions",
    "weight",
    "quantised",
    "embedding",
    "linear",
    "layer_norm",
    "rms_norm",
    "angles",
    "rotate",
    "append",
    "attention",
    "silu",
    "gelu",
    "add",
    "multiply",
    "tanh",
    "add_number",
    "multiply_number",
    "reshape",
    "transpose",
    "take",
    "select",
    "rows_at_positions",
)
"""Every operation that an exporter must know."""
