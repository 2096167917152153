"""One run in a clean process: reads requests as JSON lines on standard input and answers on standard output.

It refuses to share its answers with anything else: whatever an engine prints goes to standard error. It ends when its
parent does, and it computes no statistics.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

from assay import catalog
from assay.core.canonical import digest
from assay.core.errors import (
    AssayError,
    EngineError,
    InputError,
    MissingDependencyError,
    StoreError,
    TokenizerError,
    TransformError,
    UnsupportedError,
)
from assay.core.records import Absent, Decoding, Estimate, Measured, Target, TransformSpec, Workload
from assay.keep.artifacts import ArtifactCache
from assay.run.measure.environment import package_versions
from assay.run.measure.memory import MemoryMeter, no_memory
from assay.run.session import Encoder, Trainable, gives_logits, runs_here
from assay.run.texts import load_text

if TYPE_CHECKING:
    from assay.run.session import Engine, Generator, Session

Reply = dict[str, Any]

_PR_SET_PDEATHSIG = 1
TOOLCHAIN = ("assay", "torch", "numpy", "safetensors")
"""Packages whose versions are part of an artifact's recipe."""


@runtime_checkable
class _Phased(Protocol):
    """A driver whose calls have parts that are timed too."""

    phases: Mapping[str, list[tuple[float, float]]]


