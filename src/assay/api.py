"""The public Python API: load a model, run a study, compare two variants. It refuses what the command line refuses."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from pydantic import ValidationError

from assay import catalog
from assay.build.local_transforms import offered
from assay.core.audit import AuditReport
from assay.core.decisions import Decision, ExperimentRun, Recheck
from assay.core.difference import Difference
from assay.core.errors import InputError, TokenizerError, UnsupportedError
from assay.core.experiment_file import is_local
from assay.core.gate import GateReport
from assay.core.records import (
    Absent,
    Artifact,
    Ceilings,
    Contest,
    Decoding,
    Plan,
    Result,
    Round,
    Scalar,
    Target,
    TransformSpec,
)
from assay.core.study import MeasurePolicy, QualityPlan, Study, StudyVariant
from assay.core.study_file import read_study, validate_study
from assay.judge.checks.policy import CheckPolicy
from assay.judge.difference import difference as judge_difference
from assay.judge.gate import LEVEL, baseline_of, gate, gate_contest, gated
from assay.judge.imports.correction import NOTHING, read_correction
from assay.judge.recheck import recheck
from assay.keep.artifacts import ArtifactCache
from assay.keep.failures import as_store_error
from assay.keep.journal import EXPERIMENTS, Journal
from assay.keep.store import open_store
from assay.pipeline.audit import audit as audit_files
from assay.pipeline.contest import CONTEST, ContestRun, Pair, pair_of_callables, pair_of_commands
from assay.pipeline.doctor import CEILINGS
from assay.pipeline.experiments import (
    at_work,
    decided_on_numbers,
    evidence_of,
    find_experiment,
    last_run,
    remember,
    with_budget,
)
from assay.pipeline.gates import fresh_rounds, read_baseline, write_baseline
from assay.pipeline.prediction import plan_study
from assay.pipeline.results import judge
from assay.pipeline.short_form import transforms_of, variant_of
from assay.pipeline.study_run import Evidence, Progress, StudyRun
from assay.run import runner_check
from assay.run.runner_check import RunnerAnswer
from assay.run.runtimes.runner import model_of
from assay.run.workloads.call import Program
from assay.worker import find_or_build

if TYPE_CHECKING:
    from assay.build.tokenizers import Tokenizer
    from assay.run.session import Encoder, LogitArray, Session

DEFAULT_STORE = Path(".assay")


class Interrupted(KeyboardInterrupt):
    """A study was stopped by Ctrl-C; `result` is what it had found, judged and stored as incomplete."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class ContestInterrupted(KeyboardInterrupt):
    """A contest was stopped by Ctrl-C; `contest` is what it had found, stored as incomplete where it was undecided."""

    def __init__(self, contest: Contest) -> None:
        super().__init__()
        self.contest = contest


class Quiet:
    """Progress that tells nobody."""

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """Nothing."""

    def advance(self, done: float) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def run(
    study: Study | Mapping[str, Any] | str | Path,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    checks: CheckPolicy | None = None,
) -> Result:
    """Run a study, or go on with it where it stopped, and return its result.

    What is finished is in the store at any moment; a repeated call goes on from there.

    Args:
        study: a `Study`, a mapping with the same keys, or the path of a TOML file.
        store: the directory that keeps rounds, artifacts and results.
        progress: who is told what happens; nobody by default.
        checks: thresholds of the checks; the defaults where None.

    Raises:
        AssayError: the study, the model or the store cannot be used; the message says what to do.
        Interrupted: Ctrl-C; the result so far is in the exception and in the store.
    """
    wanted = as_study(study)
    kept = open_store(store)
    measuring = StudyRun(wanted, kept, progress or Quiet())
    last: Evidence | None = None
    try:
        for evidence in measuring.measure():
            last = evidence
    except KeyboardInterrupt:
        if last is None:
            raise
        partial = judge(last, checks)
        kept.add_result(partial)
        raise Interrupted(partial) from None
    if last is None:
        raise RuntimeError("a study ended without evidence")
    result = judge(last, checks)
    kept.add_result(result)
    return result


def audit(
    *files: str | Path,
    facts: Mapping[str, Scalar] | None = None,
    map_file: str | Path | None = None,
    policy: CheckPolicy | None = None,
) -> AuditReport:
    """Which numbers of anybody's results not to believe, and why; nothing is run.

    Args:
        files: Markdown, CSV, JSON of other tools, notes or power logs.
        facts: of the set-up, by the names of `assay.core.figures.FACTS`.
        map_file: a TOML file that corrects what columns are.
        policy: thresholds of the checks; the defaults where None.

    Raises:
        InputError: nothing of any file could be read; where only some could not, the report says so.
    """
    correction = read_correction(Path(map_file)) if map_file is not None else NOTHING
    return audit_files([Path(file) for file in files], facts, correction, policy)


