"""Figures: the numbers of any result, ours or another tool's, with what is known of each. It refuses to fill a gap.

A check that reads figures serves a study of Assay and a table that somebody pasted alike. Values are in the units of
`core.metrics`; what a source did not say is `Absent`, and a fact that nobody gave is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pydantic import Field

from assay.core.records import Absent, FrozenMap, Measured, Record, Scalar, Text, Versioned

FACTS = {
    "model": "name of the model, as written",
    "family": "gpt2, llama ...",
    "size": "size label within a family, such as S, M or 2.7B",
    "parameters": "number of parameters",
    "layers": "number of layers",
    "hidden_size": "width of the model",
    "intermediate_size": "width of the MLP",
    "vocab_size": "size of the vocabulary",
    "gated_mlp": "whether the MLP has a gate",
    "heads": "attention heads",
    "kv_heads": "heads of keys and values",
    "head_dim": "width of a head",
    "shape": "shapes of sizes by name, such as S=12x768x3072,gated (see `core.shapes`)",
    "resident_weight_bytes": "bytes of the weights in memory",
    "decode_weight_bytes": "bytes of the weights that one decode step reads",
    "role": "reference, baseline, candidate or null, where the source says so",
    "requested_device": "device that was asked for, where it is recorded apart from what ran",
    "requested_dtype": "type that was asked for, where it is recorded apart from what ran",
    "runtime": "what executed it",
    "device": "where it ran, as written",
    "compute_units": "which units were allowed or used",
    "dtype": "type of weights and products, as written: float32, float16, bfloat16, tf32, mixed, int8 ...",
    "weight_bits": "bits per weight claimed",
    "cpu_ops": "operations placed on the CPU",
    "gpu_ops": "operations placed on the GPU",
    "ane_ops": "operations placed on the neural engine",
    "autocast": "whether weights are cast to the type of the products at each call",
    "speculative": "whether a draft model proposes tokens",
    "calls": "calls inside one timed region",
    "compiled": "whether a compiler was asked for",
    "threads": "threads used",
    "batch": "sequences side by side",
    "concurrency": "requests under way at once",
    "prompt_tokens": "tokens of the prompt, or of the sequence where there is one length",
    "new_tokens": "tokens generated",
    "context": "tokens of the window in which quality was scored",
    "samples": "number of timed calls behind a mean",
    "majority_share": "share of the most frequent class of a classification task",
    "expected_accuracy": "accuracy that is published or was measured elsewhere",
    "power_limit_w": "board power limit",
    "idle_w": "power of the idle machine",
    "energy_kind": "counter, sampled, vendor_model, estimate",
    "energy_window_s": "length of the window in which energy was taken",
    "counter_period_s": "time between two updates of the energy counter",
    "calibration_samples": "texts that a conversion was calibrated on",
    "calibration_source": "where they come from; `random` for random tokens",
    "random_weights": "whether the model was never trained",
    "bundle": "name of the bundle that a row is a part of",
    "sliding_window": "tokens of the attention's window",
    "mask_length": "tokens that the mask of a part covers",
    "cache_length": "tokens that the cache of a part holds",
    "window_edge_difference": "largest logit difference near the edge of the window",
    "chunk_edge_difference": "largest logit difference at the edge of a prefill chunk",
    "layout_switch_difference": "largest logit difference where the layout of the cache changes",
    "prefill_decode_difference": "largest logit difference of prefill + decode against decode alone",
    "rejected_draft_changed_cache": "whether a rejected draft left something in the cache",
    "planted_fault_found": "whether the comparator found a fault that was planted for it",
    "draft_tokens": "tokens proposed by a draft",
    "acceptance_histogram": "drafts by accepted length, from 0",
    "acceptance_by_position": "acceptance of the i-th token where all before it were accepted",
    "tokens_per_verify": "tokens that one verification yields",
    "draft_s": "time of one drafted token",
    "verify_s": "time of one verification",
    "plain_step_s": "time of one step without a draft",
    "conversion_temporary_bytes": "largest size of a conversion's temporary files",
    "conversion_estimate_bytes": "what they were estimated to take",
    "conversion_largest_file": "the largest of them",
    "matmul_precision": "effective precision of a float32 matrix product, as probed: float32, tf32 or bfloat16",
    "qat": "whether the variant was trained after its change",
    "warmup": "calls left out before the timing began",
    "ddof": "0 or 1: divisor n - ddof of the standard deviations",
    "dataset": "text or task that quality was scored on",
    "stride": "tokens between the starts of two scored windows",
    "phase": "forward, backward, optimizer, prefill, decode ... where a row is one phase",
}
"""Facts of a row that checks read, by name; a row may hold others, which nobody reads. `name@workload` is a fact of one
workload of a row."""


class Figure(Record):
    """One number of a result: of a row and a metric, in SI units, with its spread where it is known."""

    row: str
    metric: str
    """A name of `core.metrics`, with `@workload` behind it where a row has several workloads."""
    value: float
    std: Measured = Absent(reason="no spread is given")
    """Standard deviation of single calls."""
    error: Measured = Absent(reason="no standard error is given")
    """Standard error of `value`, where it is known otherwise than by `std` and `samples`."""
    samples: int | Absent = Absent(reason="the number of samples is not given")
    minimum: Measured = Absent(reason="no minimum is given")
    maximum: Measured = Absent(reason="no maximum is given")
    digits: int = Field(default=0, ge=0)
    """Significant digits as printed; 0 where it was computed in full precision."""
    written: str = ""
    """As the source wrote it, with its unit."""
    where: str = ""
    """`file:line, column` for the reader; empty for our own."""


class FigureRow(Record):
    """One configuration: its name and its recorded facts."""

    name: str
    facts: FrozenMap[Scalar] = Field(default_factory=dict)
    """By the names of `FACTS`; only what the source or the user stated."""


class FigureTable(Versioned):
    """Rows and their figures that belong together: one table of a file, or one study."""

    title: str
    source: str
    """File, or digest of a study."""
    rows: tuple[FigureRow, ...]
    figures: tuple[Figure, ...]
    facts: FrozenMap[Scalar] = Field(default_factory=dict)
    """Of the whole table: stated beside it or by the user."""
    hypotheses: FrozenMap[Scalar] = Field(default_factory=dict)
    """Guesses of prose ("your GPU might be ..."): told to the reader; no check stands on them alone."""
    expected: bool = False
    """True for a table of expected or hoped-for values: its figures are not measurements, and nothing judges them."""
    unread: tuple[str, ...] = ()
    """Columns, cells and lines that were not recognised, each with its place."""
    recognised: tuple[str, ...] = ()
    """What each column was read as, in words."""
    ratios: tuple[PrintedRatio, ...] = ()
    """Speed-ups and savings as the source printed them, to be held against its own figures."""

    def fact(self, row: FigureRow, name: str) -> Scalar | None:
        """A fact of a row, or of the table where the row has none; None where nobody stated it."""
        return row.facts.get(name, self.facts.get(name))

    def figure(self, row: str, metric: str) -> Figure | None:
        """The figure of a cell, if the table has one."""
        return self._by_cell.get((row, metric))

    def of_row(self, row: str) -> tuple[Figure, ...]:
        """The figures of a row, in the order of the table."""
        return tuple(self._by_row.get(row, ()))

    @cached_property
    def _by_row(self) -> dict[str, list[Figure]]:
        found: dict[str, list[Figure]] = {}
        for figure in self.figures:
            found.setdefault(figure.row, []).append(figure)
        return found

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str], Figure]:
        """Checks look up cells for every pair of rows."""
        return {(each.row, each.metric): each for each in reversed(self.figures)}


class PrintedRatio(Record):
    """A speed-up or a saving as a source printed it."""

    row: str
    metric: str
    """What it is a ratio of."""
    against: Text = Absent(reason="the source does not say against which row")
    value: float
    digits: int = Field(default=0, ge=0)
    where: str = ""


FigureTable.model_rebuild()


def labels(tables: Sequence[FigureTable]) -> tuple[str, ...]:
    """One name for each table, by which a cell says in which one it stands: empty where there is only one table.

    The title where no other table has it, otherwise with the source before it, otherwise numbered too.
    """
    if len(tables) == 1:
        return ("",)
    titles = [table.title for table in tables]
    full = [f"{table.source}: {table.title}" for table in tables]
    named = [title if title and titles.count(title) == 1 else whole for title, whole in zip(titles, full, strict=True)]
    return tuple(f"{name} ({index})" if named.count(name) > 1 else name for index, name in enumerate(named, 1))
