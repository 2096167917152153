"""The records: every noun of the line, frozen, versioned, and round-tripping through JSON.

They refuse unknown fields, NaN, infinity and missing values: what could not be measured is `Absent` with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from assay.core.canonical import digest

Value = TypeVar("Value")
Scalar = str | bool | int | float | tuple[str, ...] | tuple[int, ...]


def _freeze(mapping: Mapping[str, Value]) -> Mapping[str, Value]:
    return MappingProxyType(dict(mapping))


FrozenMap = Annotated[Mapping[str, Value], AfterValidator(_freeze), PlainSerializer(dict)]
"""A mapping that cannot be changed after validation."""


def _tuples(content: Any) -> Any:
    """JSON's arrays as tuples: what a `before` validator returns is validated strictly as Python, without arrays."""
    if isinstance(content, list):
        return tuple(_tuples(item) for item in content)
    if isinstance(content, dict):
        return {key: _tuples(item) for key, item in content.items()}
    return content


class Record(BaseModel):
    """Base of every record: frozen, strict, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True, ser_json_inf_nan="strings")

    def to_json(self) -> str:
        """JSON text from which `from_json` makes an equal record."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a record of this or an earlier format version.

        Raises:
            pydantic.ValidationError: a field is missing, unknown or of the wrong type.
        """
        return cls.model_validate_json(text)

    @property
    def content_digest(self) -> str:
        """SHA-256 of the canonical JSON of this record."""
        return digest(self.model_dump(mode="json"))


class Versioned(Record):
    """A record that is stored on its own. `upgrade` brings an older version's fields to the present one."""

    FORMAT_VERSION: ClassVar[int] = 1

    format_version: int = 1

    @model_validator(mode="before")
    @classmethod
    def _upgrade_or_refuse(cls, fields: Any, info: ValidationInfo) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        if info.mode == "json":
            fields = _tuples(fields)
        found = fields.get("format_version", cls.FORMAT_VERSION)
        if not isinstance(found, int) or not 1 <= found <= cls.FORMAT_VERSION:
            raise ValueError(
                f"{cls.__name__} has format version {found!r}; this Assay reads 1..{cls.FORMAT_VERSION}: "
                "install a newer Assay"
            )
        upgraded = dict(fields) if found == cls.FORMAT_VERSION else cls.upgrade(dict(fields), found)
        return {**upgraded, "format_version": cls.FORMAT_VERSION}

    @classmethod
    def upgrade(cls, fields: dict[str, Any], found: int) -> dict[str, Any]:
        """Bring the fields of format version `found` to the present one. Overridden when a version is added."""
        raise ValueError(f"{cls.__name__} has no upgrade from format version {found}")


class Absent(Record):
    """What could not be measured, and why. Never 0, NaN, None or an empty string."""

    reason: str = Field(min_length=1)


Measured = float | Absent
"""A number, or why there is none."""
Text = str | Absent
"""A string, or why there is none."""


# ---------------------------------------------------------------------------------------------- what is built


class ModelSource(Record):
    """Where the weights come from, pinned by content."""

    kind: Literal["hf_directory", "gguf", "nanogpt", "random"]
    location: str
    """Path, package or hub id as the user gave it."""
    revision: Text = Absent(reason="a local source has no revision")
    digest: str
    """SHA-256 over the source's files."""
    quantisation: Text = Absent(reason="the source is not quantised")
    """Such as `Q4_1`: the precision that the source's weights already lost, shown in every table they enter."""
    adapter: Text = Absent(reason="no adapter was merged")
    """The directory of the LoRA adapter that was merged into the weights; its content is part of the digest."""


class TransformSpec(Record, use_attribute_docstrings=True):
    """A build-time change by name; build holds the options class and `apply`.

    In a study the options may stand beside the kind: `{kind = "cast", dtype = "bf16"}`.
    """

    kind: str
    """Name of a transform (`assay list transforms`)."""
    options: FrozenMap[Scalar] = Field(default_factory=dict)
    """The transform's own keys; in a study they may stand beside `kind`."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, fields: Any, info: ValidationInfo) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        if info.mode == "json":
            fields = _tuples(fields)
        if "options" in fields:
            return fields
        return {"kind": fields.get("kind"), "options": {k: v for k, v in fields.items() if k != "kind"}}


class Target(Record):
    """Where and on what an artifact runs."""

    runtime: str = "torch"
    format: str = "torch"
    device: str = "cpu"
    compute_units: str = "all"
    threads: int = Field(default=0, ge=0)
    """0 means as many as the process may use; the facts say how many that was."""


class Decoding(Record, use_attribute_docstrings=True):
    """What changes at run time without new files."""

    kv_cache: Literal["static", "growing", "none"] = "static"
    """`static` holds keys and values at their full length from the start; `growing` takes memory as the sequence
    grows; `none` computes them anew. Layers with a sliding window keep the window and little more in either."""
    prefill_chunk: int = Field(default=0, ge=0)
    """Tokens per prefill call; 0 means the whole prompt at once."""
    head: Literal["last", "all"] = "last"
    """Logits that a prefill computes: of each call's last token, or of all its tokens (with the runtime torch)."""


