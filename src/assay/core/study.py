"""The study: what a user writes to say what is compared. It refuses unknown keys, wrong values and double names."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from assay.core.records import Decoding, FrozenMap, Record, TransformSpec, Workload

_CACHED = ("prefill", "decode", "generate")
"""Workloads that share a session's KV cache."""


class StudyVariant(Record, use_attribute_docstrings=True):
    """A variant as written in a study; it expands to one row per runtime."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._+-]+$")
    """What the table calls it; unique in the study."""
    runtimes: tuple[str, ...] = ("torch",)
    """Names of runtimes (`assay list runtimes`); one row each. `runner:` is followed by a command, by host:port, or by
    a name of `engines`; `openai:` by the address of a server, or by such a name."""
    transforms: tuple[TransformSpec, ...] = ()
    """Changes made when the variant is built, in this order; none leaves the model as it is."""
    decoding: Decoding = Decoding()
    """What changes at run time without new files."""
    null: bool = False
    """True where two variants are meant to be the same program."""


class Gate(Record, use_attribute_docstrings=True):
    """What a candidate must reach; a bound that is not set is not asked."""

    min_speedup: float | None = Field(default=None, gt=0)
    """Decode tokens/s against the baseline."""
    min_prefill_speedup: float | None = Field(default=None, gt=0)
    """Prefill tokens/s against the baseline."""
    min_encode_speedup: float | None = Field(default=None, gt=0)
    """Encoded sequences/s against the baseline."""
    max_kl_nats: float | None = Field(default=None, ge=0)
    """Mean KL divergence from the reference, per token."""
    max_perplexity_ratio: float | None = Field(default=None, gt=0)
    """Perplexity divided by the reference's."""
    min_top1_agreement: float | None = Field(default=None, ge=0, le=1)
    """Share of tokens for which the likeliest is the reference's too."""
    min_cosine: float | None = Field(default=None, ge=-1, le=1)
    """Mean cosine of the embeddings with the reference's."""
    min_label_agreement: float | None = Field(default=None, ge=0, le=1)
    """Share of texts whose likeliest label is the reference's too."""
    max_weight_bytes: int | None = Field(default=None, gt=0)
    """Bytes of all tensors on disk."""
    max_peak_bytes: int | None = Field(default=None, gt=0)
    """Peak memory of the worker process."""


class QualityPlan(Record, use_attribute_docstrings=True):
    """How quality is measured: text, windows, tokens."""

    text: str = "prose"
    """`prose` (carried by Assay), or the path of a UTF-8 text file."""
    tokens: int = Field(default=4096, ge=0)
    """Tokens of text at least; 0 skips quality."""
    context: int = Field(default=1024, ge=8)
    """Tokens of one window of the text."""
    sample_prompt: str = "The old lighthouse keeper opened the door and"
    """What every variant continues greedily, side by side in the report."""
    sample_tokens: int = Field(default=48, ge=0)
    """Tokens of that continuation; 0 for none."""
    text_check: bool = False
    """Let every variant write 3 texts of 256 tokens, and hold them against the reference's own: is it degenerate?"""
    sample_chat: bool = False
    """Give the prompt as a user's message, through the model's chat template."""


class MeasurePolicy(Record, use_attribute_docstrings=True):
    """How long and how surely speed is measured."""

    budget_s: float = Field(default=300.0, gt=0)
    """Seconds of wall time for the whole study; what is undecided by then is said to be so."""
    max_rounds: int = Field(default=40, ge=1)
    """Rounds at most."""
    min_rounds: int = Field(default=5, ge=2)
    """Rounds before the first look at the interval."""
    stop_early: bool = True
    """Stop when every speed is decided; false takes every round that budget and `max_rounds` allow."""
    margin: float = Field(default=0.02, gt=0, lt=1)
    """Equivalent means that the whole interval lies within this relative difference."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance of calling two equal variants different, over all looks together."""
    turns: int = Field(default=100, ge=1)
    """Turns per round where blocks are short."""
    block_s: float = Field(default=0.010, gt=0)
    """Shortest block of calls in one turn, in seconds."""
    warmup_cap_s: float = Field(default=30.0, gt=0)
    """Longest warm-up, in seconds; beyond it the run is marked as not steady."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for one answer of a worker, in seconds."""
    null_variant: bool = True
    """Carry the baseline through all rounds a second time under another name: the noise of this study."""
    seed: int = 0
    """Of the order of turns, and of random tokens where the model has no tokenizer."""


ENCODER_WORKLOADS = (
    Workload(kind="load"),
    Workload(kind="encode", prompt_tokens=128, new_tokens=0),
    Workload(kind="encode", prompt_tokens=128, new_tokens=0, batch=16),
)
"""What is asked of an encoder where a study names no workloads."""


class Study(Record, use_attribute_docstrings=True):
    """One model, its variants, what is asked of them, and when one passes."""

    name: str = "study"
    """What results are found by; the file's name by default."""
    model: str = Field(min_length=1)
    """A name (`assay list models`), a .gguf file, a directory with config.json, a nanoGPT checkpoint, or a model of the
    Hugging Face hub: `hub:org/name@revision`."""
    adapter: str = ""
    """Directory of a LoRA adapter (peft) that is merged into the model."""
    baseline: str
    """The variant with which speed is compared."""
    reference: str
    """The variant with which quality is compared."""
    variants: tuple[StudyVariant, ...] = Field(min_length=1)
    """What is compared; at least one."""
    workloads: tuple[Workload, ...] = (
        Workload(kind="load"),
        Workload(kind="prefill", prompt_tokens=512, new_tokens=0),
        Workload(kind="decode", prompt_tokens=128, new_tokens=64),
    )
    """What is asked of every variant; of an encoder by default load and encode 128, alone and in a batch of 16."""
    engines: FrozenMap[str] = Field(default_factory=dict)
    """Short names for what stands behind `runner:` and `openai:` in `runtimes`: a command or an address each."""
    gate: Gate = Gate()
    """What a candidate must reach."""
    quality: QualityPlan = QualityPlan()
    """How quality is measured."""
    measure: MeasurePolicy = MeasurePolicy()
    """How long and how surely speed is measured."""
    threads: int = Field(default=0, ge=0)
    """Threads of each worker; 0 means as many as the process may use."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where it runs."""

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two variants are named {twice[0]!r}; every variant needs a name of its own")
        for role in ("baseline", "reference"):
            asked = getattr(self, role)
            if asked not in names:
                raise ValueError(f"{role} = {asked!r} is no variant; the variants are {', '.join(names)}")
        if any(workload.kind == "call" for workload in self.workloads):
            raise ValueError("a workload of kind 'call' is no part of a study; use load, prefill, decode or generate")
        cached = {workload.batch: workload for workload in self.workloads if workload.kind in _CACHED}
        if len(cached) > 1:
            named = " and ".join(repr(workload.name) for workload in cached.values())
            raise ValueError(f"{named} differ in their batch, and one KV cache serves all of them: write two studies")
        return self
