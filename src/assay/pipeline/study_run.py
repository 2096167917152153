"""A study from its file to its result: build, quality, rounds, verdict. It repeats nothing that the store holds.

It refuses to run one study twice at once on one store.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assay import catalog
from assay.core.canonical import digest
from assay.core.errors import RunError, StudyError
from assay.core.records import (
    MEASURED,
    Absent,
    Artifact,
    Decoding,
    Environment,
    Estimate,
    LayerFidelity,
    Load,
    Machine,
    Measured,
    ModelSource,
    Outcome,
    Parity,
    Quality,
    Roofs,
    Round,
    Target,
    Workload,
)
from assay.core.study import ENCODER_WORKLOADS, Study
from assay.judge.checks.parity import UNMEASURED
from assay.keep.store import Store
from assay.pipeline import fitting, text_check
from assay.pipeline.births import WorkerServer, servers_of
from assay.pipeline.decisions import SPEED_METRICS, compare_cell
from assay.pipeline.energy import Energy
from assay.pipeline.plan import (
    NULL_NAME,
    BuiltRow,
    PlannedRow,
    Tokens,
    UnbuiltRow,
    capacity_needed,
    measured_workloads,
    missing_engine,
    plan_rows,
    study_digest,
    target_of,
    tokens_needed,
)
from assay.pipeline.prediction import known_ceilings, measured_roofs
from assay.pipeline.processes import WorkerFailed, WorkerProcess
from assay.pipeline.rounds import Bench, RoundInProgress
from assay.pipeline.text_check import TEXT_CHECK_POSITIONS
from assay.run.measure import environment as surroundings
from assay.run.measure.energy.probe import probe

PACKAGES = ("assay", "torch", "numpy")
"""Packages whose versions change speed."""

_TARGET_ROUNDS = 10
_FIRST_ROUND_OVERHEAD_S = 8.0
_FINAL = frozenset({"unsupported", "plan_failed", "out_of_memory"})
_ATTEMPTS = 3
_BUILD_TIMEOUT_S = 3600.0


class Progress(Protocol):
    """What a stage tells whoever watches; silent while anything is timed."""

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """A stage of `total` steps begins; it takes `within_s` seconds at most where that is said."""

    def advance(self, done: float) -> None:
        """So many steps of the stage are done."""

    def say(self, text: str) -> None:
        """A line that stays."""


@dataclass(frozen=True)
class Evidence:
    """All that was measured in a study, before it is judged."""

    study: Study
    digest: str
    source: ModelSource
    tokens: Tokens
    rows: tuple[BuiltRow, ...]
    unbuilt: tuple[UnbuiltRow, ...]
    workloads: tuple[Workload, ...]
    rounds: tuple[Round, ...]
    quality: tuple[Quality, ...]
    environment: Environment
    elapsed_s: float
    complete: bool
    roofs: Roofs
    """The machine's ceilings, where they were measured."""
    remarks: tuple[str, ...] = ()
    """What is odd in the model's files, such as keys of config.json that nobody knows."""