class Variant(Record):
    """The whole recipe: a source, a list of transforms, a target, a way of decoding."""

    name: str = Field(min_length=1)
    source: ModelSource
    transforms: tuple[TransformSpec, ...] = ()
    target: Target = Target()
    decoding: Decoding = Decoding()


class ArtifactFile(Record):
    """One file of an artifact, by its name inside the artifact's directory."""

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str


class Change(Record):
    """What one transform changed."""

    kind: str
    modules: tuple[str, ...] = Field(min_length=1)
    """Names of the changed modules or tensors, in the order of the model."""
    bytes_before: int = Field(ge=0)
    bytes_after: int = Field(ge=0)
    notes: tuple[str, ...] = ()
    """What a user must know, such as `expanded to bf16 at load`."""


class Contract(Record):
    """What every part of a bundle must agree on; checked at build and at load."""

    architecture: str
    """`model_type` of config.json."""
    context_length: int = Field(gt=0)
    sliding_window: int | Absent
    num_sliding_layers: int = Field(default=0, ge=0)
    """Layers that see no more than `sliding_window` tokens; the others see the whole context."""
    num_kv_shared_layers: int = Field(default=0, ge=0)
    """Layers that read the keys and values of earlier ones and keep none."""
    extra_matmul_parameters: int = 0
    """Weights of matrix products beyond those that the other fields imply; negative where there are fewer."""
    vocab_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    gated_mlp: bool
    tie_word_embeddings: bool
    dtype: str
    """Type of activations and KV cache: `float32`, `bfloat16`, `float16`."""
    head: Literal["causal", "embedding", "classification", "encoder_decoder"] = "causal"
    """What comes out: the next token's logits, a sentence's unit vector, its labels' logits, or the next token's logits
    of a decoder that reads what an encoder made of a source."""

    @property
    def is_encoder(self) -> bool:
        """Whether it reads texts whole and writes none."""
        return self.head in ("embedding", "classification")


class Artifact(Versioned):
    """Built files, content-addressed, cached, never edited."""

    digest: str
    """SHA-256 of the recipe: source, transforms, format, toolchain. The key of the cache."""
    format: str
    source: ModelSource
    transforms: tuple[TransformSpec, ...]
    files: tuple[ArtifactFile, ...]
    changes: tuple[Change, ...]
    contract: Contract
    parameter_count: int = Field(gt=0)
    """Parameters of the model; a tied embedding counts once."""
    weight_bytes: int = Field(gt=0)
    """Bytes of all tensors on disk, scales and palettes included."""
    resident_weight_bytes: int = Field(gt=0)
    """Bytes of the weights once loaded (palettes are expanded)."""
    decode_weight_bytes: int = Field(gt=0)
    """Bytes that one decode step streams: without the rows of an untied embedding that are only looked up."""
    toolchain: FrozenMap[str]

    @property
    def bits_per_weight(self) -> float:
        """8 weight_bytes / parameter_count."""
        return 8 * self.weight_bytes / self.parameter_count


class PlannedArtifact(Record):
    """The sizes of an artifact before it is built, from the config alone; the fields are those of `Artifact`."""

    contract: Contract
    parameter_count: int = Field(gt=0)
    weight_bytes: int = Field(gt=0)
    resident_weight_bytes: int = Field(gt=0)
    decode_weight_bytes: int = Field(gt=0)

    @property
    def bits_per_weight(self) -> float:
        """8 weight_bytes / parameter_count."""
        return 8 * self.weight_bytes / self.parameter_count


# ---------------------------------------------------------------------------------------------- what is run


