"""The ONNX format: one graph with the KV cache as explicit inputs and outputs, its weights beside it.

It carries fp32, fp16 and bf16, and the very integers of int8 and int4 weights in MatMulNBits. Attention is ONNX
Runtime's GroupQueryAttention, so the graph is for that engine; it refuses heads that this does not take, and what
`build.graph` has no word for.

Inputs: `tokens` int64 [1, T]; `positions` int64 [K], the tokens of which logits are wanted; `seqlens_k` int32 [1], the
length after this call less one; `total_sequence_length` int32 [1], the length; `token_positions` int64 [T] where
positions are learned; `past_key_0` ... [1, G, M, H], whose first tokens are held. Outputs: `logits` [1, K, V];
`present_key_0` ...
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from assay.build.artifact_files import SavesTokenizer, artifact_digest, described, placed, read_artifact, write_record
from assay.build.export_record import ExportedWeights, exported_artifact, foreign_changes
from assay.build.families import family
from assay.build.graph import QUANTISED, Graph, Value, describe
from assay.build.nn.int4 import Int4Linear, pack_levels
from assay.core.errors import UnsupportedError
from assay.core.records import Artifact, Change, ModelSource, TransformSpec

__all__ = ["FORMAT", "TOOLCHAIN", "artifact_digest", "export", "read_artifact"]

FORMAT = "onnx"
TOOLCHAIN = ("onnx",)
"""Packages that write this format, beside those that build every artifact."""
MODEL = "model.onnx"
_DATA = "model.onnx.data"
_OPSET = 21
_IR_VERSION = 10
_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.int64: TensorProto.INT64,
    torch.uint8: TensorProto.UINT8,
}
_ALIGNMENT = 64
_INLINE_BYTES = 1024
"""Smaller tensors stand in the graph itself, where the engine may read their values."""


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
    """Write a model as an artifact of the format `onnx`; the arguments are those of `exporters.torch.export`.

    Raises:
        StoreError: the directory is not empty or cannot be written.
        UnsupportedError: the model's forward has operations that are not known here.
    """
    kind = family(config.get("model_type"))
    quantised = any(isinstance(module, QUANTISED) for module in model.modules())
    stored = next(module.weight.dtype for module in model.modules() if isinstance(module, nn.Embedding))
    dtype = torch.float32 if quantised else stored
    contract = kind.contract(kind.Config.from_dict(config), str(dtype).removeprefix("torch."))
    if contract.is_encoder:
        raise UnsupportedError(
            f"write an encoder in the format {FORMAT}", "it has no KV cache", "Use the runtime torch"
        )
    lowering = _Lowering(describe(model, type(model).__module__), dtype, contract.context_length)
    proto = lowering.model(contract.num_key_value_heads, contract.head_dim)
    with placed(directory) as partial:
        if tokenizer is not None:
            tokenizer.save(partial)
        (partial / "config.json").write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        _write_data(partial / _DATA, lowering.tensors, proto)
        (partial / MODEL).write_bytes(proto.SerializeToString())
        artifact = exported_artifact(
            FORMAT,
            config,
            contract,
            lowering.weights,
            foreign_changes(changes, _NOTES, "the activations are float32: MatMulNBits takes no bfloat16"),
            source,
            transforms,
            toolchain,
            tuple(described(path) for path in sorted(partial.iterdir())),
        )
        write_record(artifact, partial)
    return artifact


_NOTES = {
    "int8_weight_only": "int8 in memory too: the variant's own integers in MatMulNBits, 8 bits",
    "int4_weight_only": "int4 in memory too: the variant's own integers in MatMulNBits, 4 bits",
    "palettize": "expanded when exported: no smaller than its baseline",
}


class _Lowering:
    """Writes the nodes of a graph, each operation by the method of its name."""

    def __init__(self, graph: Graph, dtype: torch.dtype, context_length: int) -> None:
        self._graph = graph
        self._dtype = dtype
        self._context = context_length
        self._names: dict[int, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._initial: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.weights = ExportedWeights()
        self._embedded: set[int] = set()
        self._tables: dict[str, str] = {}

    def model(self, num_kv_heads: int, head_dim: int) -> onnx.ModelProto:
        """The whole model, with its weights named and not yet written."""
        values = list(self._graph.values())
        self._embedded = {value.inputs[1].options["key"] for value in values if value.op == "embedding"}
        for value in values:
            self._names[id(value)] = getattr(self, f"_{value.op}")(value)
        layers = len(self._graph.appended)
        self._node("Identity", [self._names[id(self._graph.logits)]], outputs=["logits"])
        element = _TYPES[self._dtype]
        logits: tuple[int, list[Any]] = element, [1, "wanted", "vocabulary"]
        cache: dict[str, tuple[int, list[Any]]] = {
            f"{side}_{kind}_{layer}": (element, [1, num_kv_heads, f"{side}_capacity", head_dim])
            for side in ("past", "present")
            for kind in ("key", "value")
            for layer in range(layers)
        }
        outputs = ["logits", *(name for name in cache if name.startswith("present"))]
        nodes = _needed(self._nodes, outputs)
        used = {name for node in nodes for name in node.input}
        inputs: dict[str, tuple[int, list[Any]]] = {
            "tokens": (TensorProto.INT64, [1, "new"]),
            "positions": (TensorProto.INT64, ["wanted"]),
            "token_positions": (TensorProto.INT64, ["new"]),
            "seqlens_k": (TensorProto.INT32, [1]),
            "total_sequence_length": (TensorProto.INT32, [1]),
            **{name: told for name, told in cache.items() if name.startswith("past")},
        }
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name in used}
        made = helper.make_graph(
            nodes,
            "assay",
            [helper.make_tensor_value_info(name, *told) for name, told in inputs.items() if name in used],
            [helper.make_tensor_value_info(name, *cache.get(name, logits)) for name in outputs],
        )
        return helper.make_model(
            made,
            opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)],
            ir_version=_IR_VERSION,
            producer_name="assay",
        )

    # ------------------------------------------------------------------------------------------------ pieces

    def _node(self, op: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any) -> str:
        named = list(outputs) or [f"{op}_{len(self._nodes)}"]
        domain = "com.microsoft" if op in _CONTRIB else ""
        self._nodes.append(
            helper.make_node(op, list(inputs), named, name=f"{op}_{len(self._nodes)}", domain=domain, **attributes)
        )
        return named[0]

    def _tensor(self, name: str, tensor: Tensor) -> str:
        self.tensors[name] = tensor
        return name

    def _integers(self, *numbers: int) -> str:
        return self._tensor("integers_" + "_".join(map(str, numbers)), torch.tensor(numbers, dtype=torch.int64))

    def _input(self, value: Value, at: int = 0) -> str:
        return self._names[id(value.inputs[at])]

    def _weight_tensor(self, value: Value, transposed: bool = False) -> str:
        """A plain weight, `[O, I]` as it is or `[I, O]`."""
        weights = value.options["weights"]
        tensor = weights.content.to(self._dtype)
        self.weights.add(value.options["key"], tensor.nbytes)
        return self._tensor(weights.name + (".transposed" if transposed else ""), tensor.t() if transposed else tensor)

    # ------------------------------------------------------------------------------------------------ operations

    def _tokens(self, _: Value) -> str:
        return "tokens"

    def _positions(self, _: Value) -> str:
        return "positions"

    def _weight(self, value: Value) -> str:
        """Written where it is used, in the form that the use wants."""
        return str(value.options["weights"].name)

    def _quantised(self, value: Value) -> str:
        return str(value.options["weights"].name)

    def _embedding(self, value: Value) -> str:
        self.weights.look_up(value.inputs[1].options["key"])
        return self._node("Gather", [self._weight_tensor(value.inputs[1]), self._input(value)])

    def _rows_at_positions(self, value: Value) -> str:
        self.weights.look_up(value.inputs[0].options["key"])
        return self._node("Gather", [self._weight_tensor(value.inputs[0]), "token_positions"])

    def _linear(self, value: Value) -> str:
        x, weight = self._input(value), value.inputs[1]
        if weight.op == "quantised":
            out = self._matmul_nbits(x, weight)
        elif weight.options["key"] in self._embedded:  # one copy for both: Gemm reads it as it lies
            flat = self._node("Reshape", [x, self._integers(-1, weight.shape[1])])
            product = self._node("Gemm", [flat, self._weight_tensor(weight)], transB=1)
            out = self._node("Unsqueeze", [product, self._integers(0)])
        else:
            out = self._node("MatMul", [x, self._weight_tensor(weight, transposed=True)])
        self.weights.stream(weight.options["key"])
        if len(value.inputs) == 3:
            out = self._node("Add", [out, self._weight_tensor(value.inputs[2])])
        return out

    def _matmul_nbits(self, x: str, weight: Value) -> str:
        layer: Any = weight.options["weights"].content
        name = weight.options["weights"].name
        bits, block, packed, scales = _nbits(layer)
        self.weights.add(weight.options["key"], packed.nbytes + scales.nbytes)
        inputs = [x, self._tensor(f"{name}.packed", packed), self._tensor(f"{name}.scales", scales)]
        return self._node(
            "MatMulNBits",
            inputs,
            K=layer.in_features,
            N=layer.out_features,
            bits=bits,
            block_size=block,
            accuracy_level=_FLOAT32_PRODUCTS,
        )

    def _layer_norm(self, value: Value) -> str:
        inputs = [self._input(value), *(self._weight_tensor(weight) for weight in value.inputs[1:])]
        return self._node("LayerNormalization", inputs, axis=-1, epsilon=value.options["epsilon"])

    def _rms_norm(self, value: Value) -> str:
        inputs = [self._input(value), self._weight_tensor(value.inputs[1])]
        return self._node("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=value.options["epsilon"])

    def _angles(self, value: Value) -> str:
        cos_TH, sin_TH = value.options["table"].slice(0, self._context, torch.empty(0, dtype=self._dtype))
        half = cos_TH.shape[1] // 2
        which = f"{id(value.options['table'])}"
        self._tables.setdefault(which, str(len(self._tables)))
        self._tensor(f"cosines_{self._tables[which]}", cos_TH[: self._context, :half].clone())
        self._tensor(f"sines_{self._tables[which]}", sin_TH[: self._context, half:].clone())
        return self._tables[which]

    def _rotate(self, value: Value) -> str:
        return "rotated in attention"

    def _append(self, value: Value) -> str:
        return f"past_{value.options['kind']}_{value.options['layer']}"

    def _attention(self, value: Value) -> str:
        query, key, val = value.inputs
        new_key, new_value = key.inputs[0], val.inputs[0]
        rotated = [each.op == "rotate" for each in (query, new_key)]
        if rotated[0] != rotated[1] or new_value.op == "rotate":
            raise UnsupportedError("write attention in ONNX", "not both queries and keys are rotated", "Use torch")
        table = self._names[id(query.inputs[1])] if rotated[0] else ""
        self._require_heads(query.shape[3], self.tensors[f"cosines_{table}"].shape[1] if rotated[0] else 0)
        if rotated[0]:
            query, new_key = query.inputs[0], new_key.inputs[0]
        inputs = [self._flat(each) for each in (query, new_key, new_value)]
        inputs += [self._names[id(key)], self._names[id(val)], "seqlens_k", "total_sequence_length"]
        inputs += [f"cosines_{table}", f"sines_{table}"] if rotated[0] else []
        layer = key.options["layer"]
        window, softcap = value.options["window"], value.options["softcap"]
        return self._node(
            "GroupQueryAttention",
            inputs,
            outputs=[f"attention_{layer}", f"present_key_{layer}", f"present_value_{layer}"],
            num_heads=query.shape[1],
            kv_num_heads=key.shape[1],
            scale=value.options["scale"],
            do_rotary=int(rotated[0]),
            local_window_size=-1 if window is None else window,
            softcap=0.0 if softcap is None else softcap,
        )

    def _require_heads(self, width: int, half_rotated: int) -> None:
        """Refuse what the operation would refuse when it runs."""
        multiple = 16 if half_rotated else 8
        if width % multiple or half_rotated % 8:
            raise UnsupportedError(
                "write attention for ONNX Runtime",
                f"its GroupQueryAttention takes heads in multiples of {multiple} and rotates multiples of 16 "
                f"dimensions; these have {width}, of which {2 * half_rotated} are rotated",
                "Use another runtime",
            )

    def _flat(self, value: Value) -> str:
        """`[1, T, N * H]` of `[1, N, T, H]`, without moving anything where that is what the model began with."""
        width = value.shape[1] * value.shape[3]
        inner = value.inputs[0]
        if value.op == "transpose" and value.options["order"] == (0, 2, 1, 3) and inner.op == "reshape":
            return self._input(inner)
        if value.op == "transpose" and value.options["order"] == (0, 2, 1, 3):
            return self._node("Reshape", [self._names[id(inner)], self._integers(1, -1, width)])
        if value.op == "take" and value.options["axis"] == 0 and inner.op == "transpose":
            parts = inner.inputs[0]
            if inner.options["order"] == (2, 0, 3, 1, 4) and parts.op == "reshape" and parts.shape[2] == 3:
                first = value.options["index"] * width
                return self._node(
                    "Slice",
                    [self._input(parts), self._integers(first), self._integers(first + width), self._integers(2)],
                )
        swapped = self._node("Transpose", [self._names[id(value)]], perm=[0, 2, 1, 3])
        return self._node("Reshape", [swapped, self._integers(1, -1, width)])

    def _tanh(self, value: Value) -> str:
        return self._node("Tanh", [self._input(value)])

    def _silu(self, value: Value) -> str:
        return self._node("Mul", [self._input(value), self._node("Sigmoid", [self._input(value)])])

    def _gelu(self, value: Value) -> str:
        return self._node("Gelu", [self._input(value)], approximate=value.options["approximate"])

    def _add(self, value: Value) -> str:
        return self._node("Add", [self._operand(value, 0), self._operand(value, 1)])

    def _multiply(self, value: Value) -> str:
        return self._node("Mul", [self._operand(value, 0), self._operand(value, 1)])

    def _operand(self, value: Value, at: int) -> str:
        operand = value.inputs[at]
        return self._weight_tensor(operand) if operand.op == "weight" else self._input(value, at)

    def _add_number(self, value: Value) -> str:
        return self._node("Add", [self._operand(value, 0), self._number(value.options["number"])])

    def _multiply_number(self, value: Value) -> str:
        return self._node("Mul", [self._operand(value, 0), self._number(value.options["number"])])

    def _number(self, number: float) -> str:
        return self._tensor(f"number_{number!r}", torch.tensor(number, dtype=self._dtype))

    def _reshape(self, value: Value) -> str:
        return self._node("Reshape", [self._input(value), self._integers(*value.options["to"])])

    def _transpose(self, value: Value) -> str:
        return self._node("Transpose", [self._input(value)], perm=list(value.options["order"]))

    def _take(self, value: Value) -> str:
        index = self._tensor(f"index_{value.options['index']}", torch.tensor(value.options["index"]))
        return self._node("Gather", [self._input(value), index], axis=value.options["axis"])

    def _select(self, value: Value) -> str:
        return self._node("Gather", [self._input(value), self._input(value, 1)], axis=1)


_CONTRIB = ("GroupQueryAttention", "MatMulNBits")
_FLOAT32_PRODUCTS = 1
"""`accuracy_level` of MatMulNBits: products of float32, so that activations are not quantised unasked."""


def _nbits(layer: Any) -> tuple[int, int, Tensor, Tensor]:
    """Bits, block, integers `[O, blocks, bytes]` and float32 scales of a quantised layer as MatMulNBits wants them.

    Int8 weights have one scale per row there, which is repeated for every block; their integers are stored plus 128.
    """
    rows, columns = layer.out_features, layer.in_features
    if isinstance(layer, Int4Linear):
        packed = pack_levels(layer.levels()).view(rows, -1, layer.group_size // 2)
        return 4, layer.group_size, packed, layer.weight_scale.detach().to(torch.float32).flatten()
    block = max(size for size in (16, 32, 64, 128) if size == 16 or columns % size == 0)
    blocks = math.ceil(columns / block)
    padded = torch.full((rows, blocks * block), 128, dtype=torch.uint8)
    padded[:, :columns] = (layer.weight.detach().to(torch.int16) + 128).to(torch.uint8)
    scales = layer.weight_scale.detach().to(torch.float32)[:, None].expand(rows, blocks)
    return 8, block, padded.view(rows, blocks, block), scales.flatten()


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs are computed from, in their order."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if any(name in wanted for name in node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _write_data(path: Path, tensors: Mapping[str, Tensor], proto: onnx.ModelProto) -> None:
    """Write the tensors one after another into a file of their own, and their places into the graph."""
    with path.open("wb") as file:
        for name, tensor in tensors.items():
            raw = _bytes(tensor)
            stored = TensorProto(name=name, data_type=_TYPES[tensor.dtype], dims=list(tensor.shape))
            if raw.nbytes < _INLINE_BYTES:
                stored.raw_data = raw.tobytes()
            else:
                file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                stored.data_location = TensorProto.EXTERNAL
                for key, value in (("location", path.name), ("offset", file.tell()), ("length", raw.nbytes)):
                    stored.external_data.add(key=key, value=str(value))
                file.write(raw.data)
            proto.graph.initializer.append(stored)


def _bytes(tensor: Tensor) -> Any:
    """The bytes of a tensor, as numpy."""
    return np.ascontiguousarray(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
