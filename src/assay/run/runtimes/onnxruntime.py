"""The runtime `onnxruntime`: ONNX Runtime on a CPU, with the KV cache in buffers that it writes in place.

It refuses other devices, batches of more than one sequence, and types that its CPU provider has no kernels for.
Shape suffixes: T prompt tokens, K new tokens, V vocabulary.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

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

RUNTIME = "onnxruntime"
_PROVIDER = "CPUExecutionProvider"
_MODEL = "model.onnx"
_NUMPY = {"float32": np.float32, "float16": np.float16}


def probe() -> Probe:
    """Which ONNX Runtime this is, its providers and the types that its CPU provider computes in."""
    return Probe(
        usable=True,
        version=ort.__version__,
        devices=("cpu",),
        facts={"providers": tuple(ort.get_available_providers()), "precisions": ("fp32", "fp16", "int8", "int4")},
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Session:
    """Load an artifact of the format `onnx` and allocate its KV cache; see `torch_eager.open_session`.

    Raises:
        UnsupportedError: another format, device, batch or type than it can carry, with ONNX Runtime's words.
        ContractError: the capacity exceeds the model's context.
        CorruptFileError: the artifact is damaged.
    """
    require_target(RUNTIME, "onnx", target, ("cpu",))
    artifact = read_artifact(directory)
    check_files(directory, artifact, verify=False)
    require_decoding(RUNTIME, decoding, capacity, batch, artifact)
    return OnnxSession(directory / _MODEL, artifact, decoding, capacity, target.threads or usable_cpus())


class OnnxSession:
    """One loaded graph with one KV cache of fixed capacity."""

    def __init__(self, path: Path, artifact: Artifact, decoding: Decoding, capacity: int, threads: int) -> None:
        contract = artifact.contract
        self._contract = contract
        self._chunk = decoding.prefill_chunk
        self._capacity = capacity
        self._threads = threads
        self._path = path
        self._engine: Any = _load(path, _options(threads), contract.dtype)
        self._inputs = {told.name for told in self._engine.get_inputs()}
        self._binding: Any = self._engine.io_binding()
        self._dtype = _NUMPY[contract.dtype]
        self._caches = self._new_caches(capacity)
        self._length = 0
        self._facts: dict[str, Scalar] = {
            "onnxruntime": ort.__version__,
            "device": "cpu",
            "providers": tuple(self._engine.get_providers()),
            "threads": threads,
            "activations_dtype": contract.dtype,
            "kv_cache": "static",
            "prefix_cache": "none",
            "prefill_chunk": decoding.prefill_chunk,
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened. Kernels by type come from a profiled pass of a second session, once something has run."""
        if self._length and "kernels" not in self._facts and self._engine is not None:
            self._facts |= _profiled(self._path, self._threads, self._contract.dtype, self._feeds)
        return self._facts

    @property
    def length(self) -> int:
        """Tokens in the sequence."""
        return self._length

    @property
    def kv_cache_bytes(self) -> int:
        """Bytes allocated for the KV cache."""
        return sum(int(np.prod(cache.shape())) * np.dtype(self._dtype).itemsize for cache in self._caches.values())

    def prefill(self, tokens_BT: TokenArray) -> LogitArray:
        """Forget the sequence, read a prompt, and return the logits of its last token, `[1, V]`."""
        tokens = checked_tokens(tokens_BT, self._contract.vocab_size)
        require_length(tokens.shape[1], self._capacity)
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
        every = np.arange(tokens.shape[1], dtype=np.int64)
        return self._run(tokens, every, 0, self._new_caches(tokens.shape[1]))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens. Raises ContractError."""
        require_rewind(length, self._length)
        self._length = length

    def sync(self) -> None:
        """Nothing to wait for: a run returns when it has finished."""

    def close(self) -> None:
        """Free the weights and the cache; a second call does nothing."""
        self._engine = self._binding = None
        self._caches = {}

    def _append(self, tokens: TokenArray, last_only: bool) -> LogitArray:
        first = tokens.shape[1] - 1 if last_only else 0
        wanted = np.arange(first, tokens.shape[1], dtype=np.int64)
        logits = self._run(tokens, wanted, self._length, self._caches)
        self._length += tokens.shape[1]
        return logits

    def _run(self, tokens: TokenArray, wanted: TokenArray, held: int, caches: Mapping[str, Any]) -> LogitArray:
        binding = self._binding
        for name, array in self._feeds(tokens, wanted, held).items():
            binding.bind_cpu_input(name, array)
        for name, cache in caches.items():
            binding.bind_ortvalue_input(f"past_{name}", cache)
            binding.bind_ortvalue_output(f"present_{name}", cache)
        binding.bind_output("logits")
        self._engine.run_with_iobinding(binding)
        logits: LogitArray = binding.get_outputs()[-1].numpy().astype(np.float32, copy=False)
        binding.clear_binding_outputs()
        return logits

    def _feeds(self, tokens: TokenArray, wanted: TokenArray, held: int) -> dict[str, Any]:
        end = held + tokens.shape[1]
        feeds = {
            "tokens": np.ascontiguousarray(tokens),
            "positions": wanted,
            "token_positions": np.arange(held, end, dtype=np.int64),
            "seqlens_k": np.array([end - 1], dtype=np.int32),
            "total_sequence_length": np.array([end], dtype=np.int32),
        }
        return {name: array for name, array in feeds.items() if name in self._inputs}

    def _new_caches(self, capacity: int) -> dict[str, Any]:
        """Keys and values of each layer by name, written and not only reserved."""
        contract = self._contract
        shape = (1, contract.num_key_value_heads, capacity, contract.head_dim)
        return {
            f"{kind}_{layer}": ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype=self._dtype))
            for layer in range(contract.num_hidden_layers)
            for kind in ("key", "value")
        }


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _load(path: Path, options: Any, dtype: str) -> Any:
    if dtype not in _NUMPY:
        reason = _refusal(path, options)
        raise UnsupportedError(
            f"run a graph of {dtype} in ONNX Runtime {ort.__version__} on a CPU",
            reason or f"its KV cache of {dtype} cannot be passed from numpy",
            "Use fp32, int8 or int4",
        )
    try:
        return ort.InferenceSession(str(path), options, providers=[_PROVIDER])
    except _REFUSALS as error:
        raise UnsupportedError(
            f"run a graph of {dtype} in ONNX Runtime {ort.__version__} on a CPU", _words(error), "Use fp32"
        ) from error


_REFUSALS = (
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
)


def _refusal(path: Path, options: Any) -> str:
    """What ONNX Runtime itself says of a graph that it cannot run; empty where it loads it."""
    try:
        ort.InferenceSession(str(path), options, providers=[_PROVIDER])
    except _REFUSALS as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _profiled(path: Path, threads: int, dtype: str, feeds: Any) -> dict[str, Scalar]:
    """Kernels, their types and their provider, as ONNX Runtime's profiler names them in a pass of one token."""
    options = _options(threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        engine = ort.InferenceSession(str(path), options, providers=[_PROVIDER])
        arrays = feeds(np.zeros((1, 1), dtype=np.int64), np.zeros(1, dtype=np.int64), 0)
        for told in engine.get_inputs():
            if told.name.startswith("past_"):
                shape = [length if isinstance(length, int) else 1 for length in told.shape]
                arrays[told.name] = np.zeros(shape, dtype=_NUMPY[dtype])
        engine.run(["logits"], arrays)
        events = json.loads(Path(engine.end_profiling()).read_text())
    nodes = [event["args"] for event in events if event.get("cat") == "Node" and "provider" in event.get("args", {})]
    kernels = Counter(f"{node['op_name']} {_types(node)}".strip() for node in nodes)
    places = Counter(node["provider"] for node in nodes)
    return {
        "kernels": tuple(f"{name} x{count}" for name, count in kernels.most_common() if _computes(name)),
        "placement": tuple(f"{provider}: {count} operations" for provider, count in places.items()),
        "dispatches": len(nodes),
    }


def _types(node: Mapping[str, Any]) -> str:
    shapes = node.get("output_type_shape", [])
    return "/".join(sorted({kind for shape in shapes for kind in shape}))


def _computes(name: str) -> bool:
    return any(part in name for part in ("MatMul", "Gemm", "Attention", "Norm"))
