"""The runtime `runner`: any command, or any listener on a TCP port, that speaks the protocol of docs/runner.md.

It refuses batches, a vocabulary that is not the model's, and every answer that cannot be true.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.build.artifact_files import read_artifact
from assay.core.errors import EngineError, UnsupportedError
from assay.core.records import Absent, Decoding, Measured, Scalar, Target
from assay.run.answers import believed, lied, quoted, whole_numbers
from assay.run.probe import Probe
from assay.run.runner_line import Message, RunnerLine
from assay.run.session import Generation

if TYPE_CHECKING:
    from assay.run.session import Generator

RUNTIME = "runner"
PROTOCOL = 1

OPEN_PATIENCE_S = 600.0
"""A phone may compile a model for minutes."""
ANSWER_PATIENCE_S = 300.0

_FAILURES = {"unsupported", "out_of_memory", "crashed"}


def probe() -> Probe:
    """Always usable: whether a runner works is told by `assay runner check`."""
    return Probe(
        usable=True,
        version=Absent(reason="part of Assay"),
        devices=("cpu",),
        facts={"use": "runner:COMMAND or runner:HOST:PORT; see `assay runner check`"},
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Generator:
    """Start the command of `target.runtime` (`runner:COMMAND`), or call the listener, and have it open the artifact.

    Args:
        directory: an artifact of the format `torch`, which the runner may read, or leave for a model of its own.
        target: its `runtime` holds the command or the address.
        decoding: told to the runner.
        capacity: tokens of the longest sequence.
        batch: 1.

    Raises:
        UnsupportedError: a batch, or the runner refuses, or it has another vocabulary.
        EngineError: it cannot be started or reached, dies, hangs, or answers what cannot be true.
    """
    if batch != 1:
        raise UnsupportedError(
            f"open the runner for {batch} sequences", "a runner takes one at a time", "Ask for batch = 1"
        )
    contract = read_artifact(directory).contract
    model = model_of(directory, target.format)
    how = {"capacity": capacity, "threads": target.threads, "decoding": decoding.model_dump(mode="json")}
    runner = Runner(RunnerLine(target.runtime.partition(":")[2]))
    try:
        runner.open(model, how)
        if runner.vocab_size != contract.vocab_size:
            raise UnsupportedError(
                f"run {directory} with {runner.address}",
                f"the runner's vocabulary has {runner.vocab_size} tokens, the model's has {contract.vocab_size}",
                "Have it run the same model",
            )
    except BaseException:
        runner.close()
        raise
    return runner


def model_of(directory: Path, format_name: str) -> dict[str, Any]:
    """What `open` tells a runner of the artifact in `directory`. Raises as `build.artifact_files.read_artifact`."""
    contract = read_artifact(directory).contract
    return {
        "directory": str(directory.resolve()),
        "format": format_name,
        "architecture": contract.architecture,
        "dtype": contract.dtype,
        "vocab_size": contract.vocab_size,
        "context_length": contract.context_length,
    }


class Runner:
    """One runner that was opened, as a `Generator`."""

    loaded_here = True
    kv_cache_bytes: Measured = Absent(reason="the runner does not tell")

    def __init__(
        self, line: RunnerLine, open_patience_s: float = OPEN_PATIENCE_S, patience_s: float = ANSWER_PATIENCE_S
    ):
        self._line = line
        self._open_patience_s = open_patience_s
        self._patience_s = patience_s
        self._requests = 0
        self._facts: dict[str, Scalar] = {}
        self._least_overhead_ns: int | None = None
        self.address = line.address
        self.is_remote = line.is_remote
        self.vocab_size = 0
        self.exit_status: int | None = None

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What the runner told of itself, and the least time that an answer was under way beside its own."""
        if self._least_overhead_ns is None:
            return self._facts
        return {**self._facts, "overhead_s": self._least_overhead_ns / 1e9}

    @property
    def elsewhere(self) -> str:
        """A runner is a process of its own."""
        return "the runner is a process of its own, perhaps on another machine"

    def open(self, model: Mapping[str, Any] | None, how: Mapping[str, Any]) -> None:
        """Send `open` and read `ready`. Raises as `open_session`."""
        asked = f"open the runner {self.address!r}"
        told = self._ask({"do": "open", "protocol": PROTOCOL, "model": model, **how}, self._open_patience_s, asked)
        ready = told.get("ready")
        if not isinstance(ready, dict):
            raise lied(asked, f"it answered {quoted(told)} and not {{'ready': ...}}")
        if ready.get("protocol") != PROTOCOL:
            found = f"it speaks version {quoted(ready.get('protocol'))} of the protocol"
            raise UnsupportedError(asked, found, f"This Assay speaks version {PROTOCOL}: docs/runner.md")
        vocab_size = ready.get("vocab_size")
        if not isinstance(vocab_size, int) or isinstance(vocab_size, bool) or vocab_size < 1:
            raise lied(asked, f"its vocab_size is {quoted(vocab_size)}, no positive whole number")
        weights = ready.get("weights", "given")
        if weights not in ("given", "own"):
            raise lied(asked, f"its weights are {quoted(weights)}: either 'given' or 'own'")
        self.vocab_size = vocab_size
        self._facts = {**_facts(ready.get("facts", {}), asked), "loop": "the runner's own", "runner_weights": weights}

    def generate(self, tokens: Sequence[int], new_tokens: int) -> Generation:
        """Have the runner continue a prompt; see `session.Generator`."""
        self._requests += 1
        asked = f"{new_tokens} tokens after a prompt of {len(tokens)} from {self.address!r}"
        request = {"do": "generate", "id": self._requests, "tokens": list(tokens), "new_tokens": new_tokens}
        started_ns = time.perf_counter_ns()
        told = self._ask(request, self._patience_s, asked)
        elapsed_ns = time.perf_counter_ns() - started_ns
        if told.get("id") != self._requests:
            raise lied(asked, f"request {self._requests} was answered as {quoted(told.get('id'))}")
        made = Generation(
            tokens=whole_numbers(told.get("tokens"), "tokens", asked),
            times_ns=whole_numbers(told.get("times_ns"), "times_ns", asked),
            prompt_tokens=_count(told, "prompt_tokens", asked),
            cached_tokens=_count(told, "cached_tokens", asked),
        )
        made = believed(made, len(tokens), new_tokens, self.vocab_size, elapsed_ns, asked)
        overhead_ns = max(0, elapsed_ns - made.times_ns[-1])
        self._least_overhead_ns = min(overhead_ns, self._least_overhead_ns or overhead_ns)
        if not isinstance(made.cached_tokens, Absent) and made.cached_tokens:
            self._facts = {**self._facts, "cached_prompt_tokens": made.cached_tokens}
        return made

    def tell(self, fields: Mapping[str, Any]) -> Message:
        """Send any message and return its answer, an error too; for tests of the runner. Raises EngineError."""
        self._requests += 1
        return self._line.ask({**fields, "id": self._requests}, self._patience_s, f"an answer of {self.address!r}")

    def close(self) -> None:
        """End the runner; its exit status is kept in `exit_status`."""
        self.exit_status = self._line.close()

    def _ask(self, message: Mapping[str, Any], patience_s: float, asked: str) -> Message:
        told = self._line.ask(message, patience_s, asked)
        if "error" not in told:
            return told
        words, kind = quoted(told["error"]), told.get("kind", "crashed")
        if kind not in _FAILURES:
            raise lied(
                asked, f"it failed with the kind {quoted(kind)}: {words}", f"Known: {', '.join(sorted(_FAILURES))}"
            )
        if kind == "unsupported":
            raise UnsupportedError(asked, f"the runner says {words}", "Ask it for something else")
        raise EngineError(asked, f"the runner says {words}", "See the runner's own words", kind)


def _count(told: Message, name: str, asked: str) -> int | Absent:
    if name not in told:
        return Absent(reason=f"the runner does not tell {name}")
    [number] = whole_numbers([told[name]], name, asked)
    return number


def _facts(told: Any, asked: str) -> dict[str, Scalar]:
    """Facts of a runner: texts, numbers, flags, and lists of texts or of whole numbers."""
    if not isinstance(told, dict):
        raise lied(asked, f"its facts are {quoted(told)}, no object")
    facts: dict[str, Scalar] = {}
    for key, value in told.items():
        if isinstance(value, (str, bool, int, float)):
            facts[key] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            facts[key] = tuple(value)
        else:
            raise lied(asked, f"its fact {key!r} is {quoted(value)}, no text, number, flag or list of texts")
    return facts