class Workload(Record, use_attribute_docstrings=True):
    """What is asked of a runtime. The tokens are the first ones of the study's text."""

    kind: Literal["load", "prefill", "decode", "generate", "encode", "train_step", "call"]
    """`load`, `prefill` (the prompt at once), `decode` (one token after another), `generate` (both), `encode` (a batch
    of texts, by a model that writes none), `train_step` (forward, backward and AdamW on one batch). `call` is a
    callable or a command, and no part of a study."""
    prompt_tokens: int = Field(default=128, ge=0)
    """Length of the prompt; for `decode` the tokens already in the KV cache; for `encode` and `train_step` each
    sequence's."""
    new_tokens: int = Field(default=64, ge=0)
    """Tokens that follow the prompt; not used by `load`, `prefill`, `encode` and `train_step`."""
    batch: int = Field(default=1, ge=1)
    """Sequences side by side."""
    text_digest: str = ""
    """Filled in by Assay: digest of the text from which the tokens come."""
    seed: int = 0
    """Filled in by Assay from `measure.seed`."""

    @property
    def positions(self) -> int:
        """Tokens of one sequence at its end; a load reads one."""
        if self.kind in ("load", "call"):
            return 1
        return self.prompt_tokens + (self.new_tokens if self.kind in ("decode", "generate") else 0)

    @property
    def name(self) -> str:
        """Short name for tables: `prefill 512`, `decode 128+64`, `load`."""
        batch = f" x{self.batch}" if self.batch > 1 else ""
        match self.kind:
            case "load" | "call":
                return self.kind
            case "prefill":
                return f"prefill {self.prompt_tokens}{batch}"
            case "encode":
                return f"encode {self.prompt_tokens}{batch}"
            case "train_step":
                return f"train_step {self.prompt_tokens}{batch}"
            case _:
                return f"{self.kind} {self.prompt_tokens}+{self.new_tokens}{batch}"


class Samples(Record):
    """Raw values of one metric, in the order in which they were taken; the first `warmup` of them are warm-up."""

    metric: str
    values: tuple[float, ...]
    block: tuple[int, ...] = ()
    """Number of the block (turn) of each value; empty where there were no blocks."""
    started_s: tuple[float, ...] = ()
    """Start of each value on the machine's monotonic clock, comparable between the workers of a round."""
    warmup: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        for name, column in (("block", self.block), ("started_s", self.started_s)):
            if column and len(column) != len(self.values):
                raise ValueError(f"{name} has {len(column)} entries for {len(self.values)} values")
        if self.warmup > len(self.values):
            raise ValueError(f"{self.warmup} warm-up values of {len(self.values)}")
        return self

    @property
    def steady(self) -> tuple[float, ...]:
        """The values after warm-up."""
        return self.values[self.warmup :]


class Outcome(Record):
    """How a run ended; failures are rows, with the engine's own words."""

    kind: Literal["ok", "out_of_memory", "crashed", "timed_out", "plan_failed", "unsupported", "wrong_answer"]
    """`wrong_answer`: an engine that owns its loop answered what cannot be true."""
    message: str = ""
    attempts: int = Field(default=1, ge=1)
    successes: int = Field(default=1, ge=0)


class Load(Record):
    """The state of the machine at one moment."""

    load_average: Measured
    """Runnable processes, mean of one minute."""
    psi_cpu_some_avg10: Measured
    """Per cent of the last 10 s in which some process waited for a CPU."""
    steal_fraction: Measured
    """Share of CPU time taken by the hypervisor since boot or since the moment before."""
    available_bytes: Measured
    frequency_hz: Measured
    temperature_c: Measured
    thermal_state: Text


class Machine(Record):
    """What does not change between runs on one machine."""

    system: str
    release: str
    architecture: str
    cpu_model: Text
    isa: tuple[str, ...]
    """Instruction sets that matter: avx2, avx512f, avx512_vnni, avx512_bf16, amx_bf16, amx_int8, neon..."""
    logical_cpus: int
    usable_cpus: int
    """CPUs that this process may run on (affinity and cgroup quota)."""
    cache_bytes: FrozenMap[int]
    """`L1d`, `L2`, `L3`: bytes of one instance."""
    memory_bytes: int
    cgroup_memory_bytes: Measured
    hypervisor: Text
    governor: Text
    accelerators: tuple[str, ...]


class Environment(Record):
    """Everything around a run that can change its numbers."""

    machine: Machine
    python: str
    packages: FrozenMap[str]
    """Versions of what computes or measures: torch, numpy, assay..."""
    threads: int
    thread_settings: FrozenMap[str]
    """OMP_NUM_THREADS, KMP_BLOCKTIME, MKL_NUM_THREADS and their like, where set."""
    git_revision: Text
    before: Load
    after: Load


