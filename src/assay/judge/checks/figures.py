"""How checks read figures: one configuration on one workload at a time. It refuses figures that are only expected."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from assay.core import hardware
from assay.core.figures import Figure, FigureRow, FigureTable, labels
from assay.core.records import Absent, Cell, Scalar
from assay.core.shapes import Shape, canonical_name, known_shape, parse_shape
from assay.judge.checks.base import Subject

_DTYPES = {
    "fp64": "float64", "f64": "float64", "double": "float64",
    "fp32": "float32", "f32": "float32", "single": "float32", "float": "float32", "full": "float32",
    "tf32": "tf32", "tensorfloat32": "tf32",
    "fp16": "float16", "f16": "float16", "half": "float16",
    "bf16": "bfloat16",
    "fp8": "fp8", "e4m3": "fp8", "float8": "fp8",
    "int8": "int8", "w8": "int8", "q8_0": "int8", "8bit": "int8",
    "int4": "int4", "w4": "int4", "4bit": "int4",
}  # fmt: skip
_BITS = {
    "float64": 64.0, "float32": 32.0, "tf32": 32.0, "float16": 16.0, "bfloat16": 16.0, "fp8": 8.0, "int8": 8.0,
    "int4": 4.0,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Entry:
    """One configuration on one workload: its figures and its facts."""

    subject: Subject
    table: FigureTable
    label: str
    """Of the table, empty where there is one."""
    row: FigureRow
    workload: str = ""
    """Empty for what does not depend on one: sizes, quality, figures of a source that names no workload."""

    @property
    def name(self) -> str:
        """The row as a reader finds it again."""
        at = f" on {self.workload}" if self.workload else ""
        return f"{self.row.name}{at}" + (f" ({self.label})" if self.label else "")

    def fact(self, name: str) -> Scalar | None:
        """A fact of this workload of the row, of the row, or of the table; None where nobody stated it."""
        if self.workload and f"{name}@{self.workload}" in self.row.facts:
            return self.row.facts[f"{name}@{self.workload}"]
        return self.table.fact(self.row, name)

    def text(self, name: str) -> str:
        """A fact as text; empty where nobody stated it."""
        found = self.fact(name)
        return "" if found is None else str(found)

    def amount(self, name: str) -> float | None:
        """A fact as a positive number; None where nobody stated it, or it is none."""
        found = self.fact(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or found <= 0:
            return None
        return float(found)

    def figure(self, metric: str) -> Figure | None:
        """A figure of this workload, or one that depends on none."""
        if self.workload and (found := self.table.figure(self.row.name, f"{metric}@{self.workload}")):
            return found
        return self.table.figure(self.row.name, metric)

    def figures(self) -> list[Figure]:
        """All figures of this workload, or of none where this entry has none."""
        return [
            figure for figure in self.table.of_row(self.row.name) if figure.metric.partition("@")[2] == self.workload
        ]

    def value(self, metric: str) -> float | None:
        """The number of a figure; None where the source has none."""
        found = self.figure(metric)
        return None if found is None else found.value

    def samples(self, metric: str) -> int | None:
        """Timed calls behind a figure; None where nobody said."""
        found = self.figure(metric)
        if found is not None and not isinstance(found.samples, Absent):
            return found.samples
        stated = self.amount("samples")
        return None if stated is None else int(stated)

    def std(self, metric: str) -> float | None:
        """Standard deviation of single calls; None where it is not known."""
        found = self.figure(metric)
        return None if found is None or isinstance(found.std, Absent) else found.std

    def error(self, metric: str) -> float | None:
        """Standard error of a figure, at least that of its printed digits; None where it is not known."""
        found = self.figure(metric)
        if found is None:
            return None
        if not isinstance(found.error, Absent):
            return found.error
        samples, std = self.samples(metric), self.std(metric)
        if samples is None or std is None:
            return None
        return math.hypot(std / math.sqrt(samples), rounding(found))

    def cell(self, metric: str) -> Cell:
        """The cell of a figure, as its table names it."""
        if self.subject.row(self.row.name) is not None and not self.label:
            return self.subject.cell(self.row.name, metric, self.workload)
        full = f"{metric}@{self.workload}"
        named = self.workload and self.table.figure(self.row.name, full) is not None
        return Cell(row=self.row.name, metric=full if named else metric, table=self.label)

    def cells(self, *metrics: str) -> tuple[Cell, ...]:
        """The cells of those of some figures that there are."""
        return tuple(self.cell(metric) for metric in metrics if self.figure(metric) is not None)

    # -------------------------------------------------------------------------------- what facts mean

    @cached_property
    def dtype(self) -> str:
        """Type of the products: float32, tf32, bfloat16, float16, fp8, int8 ...; empty where it is not known."""
        return canonical_dtype(self.text("dtype"))

    @property
    def weight_bits(self) -> float | None:
        """Bits per weight that are claimed, or that the type has."""
        return self.amount("weight_bits") or _BITS.get(self.dtype)

    @cached_property
    def shape(self) -> Shape | None:
        """Shapes from the facts, from `--shape`, or from a known model's name; None where they are not known."""
        layers, hidden, inner = (self.amount(n) for n in ("layers", "hidden_size", "intermediate_size"))
        if layers and hidden and inner:
            return Shape(
                int(layers), int(hidden), int(inner), gated=self.fact("gated_mlp") is True,
                vocab_size=int(self.amount("vocab_size") or 0), heads=int(self.amount("heads") or 0),
                kv_heads=int(self.amount("kv_heads") or 0), head_dim=int(self.amount("head_dim") or 0),
                tied=self.fact("tied") is not False,
            )  # fmt: skip
        return self._given_shape() or known_shape(self.model_name)

    @cached_property
    def model_name(self) -> str:
        """The name that tables use for the row's model; empty where none has it."""
        written = (self.text("model"), self._sized(), self.row.name)
        return next((name for text in written if (name := canonical_name(text))), "")

    def _given_shape(self) -> Shape | None:
        given = self.fact("shape")
        texts = given if isinstance(given, tuple) else () if given is None else (given,)
        names = {self.text(key).casefold() for key in ("size", "model")} | {self.row.name.casefold()}
        words = {word for name in names for word in re.split(r"[\s,/|()]+", name)}
        shapes = [parse_shape(str(text)) for text in texts]
        named = [shape for name, shape in shapes if name and name.casefold() in names | words]
        unnamed = [shape for name, shape in shapes if not name]
        return next(iter((*named, *unnamed)), None)

    def _sized(self) -> str:
        """`gpt2-medium` of a family and a size."""
        return f"{self.text('family')}-{self.text('size')}" if self.text("family") and self.text("size") else ""

    @property
    def device(self) -> hardware.Device | None:
        """The piece of hardware that was stated, where the table of hardware has it; hypotheses do not count."""
        found = hardware.recognised(self.text("device")) if self.text("device") else None
        return None if found is None or isinstance(found, Absent) else found

    @property
    def tokens(self) -> float | None:
        """Tokens of one call of the whole batch; None where the length is not known."""
        length = self.amount("prompt_tokens")
        return None if length is None else length * (self.amount("batch") or 1.0)