def run_experiment(
    name: str,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    root: Path = EXPERIMENTS,
    *,
    budget_s: float | None = None,
) -> tuple[Result, ExperimentRun]:
    """Build, check and measure an experiment, and set the result beside what was expected of it.

    Args:
        name: the experiment's directory under `root`.
        store: the directory that keeps rounds, artifacts and results.
        progress: who is told what happens; nobody by default.
        root: the project's directory of experiments.
        budget_s: seconds of wall time; the experiment's own by default.

    Raises:
        AssayError: the experiment cannot be carried out, or its expectations were changed after the measurement.
        Interrupted: Ctrl-C; a repeated call goes on.
    """
    directory, experiment = find_experiment(root, name)
    with at_work(directory, experiment):
        result = run(with_budget(experiment.study, budget_s), store, progress)
    return result, remember(experiment, result, open_store(store))


def experiment_report(name: str, store: Path = DEFAULT_STORE, root: Path = EXPERIMENTS) -> str:
    """The HTML report of an experiment's last run, with what was expected of it and every decision.

    Raises:
        InputError: it was not run in this store.
        MissingDependencyError: the extra that draws charts is not installed.
    """
    from assay.show.html.experiment import Story
    from assay.show.html.report import render_html

    measured = last_run(open_store(store) if store.is_dir() else None, name)
    if measured is None:
        asked = f"A report of the experiment {name!r} was asked for"
        raise InputError(asked, f"{str(store)!r} holds no run of it", f"Measure it: assay experiment run {name}")
    result = stored_result(store, measured.evidence.study)
    decisions = tuple(entry.decision for entry in Journal(root).read().history(name))
    return render_html(result, rounds_of(store, result), ceilings_of(store, result), Story(measured, decisions))


def recheck_experiment(
    name: str,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    root: Path = EXPERIMENTS,
    *,
    budget_s: float | None = None,
) -> Recheck:
    """Build and measure a decided experiment again in a store of its own, and hold the result against the decision.

    Raises:
        AssayError: nothing was decided on numbers, or the experiment cannot be carried out.
    """
    directory, experiment = find_experiment(root, name)
    decision = decided_on_numbers(root, name)
    fresh = store / "rechecks" / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with at_work(directory, experiment):
        result = run(with_budget(experiment.study, budget_s), fresh, progress)
    shutil.rmtree(fresh / "artifacts", ignore_errors=True)  # large, and in the cache of the main store anyway
    return recheck(decision, evidence_of(experiment, result, open_store(fresh)))


def build_shipped(decision: Decision, output: Path, store: Path = DEFAULT_STORE, root: Path = EXPERIMENTS) -> Artifact:
    """Build the variant of a decision into a directory that must not exist or be empty.

    Raises:
        AssayError: the model or a transform of the experiment's own is not as it was.
    """
    specs = decision.variant.transforms
    files = {spec.kind: root / decision.experiment / spec.kind.partition("@")[0] for spec in specs}
    with offered({kind: path for kind, path in files.items() if is_local(kind)}):
        return _build_to(decision.model, specs, output, catalog.RUNTIMES[decision.target.runtime].format, "", store)


def gate_study(
    study: Study | Mapping[str, Any] | str | Path,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    *,
    margin: float = 0.02,
    budget_s: float | None = None,
    baseline: Path | None = None,
    save: Path | None = None,
) -> GateReport:
    """Run a study at the gate's level, in a store of its own, and hold it against a kept run or its own base variant.

    Args:
        study: as for `run`.
        store: where artifacts are cached; what is measured is kept beside it and never used again.
        progress: who is told what happens; nobody by default.
        margin: relative loss that is allowed.
        budget_s: seconds of wall time; the study's own by default.
        baseline: the file of an earlier `save`; None asks only that nothing is slower than the base variant.
        save: where this run's numbers are kept.

    Raises:
        AssayError: the study cannot be carried out, or the baseline cannot be read.
    """
    kept = None if baseline is None else read_baseline(baseline)
    wanted = gated(with_budget(as_study(study), budget_s))
    with fresh_rounds(store) as fresh:
        result = run(wanted, fresh, progress)
    if save is not None:
        write_baseline(save, baseline_of(result))
    return gate(result, kept, margin)


def gate_commands(
    base: str,
    command: str,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    *,
    margin: float = 0.02,
    budget_s: float = 300.0,
) -> GateReport:
    """Hold a shell command against the base tree's, in one run.

    Raises:
        AssayError: a command is empty, or the system gives no account of its children.
    """
    policy = policy_of(budget_s=budget_s, max_rounds=40, margin=margin).model_copy(update={"alpha": LEVEL})
    with fresh_rounds(store) as fresh:
        return gate_contest(_contest(pair_of_commands(base, command, policy), policy, fresh, progress), margin)