_NOT_TRAINED = Absent(reason="no training step was taken")


class Memory(Record):
    """Memory of one worker, read from the kernel's own high-water marks."""

    before_bytes: Measured
    """Resident before the weights were loaded."""
    load_peak_bytes: Measured
    after_load_bytes: Measured
    peak_bytes: Measured
    """Highest resident size while the workloads ran."""
    peak_anonymous_bytes: Measured
    file_mapped_bytes: Measured
    kv_cache_bytes: Measured
    device_peak_bytes: Measured
    gradient_bytes: Measured = _NOT_TRAINED
    optimizer_state_bytes: Measured = _NOT_TRAINED
    activation_bytes: Measured = _NOT_TRAINED
    """Kept by a training step's forward pass for its backward pass."""


class Established(Record):
    """A fact that a probe established on this machine, and what it stands on."""

    name: str
    """Such as `matmul_precision` or `compilation_engaged`."""
    found: bool | str | Absent
    evidence: str
    """The figure that it stands on, in words."""


class Ceilings(Versioned):
    """The most that a machine did in a short probe: what measured speeds are held against."""

    machine: str
    """Digest of the `Machine`."""
    measured_utc: str
    elapsed_s: float = Field(ge=0)
    device: str = "cpu"
    threads: int = Field(ge=1)
    flops_per_s: FrozenMap[Measured]
    """Best matrix product by type: `float32`, `bfloat16`, `float16`, `int8` (there, integer operations)."""
    cache_bytes_per_s: FrozenMap[Measured]
    """Best bandwidth inside the last-level cache by kernel: `read_sum`, `triad`, `gemv`."""
    memory_bytes_per_s: FrozenMap[Measured]
    """Best bandwidth on arrays of more than four times the last-level cache, by the same kernels."""
    dispatch_floor_s: FrozenMap[Measured]
    """Time of the smallest operation by runtime: what a call costs that computes almost nothing."""
    clock_resolution_s: float = Field(gt=0)
    noise: Measured
    """Interquartile range over median of repeated equal products."""
    cpu_share: Measured
    """CPU time / (wall time x threads) of the products: below .9 something else ran on these CPUs."""
    contention: tuple[str, ...]
    """Why the probe is not to be trusted; empty where nothing was seen."""
    established: tuple[Established, ...] = ()
    """What else was probed: precision of products, compilation, synchronisation, the energy meter."""
    before: Load
    after: Load

    @property
    def memory_bandwidth(self) -> Measured:
        """Best bandwidth outside of the cache, bytes/s: the ceiling of decode."""
        found = [value for value in self.memory_bytes_per_s.values() if isinstance(value, float)]
        return max(found) if found else Absent(reason="the probe measured no bandwidth outside of the cache")


class Run(Versioned):
    """One worker on one workload in one round: raw samples and facts."""

    id: str
    study: str
    """Digest of what the study measures; runs are found again by it, never by a file's name."""
    round: int = Field(ge=0)
    variant: str
    artifact: str
    """Digest of the artifact."""
    target: Target
    decoding: Decoding
    workload: Workload
    samples: tuple[Samples, ...]
    facts: FrozenMap[Scalar]
    """What happened (threads, kernels, effective dtype, cache state), never what was asked."""
    environment: Environment
    memory: Memory
    outcome: Outcome
    started_utc: str

    def samples_of(self, metric: str) -> Samples | Absent:
        """The samples of one metric, or why there are none."""
        for samples in self.samples:
            if samples.metric == metric:
                return samples
        return Absent(reason=f"{self.workload.name} of {self.variant} recorded no {metric}")


class Round(Versioned):
    """The runs that were alive together, and the figures that compare them."""

    study: str
    index: int = Field(ge=0)
    order: tuple[str, ...]
    """Variants in the order in which their workers were spawned."""
    runs: tuple[Run, ...]
    shared_memory: bool = True
    """False where the workers did not fit together and were loaded in turn."""


class Estimate(Record):
    """A number with its interval at `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str


class Parity(Record):
    """How a row's predictions compare with those of the same variant on the study's first runtime."""

    against: str
    """Name of the row on the first runtime."""
    tokens: int = Field(ge=0)
    """Positions at which logits were compared: a window of the text, and steps through the KV cache."""
    kl_nats: Measured
    """Mean KL divergence over the window, which is read at once."""
    kl_steps_nats: Measured
    """The same over the steps, which are taken one by one behind a prompt."""
    psnr_db: Measured
    noise_nats: Measured
    """99th percentile of how far the difference between the first row's two likeliest tokens is off."""
    greedy_tokens: int = Field(ge=0)
    """Greedy tokens that were compared."""
    first_divergence: int | Absent
    """Index of the first greedy token that differs."""
    margin_nats: Measured
    """There: by how much the first row prefers its own token to this row's."""


