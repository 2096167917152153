"""The study: what a user writes to say what is compared. It refuses unknown keys, wrong values and double names."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from assay.core.records import Decoding, Record, TransformSpec, Workload


class StudyVariant(Record):
    """A variant as written in a study; it expands to one row per runtime."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._+-]+$")
    runtimes: tuple[str, ...] = ("torch",)
    transforms: tuple[TransformSpec, ...] = ()
    decoding: Decoding = Decoding()
    null: bool = False
    """True where two variants are meant to be the same program."""


class Gate(Record):
    """What a candidate must reach; a bound that is not set is not asked."""

    min_speedup: float | None = Field(default=None, gt=0)
    """Decode tokens/s against the baseline."""
    min_prefill_speedup: float | None = Field(default=None, gt=0)
    max_kl_nats: float | None = Field(default=None, ge=0)
    max_perplexity_ratio: float | None = Field(default=None, gt=0)
    min_top1_agreement: float | None = Field(default=None, ge=0, le=1)
    max_weight_bytes: int | None = Field(default=None, gt=0)
    max_peak_bytes: int | None = Field(default=None, gt=0)


class QualityPlan(Record):
    """How quality is measured: text, windows, tokens."""

    text: str = "prose"
    """`prose` (carried by Assay), or the path of a UTF-8 text file."""
    tokens: int = Field(default=4096, ge=0)
    """Tokens of text at least; 0 skips quality."""
    context: int = Field(default=1024, ge=8)
    sample_prompt: str = "The old lighthouse keeper opened the door and"
    sample_tokens: int = Field(default=48, ge=0)


class MeasurePolicy(Record):
    """How long and how surely speed is measured (METHOD: rounds, confidence sequence)."""

    budget_s: float = Field(default=300.0, gt=0)
    max_rounds: int = Field(default=40, ge=1)
    min_rounds: int = Field(default=5, ge=2)
    margin: float = Field(default=0.02, gt=0, lt=1)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    turns: int = Field(default=100, ge=1)
    """Turns per round where blocks are short."""
    block_s: float = Field(default=0.010, gt=0)
    warmup_cap_s: float = Field(default=30.0, gt=0)
    timeout_s: float = Field(default=600.0, gt=0)
    null_variant: bool = True
    seed: int = 0


class Study(Record):
    """One model, its variants, what is asked of them, and when one passes."""

    name: str = "study"
    model: str = Field(min_length=1)
    baseline: str
    reference: str
    variants: tuple[StudyVariant, ...] = Field(min_length=1)
    workloads: tuple[Workload, ...] = (
        Workload(kind="load"),
        Workload(kind="prefill", prompt_tokens=512, new_tokens=0),
        Workload(kind="decode", prompt_tokens=128, new_tokens=64),
    )
    gate: Gate = Gate()
    quality: QualityPlan = QualityPlan()
    measure: MeasurePolicy = MeasurePolicy()
    threads: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda", "mps"] = "cpu"

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
        return self
