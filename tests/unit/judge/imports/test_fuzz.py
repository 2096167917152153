"""No content, however hostile, makes a reader crash, hang or answer with anything but tables or a typed error."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import catalog
from assay.core.errors import AssayError
from assay.core.figures import FigureTable
from assay.judge.imports.document import Grid, document
from assay.judge.imports.recogniser import recognise
from fixtures_foreign import CASES

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
TEXTS = [text for _, _, text, _ in CASES]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.sampled_from(
    [
        "report",
        "prefill",
        "latency",
        "memory",
        "mean",
        "values",
        "throughput",
        "n_prompt",
        "n_gen",
        "avg_ts",
        "samples_ns",
        "benchmarks",
        "runs",
        "metadata",
        "unit",
        "mean_ttft_ms",
        "completed",
        "results",
        "acc,none",
        "config",
        "model_args",
        "preferred",
        "operator",
        "latency_ms",
        "rows",
        "study",
        "verdicts",
        "environment",
        "format_version",
        "x",
    ]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


def everything(name: str, content: bytes) -> None:
    """Whatever any reader makes of it round-trips as a record; only typed errors may come out."""
    try:
        source = document(name, content)
    except AssayError:
        return
    for reader in catalog.readers():
        with contextlib.suppress(AssayError):
            for reading in reader.read(source) if reader.recognises(source) else ():
                for table in recognise(reading, name) if isinstance(reading, Grid) else (reading,):
                    assert FigureTable.from_json(table.to_json()) == table


@QUIET
@given(st.binary(max_size=400), st.sampled_from(["x.md", "x.csv", "x.json", "x.txt"]))
def test_any_bytes(content: bytes, name: str) -> None:
    everything(name, content)


@QUIET
@given(st.sampled_from(TEXTS), st.data())
def test_real_files_with_parts_cut_doubled_and_replaced(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 60)))
        text = (
            text[:start]
            + data.draw(st.sampled_from(["", text[start:end] * 2, "|", "±", "-", "\n", '"', "{", "1e999", "NaN", ",,"]))
            + text[end:]
        )
    everything("x.txt", text.encode(errors="replace"))


@QUIET
@given(JSON)
def test_any_json(content: object) -> None:
    everything("x.json", json.dumps(content).encode())


@QUIET
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                [
                    "",
                    "S",
                    "fp16",
                    "12.3",
                    "1,2",
                    "12 ± 3",
                    "3x",
                    "OOM",
                    "forward",
                    "backward",
                    "total",
                    "Forward (ms)",
                    "Std",
                    "Metric",
                    "Value",
                    "Unit",
                    "ms",
                    "Phase",
                    "Speedup",
                    "Expected",
                    "Size",
                    "pp512",
                    "tg128",
                    "test",
                    "t/s",
                    "99999999999999999999",
                    "1e308",
                    "%",
                    "n",
                ]
            ),
            min_size=1,
            max_size=6,
        ),
        min_size=2,
        max_size=7,
    ),
)
def test_any_table(rows: list[list[str]]) -> None:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "-|" * len(rows[0]))
    everything("x.md", "\n".join(lines).encode())
    everything("x.csv", "\n".join(",".join(row) for row in rows).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"|" * 500_000,
        b"| a | b |\n|-|-|\n" + b"| 1 | " + b"9" * 500_000 + b" |\n",
        (b"|" + b"-" * 50 + b"|\n") * 50_000,
        b"| a (ms) |\n|-|\n" + b"| 1 |\n" * 100_000,
        b"a,b_ms\n" + b"x,1\n" * 250_000,
        b"x = " + b"1 a, " * 100_000,
        b"[" + b"[]," * 250_000 + b"[]]",
        b'[{"latency_ms": 1}' + b',{"latency_ms": 1}' * 50_000 + b"]",
        ("±" * 250_000).encode(),
        ("Â" * 250_000).encode(),
        b"batch size " * 100_000 + b"\n| a (ms) |\n|-|\n| 1 |\n",
        b"n_prompt,n_gen,avg_ts\n1,2," + b"7" * 250_000,
        b"timestamp, name, power.draw [W]\n1, " + b"7" * 250_000 + b", 3 W",
        b"report.prefill.latency.mean,report.prefill.memory\n1," + b"7" * 250_000,
        b"*** Sampled system activity (" + b"x" * 250_000,
    ],
    ids=[
        "pipes",
        "digits",
        "rules",
        "rows",
        "csv",
        "notes",
        "lists",
        "objects",
        "signs",
        "mojibake",
        "prose",
        "field",
        "field of a log",
        "flat field",
        "head",
    ],
)
def test_hostile_files_end_soon(content: bytes) -> None:
    """A bound on work, not a benchmark: quadratic behaviour on these sizes takes hours."""
    began = time.process_time()
    for name in ("x.md", "x.json", "x.csv"):
        everything(name, content)
    assert time.process_time() - began < 120