class Worker:
    """Holds at most one open checkpoint and one session, and carries out requests one after another."""

    def __init__(self) -> None:
        self._memory = MemoryMeter()
        self._checkpoint: tuple[tuple[str, str], Any] | None = None
        self._session: Engine | None = None
        self._drivers: dict[str, Any] = {}
        self._tokens: list[int] = []
        self._device = "cpu"
        self._call: Any = None

    def carry_out(self, request: Mapping[str, Any]) -> Reply:
        """Answer one request; its `do` names the method."""
        arguments = {key: value for key, value in request.items() if key != "do"}
        method: Callable[..., Reply] = getattr(self, f"do_{request['do']}")
        return method(**arguments)

    # ------------------------------------------------------------------------------------------------ building

    def do_inspect(self, model: str, adapter: str = "") -> Reply:
        """What a model is: its source, its config and what is odd in it, without building anything.

        `model` of the answer is the name by which the same files are found again: a hub id comes back with its commit.
        """
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            checkpoint = self._open_checkpoint(model, adapter)
            importlib.import_module("assay.build.families").check_config(checkpoint.config)
        pinned = checkpoint.source.location if isinstance(checkpoint.source.revision, str) else model
        source = checkpoint.source.model_copy(update={"location": pinned})
        return {
            "source": source.model_dump(mode="json"),
            "config": dict(checkpoint.config),
            "model": pinned,
            "remarks": list(dict.fromkeys(str(warning.message) for warning in said)),
        }

    def do_plan(self, model: str, recipes: list[dict[str, Any]], adapter: str = "") -> Reply:
        """The sizes of artifacts before they are built, and the operations of a pass; no weight is read.

        Each recipe has `transforms` and `format`; its answer is an artifact to be, or why it cannot be built.
        """
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            config = self._open_checkpoint(model, adapter).config
            families = importlib.import_module("assay.build.families")
            families.check_config(config)
        planned: list[Reply] = []
        for recipe in recipes:
            specs = tuple(TransformSpec.model_validate_json(json.dumps(spec)) for spec in recipe["transforms"])
            plan = getattr(catalog.exporter(recipe["format"]), "plan", None)
            if plan is None:
                planned.append({"reason": f"the format {recipe['format']} tells no sizes before it is built"})
                continue
            try:
                sizes = plan(config, specs)
            except (TransformError, UnsupportedError) as error:
                planned.append({"reason": str(error)})
            else:
                planned.append({"artifact": sizes.model_dump(mode="json")})
        remarks = list(dict.fromkeys(str(warning.message) for warning in said))
        return {"planned": planned, "dispatches": families.dispatches(config), "remarks": remarks}

    def do_build(
        self,
        model: str,
        transforms: list[dict[str, Any]],
        format: str,  # noqa: A002
        cache: str,
        adapter: str = "",
    ) -> Reply:
        """Build an artifact, or find it in the cache; the answer says which."""
        checkpoint = self._open_checkpoint(model, adapter)
        specs = tuple(TransformSpec.model_validate_json(json.dumps(spec)) for spec in transforms)
        started = time.perf_counter()
        directory, cached = find_or_build(checkpoint, specs, format, ArtifactCache(Path(cache)))
        artifact = catalog.exporter(format).read_artifact(directory)
        return {
            "artifact": artifact.model_dump(mode="json"),
            "directory": str(directory),
            "cached": cached,
            "build_s": time.perf_counter() - started,
        }

    def do_tokens(self, model: str, text: str, at_least: int, path: str, seed: int) -> Reply:
        """Write the token ids of a text to `path` as JSON, once for all variants.

        A model without a tokenizer gets random ids, and the description says so.
        """
        checkpoint = self._open_checkpoint(model)
        ids, description, source_digest = tokens_of(checkpoint, text, at_least, seed)
        destination = Path(path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = destination.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(ids))
        partial.replace(destination)
        return {"tokens": len(ids), "description": description, "text_digest": digest(ids), "source": source_digest}

    def _open_checkpoint(self, model: str, adapter: str = "") -> Any:
        if self._checkpoint is None or self._checkpoint[0] != (model, adapter):
            self._checkpoint = ((model, adapter), catalog.open_checkpoint(model, adapter))
        return self._checkpoint[1]

    # ------------------------------------------------------------------------------------------------ running

    def do_import(self, runtime: str) -> Reply:
        """Import a runtime and nothing else. Answers with the seconds that took."""
        started = time.perf_counter()
        catalog.runtime(runtime).probe()
        return {"import_s": time.perf_counter() - started}

    def do_open(self, directory: str, target: dict[str, Any], decoding: dict[str, Any], capacity: int, batch: int,
                tokens: str) -> Reply:  # fmt: skip
        """Load an artifact into a session, or reach an engine that owns its loop. Answers with the seconds that took.

        `compile_s` among the facts is not within `load_s`, which is left out where nothing was loaded, since the
        engine was running already.
        """
        self._tokens = json.loads(Path(tokens).read_text()) if tokens else []
        asked = Target.model_validate_json(json.dumps(target))
        how = Decoding.model_validate_json(json.dumps(decoding))
        runtime = catalog.runtime(asked.runtime)
        if how.head not in getattr(runtime, "HEADS", ("last",)):
            raise UnsupportedError(
                f"Logits of {how.head} tokens of a prefill were asked for",
                f"{asked.runtime} gives those of the last",
                "Use decoding.head = 'last', or the runtime torch",
            )
        self._device = asked.device
        self._memory.start(asked.device)
        started = time.perf_counter()
        self._session = runtime.open_session(Path(directory), asked, how, capacity=capacity, batch=batch)
        if runs_here(self._session):
            self._session.sync()
        load_s = time.perf_counter() - started
        self._memory.loaded()
        timed = runs_here(self._session) or self._session.loaded_here
        facts = dict(self._session.facts)
        compile_s = float(facts.get("compile_s", 0.0))  # a compiler's time is told beside the load, not in it
        return {**({"load_s": load_s - compile_s} if timed else {}), "facts": facts}

    def do_first_call(self, workload: dict[str, Any]) -> Reply:
        """The first call of a workload after the load: compilation, allocation and page faults are inside."""
        driver = self._driver(workload)
        metric, seconds = driver.first_call()
        return {"metric": metric, "seconds": seconds}

    def do_block(self, workload: dict[str, Any], calls: int) -> Reply:
        """One block of timed calls. Answers with starts and durations in seconds, and the CPU time of the block."""
        driver = self._driver(workload)
        cpu, wall = time.process_time(), time.perf_counter()
        timed = driver.block(calls)
        cpu_s = time.process_time() - cpu
        return {
            "started_s": [start for start, _ in timed],
            "seconds": [duration for _, duration in timed],
            **({} if self._elsewhere else {"cpu_s": cpu_s}),
            "wall_s": time.perf_counter() - wall,
            "metric": driver.metric,
            "phases": driver.phases if isinstance(driver, _Phased) else {},
        }

    def do_facts(self) -> Reply:
        """Memory and facts as they are now."""
        session = self._open_engine()
        kv_cache_bytes: Measured = Absent(reason="an encoder has no KV cache")
        if not isinstance(session, Encoder):
            kv_cache_bytes = float(session.kv_cache_bytes) if gives_logits(session) else session.kv_cache_bytes
        if self._elsewhere:
            memory = no_memory(self._elsewhere, kv_cache_bytes)
        else:
            memory = self._memory.finish(kv_cache_bytes=kv_cache_bytes, device=self._device)
        training = session.training_bytes if isinstance(session, Trainable) else {}
        sizes = {name: float(size) for name, size in training.items()}
        return {"facts": dict(session.facts), "memory": memory.model_copy(update=sizes).model_dump(mode="json")}

    def _driver(self, workload: dict[str, Any]) -> Any:
        record = Workload.model_validate_json(json.dumps(workload))
        if record.name not in self._drivers:
            self._drivers[record.name] = catalog.driver(self._open_engine(), record, self._tokens)
        return self._drivers[record.name]

    def _open_engine(self) -> Engine:
        if self._session is None:
            raise UnsupportedError("A measurement was asked for", "no artifact is open", "Open one first")
        return self._session

    @property
    def _elsewhere(self) -> str:
        """Why this process's memory and CPU time say nothing of the engine; empty where they do."""
        engine = self._open_engine()
        return "" if runs_here(engine) else engine.elsewhere

    # ------------------------------------------------------------------------------------------------ quality

    def do_encoding_quality(
        self, model: str, text: str, context: int, at_least: int, reference: str, is_reference: bool, seed: int
    ) -> Reply:
        """Encode a text's sentences; the reference writes its vectors to `reference`, a variant reads them there."""
        quality = importlib.import_module("assay.run.measure.encoding_quality")
        checkpoint, encoder = self._open_checkpoint(model), self._open_engine()
        try:
            encode = checkpoint.tokenizer().encode
        except TokenizerError:
            rows = quality.random_sentences(int(checkpoint.config["vocab_size"]), context, at_least, seed)
        else:
            rows = quality.sentences(load_text(text).text, encode, context, at_least)
        if not isinstance(encoder, Encoder):
            raise UnsupportedError("Vectors of texts were asked for", "the engine is no encoder", "Ask for its logits")
        use = quality.write_reference if is_reference else quality.measure
        metrics = use(encoder, rows, Path(reference), str(encoder.facts["head"]))
        return {
            "metrics": {name: _plain(value) for name, value in metrics.items()},
            "tokens": sum(map(len, rows)),
            "recipe": quality.recipe(rows),
        }

    def do_quality(self, context: int, at_least: int, reference: str, is_reference: bool, has_text: bool) -> Reply:
        """Score the text; the reference writes its log-probabilities to `reference`, a variant reads them there."""
        quality = importlib.import_module("assay.run.measure.quality")
        parity = importlib.import_module("assay.run.measure.greedy_parity")
        engine = _writer(self._open_engine())
        beside = parity.beside(Path(reference))
        if not gives_logits(engine):
            return self._quality_by_tokens(engine, beside, is_reference)
        cut = quality.windows(self._tokens, context, at_least)
        if is_reference:
            metrics = quality.write_reference(engine, cut, Path(reference))
            parity.write(parity.reference_of(engine, self._tokens), beside)
        else:
            metrics = quality.measure_quality(engine, cut, Path(reference))
        if not has_text:
            reason = Absent(reason="the tokens are random: the model has no tokenizer")
            metrics = {name: reason if name in _NEEDS_TEXT else value for name, value in metrics.items()}
        return {
            "metrics": {name: _plain(value) for name, value in metrics.items()},
            "tokens": sum(len(window) - 1 for window in cut),
            "recipe": quality.recipe(cut, context),
        }

    def _quality_by_tokens(self, engine: Generator, beside: Path, is_reference: bool) -> Reply:
        """Parity of an engine without logits: by its greedy tokens alone; every other metric says why it is absent."""
        if is_reference:
            raise UnsupportedError(
                "Quality against this row was asked for",
                "its engine gives no logits",
                "Name a reference on a runtime that gives them, such as torch",
            )
        parity = importlib.import_module("assay.run.measure.greedy_parity")
        metrics, compared = parity.measure(engine, self._tokens, parity.read(beside))
        return {
            "metrics": {name: _plain(value) for name, value in metrics.items()},
            "tokens": compared,
            "recipe": parity.RECIPE,
        }

    def do_layers(self, path: str, is_reference: bool) -> Reply:
        """Each layer against the reference's, which writes its outputs to `path`, where a variant reads them."""
        layers = importlib.import_module("assay.run.measure.layers")
        engine = self._open_engine()
        if is_reference:
            layers.write_layers(engine, self._tokens, Path(path))
            return {"absent": "this is the reference"}
        found = layers.layer_fidelity(engine, self._tokens, Path(path))
        if isinstance(found, Absent):
            return {"absent": found.reason}
        return {"layers": [layer.model_dump(mode="json") for layer in found]}

    def do_parity(self, path: str, is_anchor: bool, capacity: int, context: int) -> Reply:
        """Parity between runtimes: the first one's row writes what it says to `path`, another is held against it."""
        parity = importlib.import_module("assay.run.measure.parity")
        engine = self._open_engine()
        if is_anchor:
            return {"written": parity.write_anchor(engine, self._tokens, capacity, context, Path(path))}
        return {name: _plain(value) for name, value in parity.measure(engine, Path(path)).items()}

    def do_generate(self, model: str, prompt: str, new_tokens: int, chat: bool = False) -> Reply:
        """Greedy text after a prompt, or in answer to it as a user's message; `absent` where no tokens are named."""
        greedy = importlib.import_module("assay.run.decoding.greedy")
        tokenizer = self._open_checkpoint(model).tokenizer()
        prompt_ids = tokenizer.chat(prompt) if chat else tokenizer.encode(prompt)
        engine = _writer(self._open_engine())
        if gives_logits(engine):
            ids = greedy.greedy(engine, prompt_ids, new_tokens, eos_ids=tokenizer.eos_ids)
        else:
            made = engine.generate(prompt_ids, new_tokens).tokens
            if isinstance(made, Absent):
                return {"absent": made.reason}
            ids = greedy.until_end(made, tokenizer.eos_ids)
        return {"ids": ids, "text": tokenizer.decode(ids)}

    def do_text_check(self, model: str) -> Reply:
        """Write after each prompt of the text check. Answers with figures of the text, and the tokens."""
        check = importlib.import_module("assay.run.measure.text_check")
        texts, prompts, written = [], [], []
        for prompt in check.PROMPTS:
            made = self.do_generate(model, prompt, check.NEW_TOKENS)
            if "absent" in made:
                return made
            texts.append(made["text"])
            written.append(made["ids"])
            prompts.append(self._open_checkpoint(model).tokenizer().encode(prompt))
        return {"metrics": dict(check.figures(texts, written)), "prompts": prompts, "written": written}

    def do_likelihood(self, prompts: list[list[int]], written: list[list[int]]) -> Reply:
        """How likely texts are to this artifact, in nats per token."""
        engine = self._open_engine()
        if not gives_logits(engine):
            raise UnsupportedError("The likelihood of a text", "this engine gives no logits", "Name another reference")
        check = importlib.import_module("assay.run.measure.text_check")
        return {"nll_nats": check.mean_nll(engine, prompts, written)}

    # ------------------------------------------------------------------------------------------------ callables

    def do_open_callable(self, program: str, search: list[str]) -> Reply:
        """Import the callable that `module:qualname` names. Answers with the seconds that took."""
        call = importlib.import_module("assay.run.workloads.call")
        self._memory.start()
        started = time.perf_counter()
        self._call = call.CallRun(call.find_callable(program, search), self._memory)
        import_s = time.perf_counter() - started
        self._memory.loaded()
        return {"import_s": import_s}

    def do_call_first(self) -> Reply:
        """The first call of the callable."""
        return {"seconds": self._call.first_call()}

    def do_call_block(self, calls: int) -> Reply:
        """One block of timed calls of the callable."""
        answer: Reply = self._call.block(calls)
        return answer

    def do_call_memory(self) -> Reply:
        """Memory since the callable was imported."""
        answer: Reply = self._call.memory()
        return answer

    # ------------------------------------------------------------------------------------------------ the machine

    def do_probe(self, runtime: str) -> Reply:
        """Whether a runtime is usable here, on which devices, and why not."""
        state = catalog.runtime(runtime).probe()
        return {
            "usable": state.usable,
            "devices": list(state.devices),
            "facts": [f"{key}: {value}" for key, value in state.facts.items()],
            "reason": state.reason,
        }

    def do_ceilings(self, seconds: float) -> Reply:
        """Measure what this machine can do at best."""
        machine = importlib.import_module("assay.run.measure.machine")
        ceilings = machine.measure_ceilings(seconds).model_copy(update={"established": machine.establish()})
        return {"ceilings": ceilings.model_dump(mode="json")}