def canonical_dtype(written: str) -> str:
    """`float32` of fp32, f32, torch.float32, full precision ...; empty where it is no type that is known."""
    text = written.strip().casefold().removeprefix("torch.").replace("-", "").replace(" ", "")
    known = {*_DTYPES.values()}
    return text if text in known else _DTYPES.get(text, "")


def rounding(figure: Figure) -> float:
    """Standard error that printing to so many digits adds: a step / sqrt(12); 0 where digits are not known."""
    if figure.digits == 0 or figure.value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(figure.value))) - figure.digits + 1)
    return step / math.sqrt(12)


def measured_tables(subject: Subject) -> Iterator[tuple[FigureTable, str]]:
    """Tables of measurements with their labels; those of expected values are left out."""
    for table, label in zip(subject.tables, labels(subject.tables), strict=True):
        if not table.expected:
            yield table, label


def row_entries(subject: Subject) -> list[Entry]:
    """One entry for each row: for what depends on no workload."""
    return [Entry(subject, table, label, row) for table, label in measured_tables(subject) for row in table.rows]


def entries(subject: Subject) -> list[Entry]:
    """One entry for each row and workload, in the order of the tables; a row without workloads is one entry."""
    found: list[Entry] = []
    for table, label in measured_tables(subject):
        for row in table.rows:
            names = dict.fromkeys(
                figure.metric.partition("@")[2] for figure in table.of_row(row.name) if "@" in figure.metric
            )
            found += [Entry(subject, table, label, row, workload) for workload in names or ("",)]
    return found


# ------------------------------------------------------------------------------------------------ all else equal

SHAPE_FACTS = frozenset(
    {"size", "parameters", "layers", "hidden_size", "intermediate_size", "vocab_size", "heads", "kv_heads", "head_dim",
     "tied", "resident_weight_bytes", "decode_weight_bytes", "gated_mlp", "model"}
)  # fmt: skip
"""Facts that change together with the size of a model."""
DTYPE_FACTS = frozenset(
    {"dtype", "weight_bits", "resident_weight_bytes", "decode_weight_bytes", "requested_dtype", "role"}
)
"""Facts that change together with the precision."""
_INCIDENTAL = frozenset({"role", "samples", "ddof", "shape"})
_WORDS = frozenset(
    {"a", "and", "at", "batch", "bit", "bits", "bs", "compile", "compiled", "context", "eager", "float", "fp", "in",
     "int", "length", "of", "on", "only", "point", "precision", "seq", "size", "steps", "tok", "token", "tokens",
     "uncompiled", "user", "users", "warm", "warmup", "window", "with", "x"}
)  # fmt: skip


def varying(entries_: list[Entry], *facts: str) -> list[list[Entry]]:
    """Entries of one table and workload that agree in everything but some facts, two or more of each kind.

    Names count too: rows whose names differ in a word that no fact explains (`flash`, `baseline`) differ in something.
    """
    ignored = _INCIDENTAL.union(facts)
    groups: dict[object, list[Entry]] = {}
    for entry in entries_:
        stated = {
            name: entry.fact(name)
            for name in {key.partition("@")[0] for key in (*entry.row.facts, *entry.table.facts)} - ignored
        }
        workload = "" if {"prompt_tokens", "batch"} & set(facts) else entry.workload
        key = (entry.label, workload, frozenset(stated.items()), essence(entry))
        groups.setdefault(key, []).append(entry)
    return [group for group in groups.values() if len(group) > 1]


def essence(entry: Entry) -> frozenset[str]:
    """The words of a row's name that neither its facts nor a number explain."""
    explained = {
        word for value in (*entry.row.facts.values(), *entry.table.facts.values()) for word in _words(str(value))
    }
    return frozenset(
        word
        for word in _words(entry.row.name)
        if word not in explained and word not in _WORDS and not canonical_dtype(word) and not re.search(r"\d", word)
    )


def _words(text: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9.]+", text.casefold()) if word}


def standard_error(*parts: float | None) -> float:
    """Of a sum or a difference: the root of the sum of squares of the errors that are known."""
    return math.hypot(*(part for part in parts if part is not None))