class StudyRun:
    """Carries a study through build, quality and rounds. Use `measure`, then judge its evidence."""

    def __init__(self, study: Study, store: Store, progress: Progress) -> None:
        self._study = study
        self._store = store
        self._progress = progress
        self._started = time.monotonic()
        self._deadline = self._started + study.measure.budget_s
        self._machine: Machine = surroundings.machine()
        self._packages = surroundings.package_versions(PACKAGES)
        self._load_now = surroundings.LoadWatch()
        self._energy = Energy(probe(study.device).meter)
        self._load_before: Load = self._load_now()

    def measure(self) -> Iterator[Evidence]:
        """Yield the evidence after each stage that adds to it, the last one complete; what was yielded stays usable.

        Raises:
            AssayError: the study cannot be carried out as it is written.
        """
        planned = plan_rows(self._study)
        model = str(self._study.model)
        with WorkerProcess("build") as worker:
            source, model, remarks, tokens = self._prepare(worker, model)
            rows, unbuilt = self._build(worker, model, planned)
        key = study_digest(self._study, source, tokens, self._machine, self._packages)
        workloads = measured_workloads(self._study, tokens)
        threads = self._study.threads or self._machine.usable_cpus
        ceilings = known_ceilings(self._store, self._study.device)
        roofs = measured_roofs(ceilings, self._machine.cpu_model, threads)
        with self._store.lock(key):
            self._store.add_study(key, self._study.name, self._study.to_json())

            def evidence(quality: Sequence[Quality], complete: bool) -> Evidence:
                return Evidence(
                    study=self._study,
                    digest=key,
                    source=source,
                    tokens=tokens,
                    rows=rows,
                    unbuilt=unbuilt,
                    workloads=workloads,
                    rounds=self._store.rounds(key),
                    quality=tuple(quality),
                    environment=self._environment(self._load_before, self._load_now()),
                    elapsed_s=time.monotonic() - self._started,
                    complete=complete,
                    roofs=roofs,
                    remarks=remarks,
                )

            quality: list[Quality] = []
            for measured in self._quality(model, rows, tokens):
                quality.append(measured)
                yield evidence(quality, complete=False)
            for complete in self._rounds(key, rows, workloads, tokens):
                yield evidence(quality, complete)

    def _environment(self, before: Load, after: Load) -> Environment:
        threads = self._study.threads or self._machine.usable_cpus
        return surroundings.environment(before, after, threads, described=self._machine)

    # ------------------------------------------------------------------------------------------------ build

    def _prepare(self, worker: WorkerProcess, model: str) -> tuple[ModelSource, str, tuple[str, ...], Tokens]:
        """The source, the name by which every worker finds the same files, what is odd in them, and the text's ids."""
        self._progress.stage("reading the model", 2)
        model = catalog.assembled_model(model, self._store.directory, self._progress.say)
        try:
            inspected = worker.ask("inspect", _BUILD_TIMEOUT_S, model=model, adapter=self._study.adapter)
            self._progress.advance(1)
            source = ModelSource.from_json(json.dumps(inspected["source"]))
            model = inspected["model"]
            self._study = _fitting_workloads(self._study, str(inspected["config"].get("model_type")))
            for remark in inspected["remarks"]:
                self._progress.say(remark)
            at_least = tokens_needed(self._study)
            name = digest([source.digest, self._study.quality.text, at_least, self._study.measure.seed])
            path = self._store.directory / "tokens" / f"{name}.json"
            told = worker.ask(
                "tokens",
                _BUILD_TIMEOUT_S,
                model=model,
                text=self._study.quality.text,
                at_least=at_least,
                path=str(path),
                seed=self._study.measure.seed,
            )
        except WorkerFailed as failure:
            raise RunError(
                f"The model {model!r} was asked for", failure.outcome.message, "Check the file, and the memory left"
            ) from None
        self._progress.advance(2)
        tokens = Tokens(path, told["tokens"], told["description"], told["text_digest"], bool(told["source"]))
        return source, model, tuple(inspected["remarks"]), tokens

    def _build(
        self, worker: WorkerProcess, model: str, planned: Sequence[PlannedRow]
    ) -> tuple[tuple[BuiltRow, ...], tuple[UnbuiltRow, ...]]:
        rows: list[BuiltRow] = []
        unbuilt: list[UnbuiltRow] = []
        self._progress.stage("building", len(planned))
        for done, plan in enumerate(planned, start=1):
            target = target_of(self._study, plan.runtime)
            absent = missing_engine(plan.runtime)
            if absent is not None:
                unbuilt.append(UnbuiltRow(plan, absent))
                continue
            try:
                built = worker.ask(
                    "build",
                    _BUILD_TIMEOUT_S,
                    model=model,
                    adapter=self._study.adapter,
                    transforms=[spec.model_dump(mode="json") for spec in plan.variant.transforms],
                    format=target.format,
                    cache=str(self._store.artifacts_directory),
                )
            except WorkerFailed as failure:
                unbuilt.append(UnbuiltRow(plan, failure.outcome))
                if not failure.alive:
                    raise RunError(
                        f"The variant {plan.name!r} was to be built", failure.outcome.message, "Free some memory"
                    ) from None
            else:
                artifact = Artifact.from_json(json.dumps(built["artifact"]))
                rows.append(BuiltRow(plan, artifact, Path(built["directory"]), target))
            self._progress.advance(done)
        return tuple(rows), tuple(unbuilt)

    # ------------------------------------------------------------------------------------------------ quality

    def _quality(self, model: str, rows: Sequence[BuiltRow], tokens: Tokens) -> Iterator[Quality]:
        """Measure the quality of each row once; the reference first, in processes that time nothing."""
        plan = self._study.quality
        reference = next((row for row in rows if row.plan.variant.name == self._study.reference), None)
        if plan.tokens == 0 or reference is None:
            return
        key = digest([plan.model_dump(mode="json"), tokens.digest, reference.artifact.digest, self._machine.cpu_model
                      if isinstance(self._machine.cpu_model, str) else ""])  # fmt: skip
        known = {
            (measured.artifact, measured.target, measured.decoding): measured for measured in self._store.quality(key)
        }
        missing = [row for row in rows if _scored(row) not in known]
        yield from (_renamed(known[_scored(row)], row) for row in rows if _scored(row) in known)
        if not missing:
            return
        self._progress.stage("quality", len(missing))
        with self._scratch(key) as logits, ExitStack() as stack:
            servers = servers_of(stack, [row.target.runtime for row in rows])
            anchors = _anchors(rows)
            again = [anchor for row in missing for anchor in rows if anchor.name == anchors.get(row.name)]
            wanted: dict[object, BuiltRow] = {}
            for row in (reference, *again, *missing):
                wanted.setdefault(_scored(row), row)  # the reference first, whatever is the same program
            for done, row in enumerate(wanted.values()):
                server = servers[row.target.runtime]
                measured = self._quality_of(model, row, reference, logits, tokens, key, server, anchors)
                self._progress.advance(done + 1)
                if _scored(row) not in known:
                    self._store.add_quality(measured)
                    yield from (_renamed(measured, alike) for alike in rows if _scored(alike) == _scored(row))

    def _quality_of(
        self,
        model: str,
        row: BuiltRow,
        reference: BuiltRow,
        logits: Path,
        tokens: Tokens,
        key: str,
        server: WorkerServer,
        anchors: Mapping[str, str],
    ) -> Quality:
        plan = self._study.quality
        context = row.artifact.contract.context_length
        timeout_s = self._study.measure.timeout_s
        metrics: dict[str, Any] = {}
        recipe: str | Absent
        scored, recipe, outcome = 0, Absent(reason="not scored"), Outcome(kind="ok")
        encodes = row.artifact.contract.is_encoder
        text: str | Absent = Absent(reason="an encoder writes no text" if encodes else "no sample was asked for")
        parity: Parity | Absent = Absent(reason="no other row is of this variant")
        layers: tuple[LayerFidelity, ...] | Absent = Absent(reason="an encoder is held by its embeddings")
        try:
            with self._opened(row, tokens, server) as worker:
                asked: dict[str, Any] = {
                    "context": min(plan.context, context),
                    "at_least": plan.tokens,
                    "reference": str(logits),
                    "is_reference": row is reference,
                }
                if encodes:
                    of_text = {"model": model, "text": plan.text, "seed": self._study.measure.seed}
                    answer = worker.ask("encoding_quality", timeout_s, **of_text, **asked)
                else:
                    answer = worker.ask("quality", timeout_s, has_text=tokens.is_text, **asked)
                metrics = {name: _measured(value) for name, value in answer["metrics"].items()}
                scored, recipe = answer["tokens"], answer["recipe"]
                if not encodes:
                    layers = self._layers_of(worker, row is reference, logits)
                if row.name in anchors and not encodes:
                    parity = self._parity_of(worker, row, anchors[row.name], logits, context)
                if encodes:
                    pass
                elif plan.sample_tokens and tokens.is_text:
                    told = worker.ask(
                        "generate",
                        timeout_s,
                        model=model,
                        prompt=plan.sample_prompt,
                        new_tokens=plan.sample_tokens,
                        chat=plan.sample_chat,
                    )
                    text = told["text"] if "text" in told else Absent(reason=told["absent"])
                elif plan.sample_tokens:
                    text = Absent(reason=f"no tokenizer: {tokens.description}")
                checks_text = plan.text_check and tokens.is_text and not encodes
                told_text = text_check.written_by(worker, model, timeout_s) if checks_text else {}
                if plan.text_check and not checks_text:
                    metrics["text_compression"] = Absent(reason="it writes no text" if encodes else "no tokenizer")
            if "metrics" in told_text:
                metrics |= told_text["metrics"]
                metrics[text_check.LIKELIHOOD] = text_check.likelihood_of(
                    told_text, lambda: self._opened(reference, tokens, None), timeout_s
                )
        except WorkerFailed as failure:
            outcome = failure.outcome
            text = Absent(reason=outcome.message)
            parity = Absent(reason=f"{UNMEASURED}: {outcome.message}")
            layers = Absent(reason=outcome.message)
        return Quality(
            study=key,
            variant=row.name,
            artifact=row.artifact.digest,
            target=row.target,
            decoding=row.plan.variant.decoding,
            reference=reference.name,
            text=tokens.description,
            text_digest=tokens.digest,
            tokens=scored,
            recipe=recipe,
            context=min(plan.context, context),
            metrics=metrics,
            sample_prompt=plan.sample_prompt,
            sample_text=text,
            outcome=outcome,
            parity=parity,
            layers=layers,
        )

    def _layers_of(self, worker: WorkerProcess, is_reference: bool, logits: Path) -> tuple[LayerFidelity, ...] | Absent:
        """How far an open row's layers are from the reference's."""
        path = logits.with_name(f"{logits.stem}.layers.npz")
        told = worker.ask("layers", self._study.measure.timeout_s, path=str(path), is_reference=is_reference)
        if "absent" in told:
            return Absent(reason=told["absent"])
        return tuple(LayerFidelity.model_validate_json(json.dumps(layer)) for layer in told["layers"])

    def _parity_of(
        self, worker: WorkerProcess, row: BuiltRow, anchor: str, logits: Path, context: int
    ) -> Parity | Absent:
        """How an open row's predictions compare with the same variant's on the first runtime."""
        path = logits.with_name(f"{logits.stem}.{digest(anchor)[:12]}.npz")
        capacity = capacity_needed(self._study, context)
        if row.name != anchor and not path.exists():
            return Absent(reason=f"{UNMEASURED}: {anchor} gave no logits to be held against")
        timeout_s = self._study.measure.timeout_s
        told = worker.ask(
            "parity", timeout_s, path=str(path), is_anchor=row.name == anchor, capacity=capacity, context=context
        )
        if row.name == anchor:
            return Absent(reason="the rows of other runtimes are held against this one")
        return Parity.model_validate_json(json.dumps({"against": anchor, **told}))

    @contextmanager
    def _opened(self, row: BuiltRow, tokens: Tokens, server: WorkerServer | None) -> Iterator[WorkerProcess]:
        """A worker that has a row open, with room for a window of the text and for what it is to write."""
        plan, context = self._study.quality, row.artifact.contract.context_length
        room = min(max(plan.context, TEXT_CHECK_POSITIONS if plan.text_check else 0), context)
        with WorkerProcess(row.name, server) as worker:
            worker.ask(
                "open",
                self._study.measure.timeout_s,
                directory=str(row.directory),
                target=row.target.model_dump(mode="json"),
                decoding=row.plan.variant.decoding.model_dump(mode="json"),
                capacity=max(capacity_needed(self._study, context), room),
                batch=1,
                tokens=str(tokens.path),
            )
            yield worker

    @contextmanager
    def _scratch(self, key: str) -> Iterator[Path]:
        """The file of the reference's logits; it lives as long as the stage."""
        path = self._store.directory / "scratch" / f"{key}.logits"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            for leftover in path.parent.glob(f"{key}.*"):
                leftover.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------ rounds

    def _rounds(
        self, key: str, rows: Sequence[BuiltRow], workloads: Sequence[Workload], tokens: Tokens
    ) -> Iterator[bool]:
        """Take rounds until every cell is decided or the budget is spent; yield whether all is decided."""
        policy = self._study.measure
        baseline = next((row for row in rows if row.plan.role == "baseline"), None)
        everyone = (*rows, _null_row(baseline)) if policy.null_variant and baseline else tuple(rows)
        timed = [workload for workload in workloads if workload.kind != "load"]
        overhead_s = _FIRST_ROUND_OVERHEAD_S
        self._progress.stage("measuring", policy.max_rounds, max(self._deadline - time.monotonic(), 0.0))
        while True:
            rounds = self._store.rounds(key)
            gone = _given_up(rounds)
            active = [row for row in everyone if row.name not in gone]
            taken = fitting.taken(rounds, [row.name for row in active])
            undecided = self._undecided(rounds, taken, [row for row in rows if row.name not in gone], timed)
            self._progress.advance(taken)
            if not undecided or taken >= policy.max_rounds or not active:
                yield not undecided
                return
            wanted = max(_TARGET_ROUNDS - taken, 1) if taken < _TARGET_ROUNDS else 1
            left_s = self._deadline - time.monotonic()
            share_s = max(left_s / wanted - overhead_s, 0.0)
            if left_s < overhead_s + self._shortest_round_s(rounds):
                yield False
                return
            capacity = capacity_needed(self._study, rows[0].artifact.contract.context_length)
            available = self._available()
            needs = fitting.needs_of(rounds, active, undecided, capacity)
            members = fitting.members(rounds, active, needs, available)
            bench = Bench(
                study=key,
                policy=policy,
                rows=members,
                tokens=tokens,
                capacity=capacity,
                surroundings=self._environment,
                load_now=self._load_now,
                skipped=fitting.not_tried(rounds, members, undecided, capacity, available),
                energy=self._energy,
                together=fitting.fits([row.name for row in members], needs, available),
            )
            begun = time.monotonic()
            measured = RoundInProgress(bench, len(rounds), undecided, share_s).measure()
            overhead_s = max(time.monotonic() - begun - _timed_s(measured), 1.0)
            self._store.add_round(measured)
            yield False

    def _available(self) -> Measured:
        if self._study.device != "cpu":
            return Absent(reason=f"how much memory {self._study.device} has is not asked")
        return surroundings.load().available_bytes

    def _undecided(
        self, rounds: Sequence[Round], taken: int, rows: Sequence[BuiltRow], timed: Sequence[Workload]
    ) -> list[Workload]:
        """Workloads in which some candidate's speed is not decided; all of them before the least number of rounds."""
        if taken < self._study.measure.min_rounds or not self._study.measure.stop_early:
            return list(timed)
        baseline = next((row.name for row in rows if row.plan.role == "baseline"), "")
        return [
            workload
            for workload in timed
            if any(
                compare_cell(
                    self._study, rounds, SPEED_METRICS[workload.kind], workload.name, row.name, baseline
                ).outcome
                == "inconclusive"
                for row in rows
                if row.name != baseline
            )
        ]

    def _shortest_round_s(self, rounds: Sequence[Round]) -> float:
        """Timed seconds that a round takes at least: one turn of every workload, as the last round saw it."""
        if not rounds:
            return 0.0
        turns = max(
            (1 + max(samples.block) for run in rounds[-1].runs for samples in run.samples if samples.metric == "cpu_s"),
            default=1,
        )
        return _timed_s(rounds[-1]) / turns