def _writer(engine: Engine) -> Session | Generator:
    """An engine that writes. Raises UnsupportedError of an encoder."""
    if isinstance(engine, Encoder):
        raise UnsupportedError("Text or its logits were asked for", "an encoder writes none", "Ask for its vectors")
    return engine


_NEEDS_TEXT = frozenset({"nll_nats", "perplexity", "perplexity_ratio"})


def find_or_build(
    checkpoint: Any, specs: tuple[TransformSpec, ...], format_name: str, cache: ArtifactCache
) -> tuple[Path, bool]:
    """The directory of an artifact, and whether the cache had it already."""
    exporter = catalog.exporter(format_name)
    recipe = exporter.artifact_digest(checkpoint.source, specs, format_name, _toolchain(exporter))
    found = cache.find(recipe)
    if found is not None:
        return found, True
    with cache.place(recipe) as temporary:
        build_artifact(checkpoint, specs, format_name, temporary)
    built = cache.find(recipe)
    if built is None:
        raise StoreError("The cache was asked for a new artifact", "it is gone", "Run one clean-up at a time")
    return built, False


def _toolchain(exporter: Any) -> Mapping[str, str]:
    """Versions of what builds an artifact of this exporter's format."""
    return package_versions((*TOOLCHAIN, *getattr(exporter, "TOOLCHAIN", ())))