class LayerFidelity(Record):
    """How far one layer's output is from the reference's."""

    layer: str
    """Its name in the model, such as `model.layers.12`."""
    psnr_db: float


class Quality(Versioned):
    """How far an artifact's predictions are from a reference's, measured once, in a process that times nothing."""

    study: str
    variant: str
    artifact: str
    target: Target
    decoding: Decoding = Decoding()
    reference: str
    """Name of the reference variant."""
    text: str
    """What the text is, for the reader."""
    text_digest: str
    tokens: int
    """Scored target tokens."""
    recipe: Text = Absent(reason="not recorded")
    """How the text was cut and scored, in words."""
    context: int
    metrics: FrozenMap[Measured | Estimate]
    sample_prompt: str
    sample_text: Text
    outcome: Outcome
    parity: Parity | Absent = Absent(reason="not recorded")
    layers: tuple[LayerFidelity, ...] | Absent = Absent(reason="not recorded")
    """By layer, in the order of the model."""


class RuntimeState(Record):
    """One runtime on this machine: usable or not, and why."""

    name: str
    version: Text
    usable: bool
    devices: tuple[str, ...]
    facts: tuple[str, ...]
    reason: str
    """Why it is not usable, and the command that would mend it; empty where it is."""


class Examination(Versioned):
    """What `assay doctor` found."""

    machine: Machine
    load: Load
    runtimes: tuple[RuntimeState, ...]
    models: FrozenMap[str]
    """Names of packaged models, and where each is or how to install it."""
    ceilings: Ceilings | Absent


# ---------------------------------------------------------------------------------------------- what is predicted


class Roofs(Record):
    """The ceilings that a prediction stands on, and where they come from."""

    name: str
    """Of the machine's processor, or of hardware that is not here."""
    kind: Literal["measured", "published", "none"]
    """measured: by `assay doctor --measure` here. published: hardware of the table, which is not here."""
    source: str
    """What measured it and when, or which figures are read in a source and which are recalled."""
    flops_per_s: FrozenMap[Measured]
    """By type of the activations."""
    bytes_per_s: Measured
    dispatch_floor_s: FrozenMap[Measured]
    """By runtime."""


class PlannedCell(Record):
    """One row on one workload before it is built: what a call takes at least. Times are by the roofline."""

    row: str
    workload: str
    tokens: int = Field(ge=0)
    """Tokens that one call works on."""
    flops: Measured
    bytes_moved: Measured
    dispatches: Measured
    """Operations that one call launches."""
    memory_bytes: Measured
    """Weights, KV cache and activations of one worker; the process of the runtime comes on top."""
    compute_s: Measured
    transfer_s: Measured
    dispatch_s: Measured
    seconds: Measured
    """max(compute, transfer) + dispatch, of one call."""
    bound: Literal["compute", "bandwidth", "dispatch"] | Absent

    @property
    def tokens_per_s(self) -> Measured:
        """Tokens of a call / its predicted seconds."""
        return self.seconds if isinstance(self.seconds, Absent) else self.tokens / self.seconds


class PlannedVariant(Record):
    """One row of a plan."""

    name: str
    role: Literal["reference", "baseline", "candidate", "null"]
    runtime: str
    artifact: PlannedArtifact | Absent
    """Absent where it cannot be built, with what the transform or the format says."""
    memory_bytes: Measured
    """Of its worker: the largest of its cells."""


class Plan(Versioned):
    """What a study will cost, before anything is built."""

    name: str
    model: str
    roofs: Roofs
    rows: tuple[PlannedVariant, ...]
    cells: tuple[PlannedCell, ...]
    together_bytes: Measured
    """All workers of a round, alive together."""
    available_bytes: Measured
    """What the machine and its control group leave at the moment."""
    groups: tuple[tuple[str, ...], ...]
    """Rows whose workers are alive together; more than one group where not all fit."""
    warnings: tuple[str, ...]
    """What cannot be built or will not fit."""


# ---------------------------------------------------------------------------------------------- what is judged

ComparisonOutcome = Literal["better", "worse", "equivalent", "inconclusive", "not_comparable"]


