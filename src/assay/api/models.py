"""One model from Python: build it, load it, ask it. It refuses what cannot be built or loaded here."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from assay import catalog
from assay.api.runs import DEFAULT_STORE
from assay.core.errors import InputError, TokenizerError, UnsupportedError
from assay.core.records import (
    Absent,
    Artifact,
    Target,
    TransformSpec,
)
from assay.core.study import StudyVariant
from assay.keep.artifacts import ArtifactCache
from assay.keep.failures import as_store_error
from assay.keep.store import open_store
from assay.pipeline.short_form import transforms_of, variant_of
from assay.run import runner_check
from assay.run.runner_check import RunnerAnswer
from assay.run.runtimes.runner import model_of
from assay.worker import find_or_build

if TYPE_CHECKING:
    from assay.build.tokenizers import Tokenizer
    from assay.run.session import Encoder, LogitArray, Session


@dataclass
class LoadedModel:
    """A model in this process: a session and its tokenizer. Use it as a context manager, or call `close`."""

    session: Session | Encoder
    tokenizer: Tokenizer | Absent

    def generate(self, prompt: str, new_tokens: int = 64, *, chat: bool = False) -> str:
        """Greedy continuation of `prompt`, without the prompt; with `chat`, the answer to it as a user's message."""
        return "".join(self.stream(prompt, new_tokens, chat=chat))

    def stream(self, prompt: str, new_tokens: int = 64, *, chat: bool = False) -> Iterator[str]:
        """The continuation piece by piece; a character is given when it is whole."""
        from assay.run.decoding.greedy import greedy_steps

        if isinstance(self.tokenizer, Absent):
            raise TokenizerError("Text was asked for", self.tokenizer.reason, "Use `logits` with token ids")
        pieces = self.tokenizer.stream()
        ids = self.tokenizer.chat(prompt) if chat else self.tokenizer.encode(prompt)
        for token in greedy_steps(self._writer(), ids, new_tokens, eos_ids=self.tokenizer.eos_ids):
            yield pieces.push(token)
        yield pieces.flush()

    def generate_all(self, prompts: Sequence[str], new_tokens: int = 64, *, chat: bool = False) -> list[str]:
        """Greedy continuations of prompts of any lengths, read side by side, without the prompts.

        Raises:
            UnsupportedError: the model writes no text, or its session cannot read prompts of unequal lengths.
            ContractError: the model was not loaded for as many sequences (`load(..., batch=)`).
        """
        from assay.run.decoding.greedy import greedy_prompts
        from assay.run.session import BatchSession

        session = self._writer()
        if not isinstance(session, BatchSession):
            raise UnsupportedError(
                "Several prompts were to be continued side by side",
                "this runtime reads prompts of one length",
                "Continue one after another, or use runtime torch",
            )
        if isinstance(self.tokenizer, Absent):
            raise TokenizerError("Text was asked for", self.tokenizer.reason, "Use `logits` with token ids")
        read = self.tokenizer.chat if chat else self.tokenizer.encode
        ids = [read(prompt) for prompt in prompts]
        written = greedy_prompts(session, ids, new_tokens, eos_ids=self.tokenizer.eos_ids)
        texts = []
        for tokens in written:
            pieces = self.tokenizer.stream()
            texts.append("".join([*map(pieces.push, tokens), pieces.flush()]))
        return texts

    def logits(self, token_ids: Sequence[int]) -> LogitArray:
        """Logits at every position, float32 `[T, V]`."""
        import numpy as np

        logits_TV: LogitArray = self._writer().logits(np.asarray([token_ids], dtype=np.int64))[0]
        return logits_TV

    def encode(self, texts: Sequence[str]) -> LogitArray:
        """A unit vector of each text, `[B, D]`, or the logits of its labels `[B, L]`: of an encoder, in float32.

        Raises:
            UnsupportedError: the model writes text.
            ContractError: a text is longer than the model's context.
        """
        from assay.run.measure.encoding_quality import padded
        from assay.run.session import Encoder

        if not isinstance(self.session, Encoder):
            raise UnsupportedError("Vectors of texts were asked for", "this model writes text", "Load an encoder")
        if isinstance(self.tokenizer, Absent):
            raise TokenizerError("Texts were to be encoded", self.tokenizer.reason, "Use `session.encode` with ids")
        return self.session.encode(*padded([self.tokenizer.encode(text) for text in texts]))

    def _writer(self) -> Session:
        from assay.run.session import Encoder

        if isinstance(self.session, Encoder):
            raise UnsupportedError("Text or its logits were asked for", "an encoder writes none", "Use `encode`")
        return self.session

    def close(self) -> None:
        """Free the weights."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(
    model: str,
    variant: str | StudyVariant = "fp32",
    *,
    runtime: str = "torch",
    context: int = 2048,
    threads: int = 0,
    batch: int = 1,
    adapter: str = "",
    store: Path = DEFAULT_STORE,
) -> LoadedModel:
    """Build a variant (or take it from the cache) and load it into this process.

    Args:
        model: a name of the catalog, a .gguf file, a directory, a nanoGPT checkpoint.
        variant: a variant or its short form (see `variant_of`).
        runtime: which runtime of the catalog.
        context: positions of the KV cache; at most the model's own.
        threads: 0 means as many as the process may use.
        batch: sequences side by side; more than one for `generate_all`.
        adapter: directory of a LoRA adapter (peft) to merge; none by default.
        store: the directory that keeps artifacts.

    Raises:
        AssayError: the model or the variant cannot be built or loaded here.
    """
    wanted = variant_of(variant) if isinstance(variant, str) else variant
    engine = catalog.runtime(runtime)
    target = Target(runtime=runtime, format=catalog.runtime_entry(runtime).format, threads=threads)
    artifact_directory, checkpoint = build(model, wanted.transforms, target.format, store, adapter)
    artifact = catalog.exporter(target.format).read_artifact(artifact_directory)
    session = engine.open_session(
        artifact_directory,
        target,
        wanted.decoding,
        capacity=min(context, artifact.contract.context_length),
        batch=batch,
    )
    try:
        tokenizer: Tokenizer | Absent = checkpoint.tokenizer()
    except TokenizerError as error:
        tokenizer = Absent(reason=error.found)
    return LoadedModel(session, tokenizer)


def build(
    model: str, transforms: Sequence[TransformSpec], format_name: str, store: Path, adapter: str = ""
) -> tuple[Path, Any]:
    """Build an artifact in this process, or find it in the cache: its directory, and the open checkpoint.

    Raises:
        AssayError: the model cannot be read or a transform cannot be applied.
    """
    checkpoint = catalog.open_checkpoint(catalog.assembled_model(model, store, warnings.warn), adapter)
    directory, _ = find_or_build(
        checkpoint, tuple(transforms), format_name, ArtifactCache(open_store(store).artifacts_directory)
    )
    return directory, checkpoint


def build_to(
    model: str,
    short: str,
    output: Path,
    *,
    format_name: str = "torch",
    adapter: str = "",
    store: Path = DEFAULT_STORE,
) -> Artifact:
    """Build a variant from its short form and copy it to `output`, which must not exist or be empty.

    Raises:
        InputError: `output` is a file or holds files.
        AssayError: the model cannot be read or a transform cannot be applied.
    """
    return write_artifact(model, transforms_of(short), output, format_name, adapter, store)


def write_artifact(
    model: str, specs: Sequence[TransformSpec], output: Path, format_name: str, adapter: str, store: Path
) -> Artifact:
    """Build an artifact and copy it to `output`. Raises InputError where something is there already."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            f"The output {str(output)!r} was asked for", "it exists already", "Name a directory that does not exist"
        )
    directory, _ = build(model, specs, format_name, store, adapter)
    with as_store_error(f"writing an artifact to {output}", output):
        shutil.copytree(directory, output, dirs_exist_ok=True)
    artifact: Artifact = catalog.exporter(format_name).read_artifact(output)
    return artifact


def check_runner(
    address: str,
    model: str | None = None,
    variant: str = "fp32",
    *,
    patience_s: float = 60.0,
    store: Path = DEFAULT_STORE,
) -> tuple[RunnerAnswer, ...]:
    """The contract test of a runner of one's own (docs/runner.md): what each check found.

    Args:
        address: a command, or `host:port`.
        model: a model whose artifact the runner is to open; without one it has weights of its own.
        variant: the artifact's short form.
        patience_s: longest wait for one answer, a load included.
        store: where artifacts are kept.

    Raises:
        AssayError: the command cannot be read, or the model not be built.
    """
    if model is None:
        return runner_check.check_runner(address, patience_s=patience_s)
    directory, _ = build(model, transforms_of(variant), "torch", store)
    contract = catalog.exporter("torch").read_artifact(directory).contract
    capacity = min(runner_check.CAPACITY, contract.context_length)
    return runner_check.check_runner(address, model_of(directory, "torch"), capacity, patience_s)