def plan(
    study: Study | Mapping[str, Any] | str | Path, store: Path = DEFAULT_STORE, device_name: str | None = None
) -> Plan:
    """FLOPs, bytes, memory and bound of every cell of a study, before anything is built; no weight is read.

    Args:
        study: a `Study`, a mapping with the same keys, or the path of a TOML file.
        store: where `assay doctor --measure` has kept this machine's ceilings; without them no time is predicted.
        device_name: predict for this hardware of `assay.core.hardware` and not for this machine.

    Raises:
        AssayError: the study, the model or the device cannot be used; the message says what to do.
    """
    return plan_study(as_study(study), open_store(store) if store.is_dir() else None, device_name)


def is_encoder(model: str) -> bool:
    """Whether a model reads texts whole and writes none, by its config.json alone."""
    return catalog.model_type(model) in catalog.ENCODERS


def as_study(study: Study | Mapping[str, Any] | str | Path) -> Study:
    """A study from what a user has: a record, a mapping, or the path of a TOML file."""
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return validate_study(study, "the mapping")
    return read_study(Path(study))


@overload
def compare(
    first: str | StudyVariant, second: str | StudyVariant, *, model: str, budget_s: float = ..., max_rounds: int = ...,
    margin: float = ..., store: Path = ..., progress: Progress | None = ...,
) -> Result: ...  # fmt: skip


@overload
def compare(
    first: Program, second: Program, *, budget_s: float = ..., max_rounds: int = ..., margin: float = ...,
    store: Path = ..., progress: Progress | None = ...,
) -> Contest: ...  # fmt: skip


def compare(
    first: str | StudyVariant | Program,
    second: str | StudyVariant | Program,
    *,
    model: str | None = None,
    budget_s: float = 120.0,
    max_rounds: int = 40,
    margin: float = 0.02,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
) -> Result | Contest:
    """Compare two variants of one model, or two callables without arguments: the first is the baseline.

    Callables that a fresh interpreter can import run in fresh worker processes; others run in this process, and the
    result says so.

    Args:
        first: a variant, its short form such as `bf16` or `bf16+int8_weight_only`, or a callable.
        second: likewise; of the same kind.
        model: a name of the catalog or a path, for variants.
        budget_s: seconds of wall time for the whole comparison.
        max_rounds: rounds at most.
        margin: relative difference within which two programs are equivalent.
        store: the directory that keeps what is measured.
        progress: who is told what happens.

    Raises:
        AssayError: the variants or the model cannot be used; the message says what to do.
        Interrupted, ContestInterrupted: Ctrl-C; what was found is in the exception and in the store.
    """
    policy = policy_of(budget_s=budget_s, max_rounds=max_rounds, margin=margin)
    if isinstance(first, (str, StudyVariant)) and isinstance(second, (str, StudyVariant)):
        if model is None:
            asked = "A comparison of two variants was asked for"
            raise InputError(asked, "no model is named", "Give model=, or two callables; commands: compare_commands")
        study = comparison_study(first, second, model=model)
        return run(study.model_copy(update={"measure": policy}), store, progress)
    if callable(first) and callable(second) and model is None:
        return _contest(pair_of_callables(first, second, policy), policy, store, progress)
    raise InputError(
        f"A comparison of {first!r} and {second!r} was asked for",
        "they are neither two variants nor two callables" if model is None else "callables have no model",
        "Give two variants and model=, or two callables",
    )


def compare_commands(
    first: str,
    second: str,
    *,
    budget_s: float = 120.0,
    max_rounds: int = 40,
    margin: float = 0.02,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    checks: CheckPolicy | None = None,
) -> Contest:
    """Compare two shell commands; each call is one execution, and the first command is the baseline.

    Args:
        first: a command line for the shell; it must end with exit status 0.
        second: likewise.
        budget_s: seconds of wall time for the whole comparison.
        max_rounds: rounds at most.
        margin: relative difference within which two programs are equivalent.
        store: the directory that keeps what is measured.
        progress: who is told what happens.
        checks: thresholds of the checks; the defaults where None.

    Raises:
        AssayError: a command is empty, or the system gives no account of its children.
        ContestInterrupted: Ctrl-C; what was found is in the exception and in the store.
    """
    policy = policy_of(budget_s=budget_s, max_rounds=max_rounds, margin=margin)
    return _contest(pair_of_commands(first, second, policy), policy, store, progress, checks)


def policy_of(*, budget_s: float, max_rounds: int, margin: float) -> MeasurePolicy:
    """A policy from what a caller gave.

    Raises:
        InputError: a value is out of its range.
    """
    try:
        return MeasurePolicy(budget_s=budget_s, max_rounds=max_rounds, margin=margin)
    except ValidationError as error:
        said = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors(include_url=False))
        raise InputError("A comparison was asked for", said, "Give values within these bounds") from None


