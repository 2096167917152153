"""The runtime `llama.cpp`, by xllamacpp: its server inside the worker's own process, asked over loopback.

It refuses batches and the absence of a KV cache. The library gives no logits, so that it owns its loop. Where it dies
of an illegal instruction the worker dies with it, and the row says so.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xllamacpp

from assay.build.artifact_files import check_files, read_artifact
from assay.core.errors import ContractError, EngineError, UnsupportedError
from assay.core.records import Absent, Artifact, Decoding, Measured, Scalar, Target
from assay.run.answers import believed, lied, quoted, whole_numbers
from assay.run.cpus import usable_cpus
from assay.run.event_stream import Server
from assay.run.probe import Probe
from assay.run.session import Generation

if TYPE_CHECKING:
    from assay.run.session import Generator

RUNTIME = "llama.cpp"
FORMATS = ("gguf", "gguf_source")
MODEL = "model.gguf"
PATIENCE_S = 600.0
"""A long prompt on a busy machine takes minutes, and nothing is said until its first token."""
_LOCAL = "127.0.0.1"
_ERRORS_ONLY = 1
_TAIL_BYTES = 4000


def probe() -> Probe:
    """Which llama.cpp this is, and for which instruction sets it was built."""
    return Probe(
        usable=True,
        version=xllamacpp.__version__ if hasattr(xllamacpp, "__version__") else Absent(reason="it does not tell"),
        devices=("cpu",),
        facts={"built_for": _built_for()},
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Generator:
    """Load an artifact of the format `gguf` or `gguf_source`.

    Args:
        directory: the artifact's.
        target: threads; 0 means as many as the process may use.
        decoding: `prefill_chunk` is llama.cpp's batch.
        capacity: tokens of the longest sequence.
        batch: 1.

    Raises:
        UnsupportedError: another format or device, a batch, or no KV cache.
        ContractError: the capacity exceeds the model's context.
        CorruptFileError: the artifact is damaged.
    """
    asked = f"open {directory} in llama.cpp"
    if target.format not in FORMATS:
        raise UnsupportedError(asked, f"this runtime reads GGUF, not {target.format}", "Build for gguf")
    if target.device != "cpu" or target.compute_units != "all":
        raise UnsupportedError(asked, "it runs on the CPU alone here", "Use device = 'cpu'")
    if batch != 1:
        raise UnsupportedError(asked, f"a batch of {batch} was asked for", "Use batch = 1, or a workload that serves")
    if decoding.kv_cache == "none":
        raise UnsupportedError(asked, "llama.cpp always keeps a KV cache", "Use the runtime torch")
    artifact = read_artifact(directory)
    check_files(directory, artifact, verify=False)
    if not 1 <= capacity <= artifact.contract.context_length:
        raise ContractError(
            f"open a session for {capacity} tokens",
            f"the model's context is {artifact.contract.context_length} tokens",
            "Ask for fewer tokens; nothing is clamped",
        )
    return LlamaCpp(directory / MODEL, artifact, target.threads or usable_cpus(), decoding, capacity)


class LlamaCpp:
    """One model in llama.cpp's server, as a `Generator`."""

    elsewhere = ""
    loaded_here = True
    kv_cache_bytes: Measured = Absent(reason="llama.cpp does not tell")

    def __init__(self, model: Path, artifact: Artifact, threads: int, decoding: Decoding, capacity: int) -> None:
        self._vocab_size = artifact.contract.vocab_size
        self._capacity = capacity
        self._known: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
        parameters = _parameters(model, threads, decoding, capacity)
        self._engine: Any = _loaded(parameters, model)
        self._server = Server(self._engine.listening_address, PATIENCE_S)
        # Its loop answers this; a server that is closed before its loop has begun would never end.
        self._server.wait_for("/slots")
        self._facts: dict[str, Scalar] = {
            "loop": "llama.cpp's own",
            "threads": threads,
            "built_for": _built_for(),
            "kv_cache": "static, float16",
            "prefill_chunk": int(parameters.n_ubatch),
            "prefix_cache": "off",
            "end_of_text": "suppressed (ignore_eos)",
            "resident_weight_bytes": artifact.weight_bytes,
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened; `prefix_cache` is checked at every request."""
        return self._facts

    def generate(self, tokens: Sequence[int], new_tokens: int) -> Generation:
        """Continue a prompt; see `session.Generator`. Raises EngineError, ContractError, UnsupportedError."""
        asked = f"{new_tokens} tokens after a prompt of {len(tokens)} from llama.cpp"
        if len(tokens) + new_tokens > self._capacity + 1:  # the last token is chosen and not read
            raise ContractError(asked, f"the session was opened for {self._capacity}", "Open it with a larger capacity")
        started_ns = time.perf_counter_ns()
        times_ns: list[int] = []
        ids: list[int] = []
        last: Mapping[str, Any] = {}
        for event in self._server.stream("/completion", _request(tokens, new_tokens, stream=True)):
            last = event.content
            [count] = whole_numbers([last.get("tokens_predicted")], "tokens_predicted", asked)
            # An event comes when its text is whole: what came with it came at once.
            times_ns += [event.arrived_ns] * max(0, count - len(times_ns))
            ids += whole_numbers(last.get("tokens", []), "tokens", asked)
        elapsed_ns = time.perf_counter_ns() - started_ns
        if not last.get("stop"):
            raise lied(asked, "the stream ended before the answer did")
        [prompt_tokens] = whole_numbers([last.get("tokens_evaluated")], "tokens_evaluated", asked)
        [cached] = whole_numbers([last.get("timings", {}).get("cache_n", 0)], "cache_n", asked)
        if cached:
            raise lied(asked, f"{cached} tokens of the prompt came from a cache that was turned off")
        whole = tuple(ids) if len(ids) == new_tokens else self._ids(tokens, new_tokens, asked)
        made = Generation(whole, tuple(times_ns), prompt_tokens, cached)
        return believed(made, len(tokens), new_tokens, self._vocab_size, elapsed_ns, asked)

    def _ids(self, tokens: Sequence[int], new_tokens: int, asked: str) -> tuple[int, ...]:
        """All ids, asked for once more and not timed: a stream leaves out those whose text is not whole."""
        key = (tuple(tokens), new_tokens)
        if key not in self._known:
            told = self._server.post("/completion", _request(tokens, new_tokens, stream=False))
            self._known[key] = whole_numbers(told.get("tokens"), f"tokens of {quoted(dict(told))}", asked)
        return self._known[key]

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        self._engine = None


def _parameters(model: Path, threads: int, decoding: Decoding, capacity: int) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx = capacity
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    # A worker whose turn it is not must sleep, and one prompt must not help the next.
    parameters.cpuparams.poll = parameters.cpuparams_batch.poll = 0
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.warmup = False
    parameters.verbosity = _ERRORS_ONLY
    parameters.hostnames = [_LOCAL]
    parameters.port = 0
    if decoding.prefill_chunk:
        parameters.n_batch = parameters.n_ubatch = decoding.prefill_chunk
    return parameters


def _loaded(parameters: Any, model: Path) -> Any:
    """The server with its model. Raises EngineError with llama.cpp's own words, which it prints and does not raise."""
    with tempfile.TemporaryFile() as printed:
        kept = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            return xllamacpp.Server(parameters)
        except RuntimeError as error:
            printed.seek(max(0, printed.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = [line for line in printed.read().decode(errors="replace").splitlines() if " E " in line]
            said = lines[0].partition(" E ")[2] if lines else str(error)
            raise EngineError(f"open {model} in llama.cpp", said, "Build the artifact again", "crashed") from None
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _request(tokens: Sequence[int], new_tokens: int, *, stream: bool) -> dict[str, Any]:
    return {
        "prompt": list(tokens),
        "n_predict": new_tokens,
        "samplers": ["top_k", "temperature"],
        "top_k": 1,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
        "return_tokens": True,
        "stream": stream,
    }


def _built_for() -> tuple[str, ...]:
    """What the library was compiled for: `AVX2`, `OPENMP`..."""
    told = str(xllamacpp.get_system_info()).partition(":")[2]
    return tuple(part.partition("=")[0].strip() for part in told.split("|") if part.partition("=")[2].strip() == "1")