def build_artifact(checkpoint: Any, specs: tuple[TransformSpec, ...], format_name: str, directory: Path) -> None:
    """Build one artifact from an open checkpoint into `directory`.

    Raises:
        TransformError: wrong options, or a transform that selects nothing.
    """
    exporter = catalog.exporter(format_name)
    model: Any = None
    changes: tuple[Any, ...] = ()
    if getattr(exporter, "NEEDS_MODEL", True):
        model = importlib.import_module("assay.build.families").build_model(checkpoint)
        changes = tuple(catalog.transform(spec.kind).apply(model, catalog.options(spec)) for spec in specs)
    try:
        tokenizer = checkpoint.tokenizer()
    except TokenizerError:  # an artifact without a tokenizer is whole; what needs text says so
        tokenizer = None
    exporter.export(
        model,
        checkpoint.config,
        tokenizer,
        changes,
        checkpoint.source,
        specs,
        directory,
        _toolchain(exporter),
    )


def tokens_of(checkpoint: Any, text: str, at_least: int, seed: int) -> tuple[list[int], str, str]:
    """Token ids of a text, what they are in words, and a digest of their source."""
    try:
        tokenizer = checkpoint.tokenizer()
    except TokenizerError as error:
        vocabulary = int(checkpoint.config["vocab_size"])
        generator = random.Random(seed)
        ids = [generator.randrange(vocabulary) for _ in range(at_least)]
        return ids, f"random token ids (seed {seed}): {error.found}", ""
    passage = load_text(text)
    ids = list(tokenizer.encode(passage.text))
    if len(ids) < at_least:
        raise InputError(
            f"{at_least} tokens of {text!r} were asked for",
            f"it has {len(ids)}",
            "Name a longer text, or ask for fewer tokens",
        )
    return ids, passage.title, passage.digest