def _fitting_workloads(study: Study, model_type: str) -> Study:
    """The study with the default workloads of an encoder where it names none.

    Raises:
        StudyError: it asks an encoder for text, or a model that writes for embeddings.
    """
    encodes = model_type in catalog.ENCODERS
    if encodes and "workloads" not in study.model_fields_set:
        return study.model_copy(update={"workloads": ENCODER_WORKLOADS})
    for workload in study.workloads:
        if workload.kind != "load" and encodes != (workload.kind == "encode"):
            raise StudyError(
                f"The workload {workload.name!r} was asked of {study.model!r}",
                f"a {model_type} model {'reads texts and writes none' if encodes else 'writes text'}",
                "Use workloads of the kind 'encode'" if encodes else "Use prefill, decode or generate",
            )
    return study


def _timed_s(measured: Round) -> float:
    """Seconds inside the timed turns of a round, and inside its energy windows."""
    windows = [run.facts.get("energy_window_s") for run in measured.runs]
    # The parts of a call are timed inside the call, which is the longest of a run's series.
    calls = [
        max((sum(s.steady) for s in run.samples if s.block and s.metric != "cpu_s"), default=0.0)
        for run in measured.runs
    ]
    return sum(window for window in windows if isinstance(window, float)) + sum(calls)


def _null_row(baseline: BuiltRow) -> BuiltRow:
    plan = PlannedRow(name=NULL_NAME, variant=baseline.plan.variant, runtime=baseline.plan.runtime, role="null")
    return BuiltRow(plan, baseline.artifact, baseline.directory, baseline.target)


