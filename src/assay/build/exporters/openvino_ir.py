"""The OpenVINO IR: one stateful graph whose KV cache the engine holds; it refuses what `build.graph` has no word for.

It carries fp32, bf16 and fp16 weights, and the very integers of int8 and int4 weights, with their own scales.

Inputs: `tokens` int64 [1, T]; `positions` int64 [K], the tokens of which logits are wanted; `token_positions` int64
[T]; `beam_idx` int32 [1], by which the engine knows the state for a KV cache. Output: `logits` [1, K, V].
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from assay.build.artifact_files import SavesTokenizer, artifact_digest, described, placed, read_artifact, write_record
from assay.build.export_record import ExportedWeights, exported_artifact, foreign_changes
from assay.build.families import family
from assay.build.graph import Graph, Value, describe
from assay.build.nn.int4 import Int4Linear
from assay.core.errors import UnsupportedError
from assay.core.records import Artifact, Change, ModelSource, TransformSpec

__all__ = ["FORMAT", "TOOLCHAIN", "artifact_digest", "export", "read_artifact"]

FORMAT = "openvino_ir"
TOOLCHAIN = ("openvino",)
"""Packages that write this format, beside those that build every artifact."""
MODEL = "model.xml"
_TYPES = {torch.float32: ov.Type.f32, torch.float16: ov.Type.f16, torch.bfloat16: ov.Type.bf16}
_NOTES = {
    "int8_weight_only": "the variant's own int8 integers, one scale per output channel",
    "int4_weight_only": "the variant's own int4 integers in the variant's own groups",
    "palettize": "expanded when exported: no smaller than its baseline",
}


def export(
    model: nn.Module,
    config: Mapping[str, Any],
    tokenizer: SavesTokenizer | None,
    changes: Sequence[Change],
    source: ModelSource,
    transforms: Sequence[TransformSpec],
    directory: Path,
    toolchain: Mapping[str, str],
) -> Artifact:
    """Write a model as an artifact of the format `openvino_ir`; the arguments are those of `exporters.torch.export`.

    Raises:
        StoreError: the directory is not empty or cannot be written.
        UnsupportedError: the model's forward has operations that are not known here.
    """
    kind = family(config.get("model_type"))
    dtype = next(module.weight.dtype for module in model.modules() if isinstance(module, nn.Embedding))
    contract = kind.contract(kind.Config.from_dict(config), str(dtype).removeprefix("torch."))
    if contract.is_encoder:
        raise UnsupportedError(
            f"write an encoder in the format {FORMAT}", "it has no KV cache", "Use the runtime torch"
        )
    lowering = _Lowering(describe(model, type(model).__module__), contract.context_length)
    written = lowering.model(contract.num_key_value_heads, contract.head_dim)
    with placed(directory) as partial:
        if tokenizer is not None:
            tokenizer.save(partial)
        (partial / "config.json").write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        ov.save_model(written, partial / MODEL, compress_to_fp16=False)
        artifact = exported_artifact(
            FORMAT,
            config,
            contract,
            lowering.weights,
            foreign_changes(changes, _NOTES, ""),
            source,
            transforms,
            toolchain,
            tuple(described(path) for path in sorted(partial.iterdir())),
        )
        write_record(artifact, partial)
    return artifact


class _Lowering:
    """Makes the nodes of a graph, each operation by the method of its name. Arithmetic is written in float32; the
    engine computes in the type of its precision hint."""

    def __init__(self, graph: Graph, context_length: int) -> None:
        self._graph = graph
        self._context = context_length
        self._made: dict[int, Any] = {}
        self._constants: dict[int, Any] = {}
        self._masks: dict[int | None, Any] = {}
        self._parameters: dict[str, Any] = {}
        self._alive: list[Any] = []
        self._held: dict[str, Any] = {}
        self._appended: dict[str, Any] = {}
        self.weights = ExportedWeights()

    def model(self, num_kv_heads: int, head_dim: int) -> Any:
        """The whole model, with its cache as state."""
        self._parameter("tokens", [1, -1], ov.Type.i64)
        self._parameter("positions", [-1], ov.Type.i64)
        self._parameter("token_positions", [-1], ov.Type.i64)
        self._parameter("beam_idx", [1], ov.Type.i32)
        nothing = ops.constant(np.zeros((1, num_kv_heads, 0, head_dim), dtype=np.float32))
        shape = ov.PartialShape([1, num_kv_heads, -1, head_dim])
        for layer in range(len(self._graph.appended)):
            for name in (f"key_{layer}", f"value_{layer}"):
                self._held[name] = ops.read_value(nothing, name, ov.Type.f32, shape)
        for value in self._graph.values():
            self._made[id(value)] = getattr(self, f"_{value.op}")(value)
        result = ops.result(self._made[id(self._graph.logits)])
        result.input(0).get_source_output().set_names({"logits"})
        sinks = [ops.assign(node, name) for name, node in self._appended.items()]
        return ov.Model([result], sinks, list(self._parameters.values()), "assay")

    # ------------------------------------------------------------------------------------------------ pieces

    def _parameter(self, name: str, shape: Sequence[int], dtype: Any) -> None:
        parameter = ops.parameter(ov.PartialShape(list(shape)), dtype, name=name)
        parameter.output(0).set_names({name})
        self._parameters[name] = parameter

    def _input(self, value: Value, at: int = 0) -> Any:
        operand = value.inputs[at]
        return self._weight_node(operand) if operand.op == "weight" else self._made[id(operand)]

    def _weight_node(self, value: Value) -> Any:
        """A plain weight in float32, stored in its own type."""
        if value.options["key"] not in self._constants:
            tensor = value.options["weights"].content
            self.weights.add(value.options["key"], tensor.nbytes)
            stored = self._constant(tensor, value.options["weights"].name)
            plain = tensor.dtype == torch.float32
            self._constants[value.options["key"]] = stored if plain else ops.convert(stored, "f32")
        return self._constants[value.options["key"]]

    def _quantised_node(self, value: Value) -> Any:
        """Integers times their scales, in float32: what the engine keeps as integers and multiplies on the way."""
        layer: Any = value.options["weights"].content
        name = value.options["weights"].name
        scale = layer.weight_scale.detach().to(torch.float16 if isinstance(layer, Int4Linear) else torch.float32)
        rows, columns = value.shape
        if isinstance(layer, Int4Linear):
            groups = (rows, columns // layer.group_size, layer.group_size)
            signed = (layer.weight_packed.detach() ^ 0x88).numpy()  # level + 8 to two's complement, both nibbles
            self.weights.add(value.options["key"], signed.nbytes + scale.nbytes)
            integers = ops.convert(self._shared(signed.reshape(-1), groups, ov.Type.i4, name), "f32")
            factors = ops.convert(self._constant(scale[:, :, None], f"{name}_scale"), "f32")
            return ops.reshape(ops.multiply(integers, factors), _numbers(rows, columns), False)
        self.weights.add(value.options["key"], layer.weight.nbytes + scale.nbytes)
        integers = ops.convert(ops.constant(layer.weight.detach().numpy(), name=name), "f32")
        return ops.multiply(integers, self._constant(scale[:, None], f"{name}_scale"))

    def _constant(self, tensor: Tensor, name: str) -> Any:
        """A constant of float32, float16 or bfloat16; numpy has no bfloat16, so the bytes are taken as they are."""
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        array = raw.view(np.uint16 if tensor.itemsize == 2 else np.float32)
        return self._shared(array, tensor.shape, _TYPES[tensor.dtype], name)

    def _shared(self, array: Any, shape: Sequence[int], dtype: Any, name: str) -> Any:
        """A constant that shares its memory with an array, which must live as long."""
        self._alive.append(array)
        return ops.constant(ov.Tensor(array, ov.Shape(list(shape)), dtype), name=name)

    # ------------------------------------------------------------------------------------------------ operations

    def _tokens(self, _: Value) -> Any:
        return self._parameters["tokens"]

    def _positions(self, _: Value) -> Any:
        return self._parameters["positions"]

    def _weight(self, _: Value) -> None:
        """Made where it is used."""

    def _quantised(self, _: Value) -> None:
        """Made where it is used."""

    def _embedding(self, value: Value) -> Any:
        self.weights.look_up(value.inputs[1].options["key"])
        return ops.gather(self._weight_node(value.inputs[1]), self._input(value), _number(0))

    def _rows_at_positions(self, value: Value) -> Any:
        self.weights.look_up(value.inputs[0].options["key"])
        return ops.gather(self._weight_node(value.inputs[0]), self._parameters["token_positions"], _number(0))

    def _linear(self, value: Value) -> Any:
        weight = value.inputs[1]
        self.weights.stream(weight.options["key"])
        node = self._quantised_node(weight) if weight.op == "quantised" else self._weight_node(weight)
        product = ops.matmul(self._input(value), node, False, True)
        return product if len(value.inputs) == 2 else ops.add(product, self._weight_node(value.inputs[2]))

    def _layer_norm(self, value: Value) -> Any:
        normal = ops.mvn(self._input(value), _numbers(-1), True, value.options["epsilon"], "inside_sqrt")
        scaled = ops.multiply(normal, self._weight_node(value.inputs[1]))
        return scaled if len(value.inputs) == 2 else ops.add(scaled, self._weight_node(value.inputs[2]))

    def _rms_norm(self, value: Value) -> Any:
        x = self._input(value)
        mean_square = ops.reduce_mean(ops.power(x, _float(2.0)), _numbers(-1), True)
        root = ops.sqrt(ops.add(mean_square, _float(value.options["epsilon"])))
        return ops.multiply(ops.multiply(x, ops.divide(_float(1.0), root)), self._weight_node(value.inputs[1]))

    def _angles(self, value: Value) -> Any:
        cos_TR, sin_TR = value.options["table"].slice(0, self._context, torch.empty(0))
        at = self._parameters["token_positions"]
        gathered = (
            ops.gather(ops.constant(table[: self._context].contiguous().numpy()), at, _number(0))
            for table in (cos_TR, sin_TR)
        )
        return (cos_TR.shape[1], *gathered)

    def _rotate(self, value: Value) -> Any:
        x, width = self._input(value), value.shape[3]
        rotated, cosines, signed_sines = self._made[id(value.inputs[1])]
        rest: list[Any] = []
        if rotated < width:
            parts = ops.variadic_split(x, _number(-1), _numbers(rotated, width - rotated))
            x, rest = parts.output(0), [parts.output(1)]
        halves = ops.split(x, _number(-1), 2)
        rolled = ops.concat([halves.output(1), halves.output(0)], -1)
        turned = ops.add(ops.multiply(x, cosines), ops.multiply(rolled, signed_sines))
        return ops.concat([turned, *rest], -1) if rest else turned

    def _append(self, value: Value) -> Any:
        name = f"{value.options['kind']}_{value.options['layer']}"
        held = ops.gather(self._held[name], self._parameters["beam_idx"], _number(0))
        self._appended[name] = ops.concat([held, self._input(value)], 2)
        return self._appended[name]

    def _attention(self, value: Value) -> Any:
        query, key, val = (self._made[id(each)] for each in value.inputs)
        heads, kv_heads, width = value.inputs[0].shape[1], value.inputs[1].shape[1], value.inputs[0].shape[3]
        repeated = [self._repeated(each, kv_heads, heads // kv_heads, width) for each in (key, val)]
        mask = self._mask(value.options["window"], key)
        if value.options["softcap"] is None:
            scale = _float(value.options["scale"])
            out = ops.scaled_dot_product_attention(query, *repeated, mask, scale, causal=False)
        else:
            cap = value.options["softcap"]
            scores = ops.multiply(ops.matmul(query, repeated[0], False, True), _float(value.options["scale"] / cap))
            capped = ops.add(ops.multiply(ops.tanh(scores), _float(cap)), mask)
            out = ops.matmul(ops.softmax(capped, -1), repeated[1], False, False)
        return ops.reshape(ops.transpose(out, _numbers(0, 2, 1, 3)), _numbers(1, -1, heads * width), False)

    def _repeated(self, node: Any, kv_heads: int, times: int, width: int) -> Any:
        """Key-value heads once for each query head that shares them, in the form that the engine fuses."""
        if times == 1:
            return node
        ones = ops.constant(np.ones((1, 1, times, 1, 1), dtype=np.float32))
        spread = ops.multiply(ops.unsqueeze(node, _number(2)), ones)
        return ops.reshape(spread, _numbers(1, kv_heads * times, -1, width), False)

    def _mask(self, window: int | None, key: Any) -> Any:
        """0 where a query sees a key, and minus a large number where not: `[1, 1, T, S]`, once for all layers."""
        if window not in self._masks:
            length = ops.squeeze(ops.gather(ops.shape_of(key), _numbers(2), _number(0)), _number(0))
            keys = ops.range(_number(0), length, _number(1), "i64")
            queries = ops.unsqueeze(self._parameters["token_positions"], _number(1))
            seen = ops.less_equal(keys, queries)
            if window is not None:
                near = ops.greater(keys, ops.subtract(queries, _number(window)))
                seen = ops.logical_and(seen, near)
            masked = ops.select(seen, _float(0.0), _float(_UNSEEN))
            self._masks[window] = ops.unsqueeze(masked, _numbers(0, 1))
        return self._masks[window]

    def _tanh(self, value: Value) -> Any:
        return ops.tanh(self._input(value))

    def _silu(self, value: Value) -> Any:
        return ops.swish(self._input(value))

    def _gelu(self, value: Value) -> Any:
        return ops.gelu(self._input(value), "tanh" if value.options["approximate"] == "tanh" else "erf")

    def _add(self, value: Value) -> Any:
        return ops.add(self._input(value), self._input(value, 1))

    def _multiply(self, value: Value) -> Any:
        return ops.multiply(self._input(value), self._input(value, 1))

    def _add_number(self, value: Value) -> Any:
        return ops.add(self._input(value), _float(value.options["number"]))

    def _multiply_number(self, value: Value) -> Any:
        return ops.multiply(self._input(value), _float(value.options["number"]))

    def _reshape(self, value: Value) -> Any:
        return ops.reshape(self._input(value), _numbers(*value.options["to"]), False)

    def _transpose(self, value: Value) -> Any:
        return ops.transpose(self._input(value), _numbers(*value.options["order"]))

    def _take(self, value: Value) -> Any:
        return ops.gather(self._input(value), _number(value.options["index"]), _number(value.options["axis"]))

    def _select(self, value: Value) -> Any:
        return ops.gather(self._input(value), self._input(value, 1), _number(1))


_UNSEEN = float(np.finfo(np.float32).min)


def _number(number: int) -> Any:
    return ops.constant(np.int64(number))


def _numbers(*numbers: int) -> Any:
    return ops.constant(np.array(numbers, dtype=np.int64))


def _float(number: float) -> Any:
    return ops.constant(np.float32(number))