def _plain(value: float | Absent | Estimate) -> Any:
    return value if isinstance(value, (int, float)) else value.model_dump(mode="json")


def _failure(error: BaseException) -> Reply:
    """What the parent is told of an exception: its class, its words, and where it was raised."""
    if isinstance(error, EngineError):
        return {"failure": error.outcome, "class": type(error).__name__, "words": [str(error)]}
    if isinstance(error, AssayError):
        kind = "unsupported" if isinstance(error, UnsupportedError) else "refused"
        return {
            "failure": kind,
            "class": type(error).__name__,
            "words": [error.asked, error.found, error.remedy],
            "extra": [error.package, error.extra] if isinstance(error, MissingDependencyError) else [],
        }
    out_of_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return {
        "failure": "out_of_memory" if out_of_memory else "crashed",
        "class": type(error).__name__,
        "words": [str(error)],
        "trace": traceback.format_exc(),
    }


def _end_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere the closed pipe ends it at the next request."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve_requests(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker()
    for line in requests:
        try:
            answer = {"answer": worker.carry_out(json.loads(line))}
        except Exception as error:  # noqa: BLE001 - the outermost frame: the error becomes the run's outcome
            answer = _failure(error)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _serve_forks(control: socket.socket) -> None:
    """Import runtimes, then fork a worker at each request, until the other side closes.

    Nothing is computed here: an engine that has computed has threads, and they do not survive a fork.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
        if not message:
            return
        request = json.loads(message)
        if "import" in request:
            reply = _import_all(request["import"])
        elif "wait" in request:
            pid, status = os.waitpid(request["wait"], 0 if request["block"] else os.WNOHANG)
            reply = {"status": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            pid = os.fork()
            if pid == 0:
                _become_worker(control, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            reply = {"pid": pid}
        control.sendall(json.dumps(reply).encode())


def _import_all(runtimes: Sequence[str]) -> Reply:
    started = time.perf_counter()
    for runtime in runtimes:
        try:
            catalog.runtime(runtime)  # no probe: an engine that has looked for devices may have started threads
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything; the parent tells it
            return {"failed": f"{runtime}: {type(error).__name__}: {error}"}
    gc.freeze()
    return {"import_s": time.perf_counter() - started}


def _become_worker(control: socket.socket, line: int, errors: int) -> NoReturn:
    """Turn a fork into a worker that talks over `line`; it never returns to the server's loop."""
    control.close()
    _end_with_parent()
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    with os.fdopen(line, "r", closefd=False) as requests, os.fdopen(line, "w") as answers:
        _serve_requests(requests, answers)
    os._exit(0)


def main() -> None:
    """Serve requests on standard input, or forks on a socket (`--serve DESCRIPTOR`)."""
    _end_with_parent()
    if sys.argv[1:2] == ["--serve"]:
        with contextlib.suppress(ConnectionError):  # the parent is gone: there is nobody to serve
            _serve_forks(socket.socket(fileno=int(sys.argv[2])))
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve_requests(sys.stdin, answers)


if __name__ == "__main__":
    main()