def _given_up(rounds: Sequence[Round]) -> Mapping[str, Outcome]:
    """Rows that are not tried again: at once where a retry cannot help, else after three failures."""
    failures: dict[str, list[Outcome]] = {}
    for measured in rounds:
        for run in measured.runs:
            if run.workload.kind == "load" and run.outcome.kind != "ok":
                failures.setdefault(run.variant, []).append(run.outcome)
    return {
        name: outcomes[-1]
        for name, outcomes in failures.items()
        if outcomes[-1].kind in _FINAL or len(outcomes) >= _ATTEMPTS
    }


def _anchors(rows: Sequence[BuiltRow]) -> dict[str, str]:
    """From each row of a variant that has several runtimes to its row on the first of them."""
    by_variant: dict[str, list[str]] = {}
    for row in rows:
        by_variant.setdefault(row.plan.variant.name, []).append(row.name)
    return {name: names[0] for names in by_variant.values() if len(names) > 1 for name in names}


def _scored(row: BuiltRow) -> tuple[str, Target, Decoding]:
    """What a quality record belongs to: one artifact gives other numbers on another runtime, or decoded otherwise."""
    return row.artifact.digest, row.target, row.plan.variant.decoding


def _renamed(known: Quality, row: BuiltRow) -> Quality:
    return known.model_copy(update={"variant": row.name})


def _measured(value: Any) -> float | Absent | Estimate:
    if isinstance(value, Mapping) and "method" in value:
        return Estimate.model_validate(value)
    return MEASURED.validate_python(value)
