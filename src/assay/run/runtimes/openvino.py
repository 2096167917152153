"""The runtime `openvino`: OpenVINO on a CPU, with the KV cache as the engine's own state and no prefix cache.

Its precision hint is set to the variant's own type, never left to the engine. It refuses other devices, batches of
more than one sequence, and types that the processor has no instructions for.
Shape suffixes: T prompt tokens, K new tokens, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from assay.build.artifact_files import check_files, read_artifact
from assay.core.errors import UnsupportedError
from assay.core.records import Artifact, Decoding, Scalar, Target
from assay.run.cpus import usable_cpus
from assay.run.engine_session import (
    checked_tokens,
    require_decoding,
    require_length,
    require_rewind,
    require_target,
    require_window,
)
from assay.run.probe import Probe

if TYPE_CHECKING:
    from assay.run.session import LogitArray, Session, TokenArray

RUNTIME = "openvino"
_MODEL = "model.xml"
_HINTS = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16, "float16": ov.Type.f16}
_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
_CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}


def probe() -> Probe:
    """Which OpenVINO this is, which devices it finds, and the types that its CPU plug-in computes in."""
    core = ov.Core()
    return Probe(
        usable="CPU" in core.available_devices,
        version=ov.__version__.partition("-")[0],
        devices=("cpu",),
        facts={"openvino_devices": tuple(core.available_devices), "precisions": tuple(_capabilities(core))},
        reason="" if "CPU" in core.available_devices else "OpenVINO finds no CPU plug-in",
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Session:
    """Load an artifact of the format `openvino_ir`; see `torch_eager.open_session`.

    Raises:
        UnsupportedError: another format, device, batch or type than it can carry.
        ContractError: the capacity exceeds the model's context.
        CorruptFileError: the artifact is damaged.
    """
    require_target(RUNTIME, "openvino_ir", target, ("cpu",))
    artifact = read_artifact(directory)
    check_files(directory, artifact, verify=False)
    require_decoding(RUNTIME, decoding, capacity, batch, artifact)
    return OpenVinoSession(directory / _MODEL, artifact, decoding, capacity, target.threads or usable_cpus())


class OpenVinoSession:
    """One compiled graph with one state."""

    def __init__(self, path: Path, artifact: Artifact, decoding: Decoding, capacity: int, threads: int) -> None:
        core = ov.Core()
        contract = artifact.contract
        hint = _HINTS[contract.dtype]
        if _CAPABILITIES[contract.dtype] not in _capabilities(core):
            raise UnsupportedError(
                f"compute in {contract.dtype} in OpenVINO {ov.__version__.partition('-')[0]}",
                f"its CPU plug-in offers {', '.join(_capabilities(core))} on this processor",
                "Use fp32",
            )
        self._contract = contract
        self._chunk = decoding.prefill_chunk
        self._capacity = capacity
        asked = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": hint,
            "KV_CACHE_PRECISION": hint,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled: Any = core.compile_model(core.read_model(path), "CPU", asked)
        self._request: Any = self._compiled.create_infer_request()
        self._beam = np.zeros(1, dtype=np.int32)
        self._length = 0
        self._facts: dict[str, Scalar] = {
            "openvino": ov.__version__.partition("-")[0],
            "device": "cpu",
            "threads": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "activations_dtype": _NAMES[self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()],
            "precision_hint": self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
            "kv_cache_dtype": self._compiled.get_property("KV_CACHE_PRECISION").get_type_name(),
            "activation_quantisation": "off (dynamic quantisation group size 0)",
            "kv_cache": "the engine's own state",
            "prefix_cache": "none",
            "prefill_chunk": decoding.prefill_chunk,
            **_executed(self._compiled),
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened, as the compiled model tells it."""
        return self._facts

    @property
    def length(self) -> int:
        """Tokens in the sequence."""
        return self._length

    @property
    def kv_cache_bytes(self) -> int:
        """Bytes of the keys and values that are held; how much more the engine has reserved it does not tell."""
        contract = self._contract
        width = contract.num_key_value_heads * contract.head_dim * 2 * contract.num_hidden_layers
        return width * self._length * (4 if self._facts["kv_cache_dtype"] == "f32" else 2)

    def prefill(self, tokens_BT: TokenArray) -> LogitArray:
        """Forget the sequence, read a prompt, and return the logits of its last token, `[1, V]`."""
        tokens = checked_tokens(tokens_BT, self._contract.vocab_size)
        require_length(tokens.shape[1], self._capacity)
        self._request.reset_state()
        self._length = 0
        step = self._chunk or tokens.shape[1]
        for begin in range(0, tokens.shape[1], step):
            logits = self._append(tokens[:, begin : begin + step], last_only=True)
        return logits[:, -1]

    def decode(self, tokens_BK: TokenArray) -> LogitArray:
        """Append K tokens and return the logits after each, `[1, K, V]`."""
        tokens = checked_tokens(tokens_BK, self._contract.vocab_size)
        require_length(self._length + tokens.shape[1], self._capacity)
        return self._append(tokens, last_only=False)

    def logits(self, tokens_BT: TokenArray) -> LogitArray:
        """Logits at every position of an independent window, `[1, T, V]`; the sequence is not touched."""
        tokens = checked_tokens(tokens_BT, self._contract.vocab_size)
        require_window(tokens.shape[1], self._contract.context_length)
        other = self._compiled.create_infer_request()
        return _run(other, tokens, np.arange(tokens.shape[1], dtype=np.int64), 0, self._beam)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens. Raises ContractError."""
        require_rewind(length, self._length)
        if length == self._length:
            return
        if length == 0:
            self._request.reset_state()
        else:
            for state in self._request.query_state():
                held = state.state.data
                state.state = ov.Tensor(np.ascontiguousarray(held[:, :, :length]))
        self._length = length

    def sync(self) -> None:
        """Nothing to wait for: `infer` returns when it has finished."""

    def close(self) -> None:
        """Free the weights and the cache; a second call does nothing."""
        self._request = self._compiled = None

    def _append(self, tokens: TokenArray, last_only: bool) -> LogitArray:
        first = tokens.shape[1] - 1 if last_only else 0
        wanted = np.arange(first, tokens.shape[1], dtype=np.int64)
        logits = _run(self._request, tokens, wanted, self._length, self._beam)
        self._length += tokens.shape[1]
        return logits


def _run(request: Any, tokens: TokenArray, wanted: TokenArray, held: int, beam: Any) -> LogitArray:
    positions = np.arange(held, held + tokens.shape[1], dtype=np.int64)
    feeds = {
        "tokens": np.ascontiguousarray(tokens),
        "positions": wanted,
        "token_positions": positions,
        "beam_idx": beam,
    }
    for name, array in feeds.items():
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    request.infer()
    logits: LogitArray = np.array(request.get_tensor("logits").data, dtype=np.float32)
    return logits


def _capabilities(core: Any) -> list[str]:
    return [str(name) for name in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


def _executed(compiled: Any) -> dict[str, Scalar]:
    """Kernels and types of the compiled graph by count, and how many operations it has."""
    kernels: Counter[str] = Counter()
    executed = 0
    for node in compiled.get_runtime_model().get_ops():
        told = {key: str(value.astype(str)) for key, value in node.get_rt_info().items() if key in _RT_KEYS}
        if told["layerType"] in _NOT_RUN:
            continue
        executed += 1
        if told["layerType"] in _COMPUTING:
            kernels[f"{told['layerType']} {told['primitiveType']} {told['runtimePrecision']}"] += 1
    return {
        "kernels": tuple(f"{name} x{count}" for name, count in kernels.most_common()),
        "placement": (f"CPU: {executed} operations",),
        "dispatches": executed,
    }


_RT_KEYS = ("layerType", "primitiveType", "runtimePrecision")
_NOT_RUN = ("Const", "Input", "Output", "Parameter", "Result")
_COMPUTING = (
    "FullyConnected",
    "MatMul",
    "ScaledDotProductAttentionWithKVCache",
    "ScaledDotProductAttention",
    "MVN",
    "RMS",
)