class Comparison(Versioned):
    """One metric of a variant against the baseline. `ratio` is variant / baseline of that metric."""

    metric: str
    workload: str
    variant: str
    baseline: str
    ratio: Estimate | Absent
    rounds: int
    method: str
    outcome: ComparisonOutcome
    reason: str
    """Why this outcome, in words that stand beside the number."""
    margin: float
    smallest_effect: Measured
    """Smallest relative effect that the rounds taken would find with 80 % power."""


class Cell(Record):
    """One number of the table: a row and a metric."""

    row: str
    metric: str
    table: str = ""
    """Which table, by `core.figures.labels`; empty where a result has one."""


class Finding(Record):
    """A suspicion or an explanation about cells; ERR strikes them out, WARN marks them, INFO explains."""

    check: str
    severity: Literal["ERR", "WARN", "INFO"]
    cells: tuple[Cell, ...] = Field(min_length=1)
    numbers: FrozenMap[float | str] = Field(default_factory=dict)
    summary: str
    """What was found, with its figures."""
    cause: str
    """From recorded facts only; `cause unknown` otherwise."""
    remedy: str


class Diagnosis(Record):
    """A cause of findings: what recorded facts say for and against it, and the experiment that would tell."""

    cause: str
    """`unknown` where no recorded fact reaches further than the finding itself."""
    checks: tuple[str, ...] = Field(min_length=1)
    """Checks whose findings it would explain."""
    cells: tuple[Cell, ...] = Field(min_length=1)
    supporting: tuple[str, ...] = ()
    """Recorded facts for it."""
    opposing: tuple[str, ...] = ()
    """Recorded facts against it."""
    experiment: str = Field(min_length=1)
    """What to run to know; an `assay` command where Assay can run it."""


class Verdict(Versioned):
    """What to do with one variant, and why."""

    variant: str
    status: Literal["reference", "baseline", "pass", "fail", "inconclusive", "failed_run", "no_gate"]
    reasons: tuple[str, ...] = Field(min_length=1)


class Row(Record):
    """Everything known of one variant, ready to be shown: no number is computed after this."""

    name: str
    role: Literal["reference", "baseline", "candidate", "null"]
    artifact: Artifact | Absent
    metrics: FrozenMap[Measured | Estimate]
    """By metric, or `metric@workload` where a study has several workloads of one kind."""
    outcome: Outcome
    notes: tuple[str, ...] = ()


class Result(Versioned):
    """A judged study: what `report` shows and `--format json` prints."""

    study: str
    name: str
    model: ModelSource
    text: str
    created_utc: str
    elapsed_s: float
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    quality: tuple[Quality, ...]
    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
    thresholds: FrozenMap[float] = Field(default_factory=dict)
    """Of the checks, where a policy set others than the defaults."""
    diagnoses: tuple[Diagnosis, ...] = ()
    """Causes of the findings, those with facts for them first."""
    null_estimates: tuple[Comparison, ...]
    """The hidden A/A variant against the baseline: the noise that the study itself saw."""
    environment: Environment
    gate: FrozenMap[float]
    complete: bool
    """False where the study was interrupted or its budget ended before every cell was decided."""


class ContestSide(Record):
    """One of the two programs of a contest, and what was measured of it."""

    name: str
    program: str
    """The command, or `module:qualname` of the callable."""
    placement: str
    """Where it ran: fresh workers, in this process and why, one process for each call."""
    metrics: FrozenMap[Measured | Estimate]
    calls: int = Field(ge=0)
    """Timed samples after warm-up, over all rounds."""
    outcome: Outcome


class Contest(Versioned):
    """Two callables, or two shell commands, held against each other by the procedure of studies."""

    id: str
    """Key of its rounds in the store."""
    kind: Literal["callables", "commands"]
    created_utc: str
    elapsed_s: float = Field(ge=0)
    sides: tuple[ContestSide, ...] = Field(min_length=2, max_length=2)
    """The first is the baseline."""
    comparison: Comparison
    """Wall time of a call, second / first: what decides."""
    further: tuple[Comparison, ...]
    """CPU time of a call: a second figure, which decides nothing."""
    null_comparison: Comparison
    """The first program against itself under another name: the noise that the contest itself saw."""
    rounds: int = Field(ge=0)
    environment: Environment
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()
    notes: tuple[str, ...]
    complete: bool
    """False where it was interrupted or its budget ended before it was decided."""


MEASURED: TypeAdapter[Measured] = TypeAdapter(Measured, config=ConfigDict(strict=True, allow_inf_nan=False))
"""Validates a number or an Absent outside a record; as inside one, NaN and infinity are refused."""