def _contest(
    pair: Pair,
    policy: MeasurePolicy,
    store: Path,
    progress: Progress | None,
    checks: CheckPolicy | None = None,
) -> Contest:
    kept = open_store(store)
    last: Contest | None = None
    try:
        for contest in ContestRun(pair, policy, kept, progress or Quiet(), checks).measure():
            last = contest
    except KeyboardInterrupt:
        if last is None:
            raise
        kept.put(CONTEST, last.id, last)
        raise ContestInterrupted(last) from None
    if last is None:
        raise RuntimeError("a contest ended without a round")
    kept.put(CONTEST, last.id, last)
    return last


def comparison_study(first: str | StudyVariant, second: str | StudyVariant, *, model: str) -> Study:
    """The study that `compare` runs. The same variant twice is a null comparison, and is marked as one."""
    a, b = (variant_of(item) if isinstance(item, str) else item for item in (first, second))
    if a.name == b.name:
        b = b.model_copy(update={"name": f"{b.name}-again", "null": True})
    return Study(
        name=f"{a.name}-against-{b.name}",
        model=model,
        baseline=a.name,
        reference=a.name,
        variants=(a, b),
        quality=QualityPlan(tokens=1024),
    )


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
    return _build_to(model, transforms_of(short), output, format_name, adapter, store)


def _build_to(
    model: str, specs: Sequence[TransformSpec], output: Path, format_name: str, adapter: str, store: Path
) -> Artifact:
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


def stored_result(store: Path, study: str | None = None) -> Result:
    """The newest result of a store, or the newest of a study by its name or the first digits of its digest.

    Args:
        store: the directory that keeps results.
        study: a name, a digest, or the path of a .json report.

    Raises:
        StoreError: the store cannot be read.
        InputError: it holds no such result, or the file is no report.
    """
    if study is not None and study.endswith(".json"):
        return _reported(Path(study))
    if not store.is_dir():
        raise InputError(
            f"A result in {str(store)!r} was asked for", "there is no such store", "Run a study first, or name --store"
        )
    results = open_store(store).results()
    found = [r for r in results if study is None or r.name == study or (len(study) >= 6 and r.study.startswith(study))]
    if not found:
        names = ", ".join(dict.fromkeys(r.name for r in results)) or "none"
        raise InputError(
            f"A result of {study or 'any study'!r} was asked for", f"the store has results of: {names}",
            "Name one of them, or run a study",
        )  # fmt: skip
    return found[-1]


def difference(store: Path, before: str, after: str | None = None) -> Difference:
    """What changed from one result to another; each is named as `stored_result` names it.

    Raises:
        StoreError: the store cannot be read.
        InputError: there is no such result.
    """
    return judge_difference(stored_result(store, before), stored_result(store, after))


def stored(store: Path, name: str | None = None) -> Result | Contest:
    """The newest of all that a store holds, or of a study or a contest by its name or the first digits of its digest.

    Raises:
        StoreError: the store cannot be read.
        InputError: it holds no such result.
    """
    contests = open_store(store).all(CONTEST, None, Contest) if store.is_dir() else ()
    alike = [c for c in contests if name is None or (len(name) >= 6 and c.id.startswith(name))]
    try:
        result = stored_result(store, name)
    except InputError:
        if not alike:
            raise
        return alike[-1]
    newest = alike[-1] if alike else None
    return newest if newest is not None and newest.created_utc > result.created_utc else result


def _reported(path: Path) -> Result:
    asked = f"The report {str(path)!r} was asked for"
    try:
        return Result.from_json(path.read_bytes())
    except OSError as error:
        raise InputError(asked, f"it cannot be read ({error.strerror})", "Name a file that --report wrote") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InputError(asked, f"it is no result: {problem['msg']}", "Name a file that --report wrote") from None


def rounds_of(store: Path, result: Result) -> tuple[Round, ...]:
    """The rounds behind a stored result."""
    return open_store(store).rounds(result.study)


def ceilings_of(store: Path, result: Result) -> Ceilings | None:
    """What the result's machine can do at best, where `assay doctor --measure` was run on it."""
    return open_store(store).get(CEILINGS, result.environment.machine.content_digest, Ceilings)


__all__ = [
    "Contest",
    "ContestInterrupted",
    "Decoding",
    "Interrupted",
    "LoadedModel",
    "Result",
    "Study",
    "StudyVariant",
    "audit",
    "build",
    "build_shipped",
    "build_to",
    "ceilings_of",
    "check_runner",
    "compare",
    "compare_commands",
    "comparison_study",
    "difference",
    "experiment_report",
    "gate_commands",
    "gate_study",
    "is_encoder",
    "load",
    "plan",
    "recheck_experiment",
    "rounds_of",
    "run",
    "run_experiment",
    "stored",
    "stored_result",
    "transforms_of",
    "variant_of",
]
