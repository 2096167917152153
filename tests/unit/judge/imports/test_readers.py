"""Every reader on what its tool writes, and none of them on what it does not."""

from __future__ import annotations

import json
import time

import pytest

from assay import catalog
from assay.core.errors import AssayError, CorruptFileError, InputError
from assay.core.figures import FigureTable
from assay.core.records import Absent, Estimate
from assay.judge.imports.document import LIMIT_BYTES, LIMIT_ROWS, document
from assay.pipeline.audit import audit, read
from assay.show.export import to_llama_bench_json, to_pyperf_json
from fixtures_foreign import CASES, LLAMA, LM_EVAL, NOTES, OPTIMUM, PLAN, PYPERF, Wanted
from fixtures_result import make_result, make_rounds


def flat(found: list[FigureTable]) -> dict[tuple[str, str], float]:
    return {(figure.row, figure.metric): figure.value for table in found for figure in table.figures}


@pytest.mark.parametrize(("reader", "name", "text", "wanted"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_what_a_tool_writes(reader: str, name: str, text: str, wanted: Wanted) -> None:
    names, found = read(document(name, text.encode()))
    assert names == (reader,)
    have = flat(found)
    for cell, value in wanted.items():
        assert have[cell] == pytest.approx(value), cell


@pytest.mark.parametrize(("reader", "name", "text", "wanted"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_nothing_is_invalid_in_a_healthy_file(reader: str, name: str, text: str, wanted: Wanted) -> None:
    report = audit([(name, text.encode())])
    assert [finding.summary for finding in report.findings if finding.severity == "ERR"] == []


def test_facts_of_the_tools() -> None:
    _, (table,) = read(document("benchmark.json", json.dumps(OPTIMUM).encode()))
    facts = {**table.facts, **table.rows[0].facts}
    assert facts == {
        "ddof": 0,
        "model": "meta-llama/Llama-2-7b-hf",
        "runtime": "pytorch",
        "dtype": "float16",
        "batch": 1,
        "device": "NVIDIA A100-SXM4-80GB",
        "prompt_tokens": 256,
        "new_tokens": 32,
        "compiled": False,
    }
    assert table.figure("pytorch-llama", "prefill_s").samples == 3  # type: ignore[union-attr]
    assert isinstance(table.figure("pytorch-llama", "load_s").std, Absent), "one sample has no deviation"  # type: ignore[union-attr]
    _, (table,) = read(document("lb.json", json.dumps(LLAMA).encode()))
    assert table.rows[1].facts["prompt_tokens"] == 256, "a decode test at a depth has that many tokens before it"
    assert (table.rows[0].facts["dtype"], table.rows[0].facts["device"]) == ("Q4_0", "AMD EPYC")
    _, (table,) = read(document("results.json", json.dumps(LM_EVAL).encode()))
    assert table.figure("hellaswag", "accuracy").error == 0.0045  # type: ignore[union-attr]
    assert any("bits_per_byte" in line for line in table.unread)


def test_what_was_not_understood_is_said() -> None:
    _, (table,) = read(document("n.txt", NOTES.encode()))
    assert table.unread == ("line 4: 'looks odd' is not recognised",)
    _, (table,) = read(document("plan.txt", PLAN.encode()))
    assert table.unread == ("1 constants, which do not count", "1 operations whose unit is unknown, which do not count")
    _, (table,) = read(document("p.json", json.dumps(PYPERF).encode()))
    assert table.unread == ("memory: values in byte",)


def test_our_own_result() -> None:
    written = make_result()
    names, (table,) = read(document("r.json", written.to_json().encode()))
    assert names == ("assay",)
    assert {row.name for row in table.rows} == {row.name for row in written.rows}
    damaged = json.loads(written.to_json()) | {"rows": 7}
    with pytest.raises(CorruptFileError, match="rows"):
        read(document("r.json", json.dumps(damaged).encode()))


def test_what_assay_exports_for_other_tools_is_read_as_theirs() -> None:
    written, rounds = make_result(), make_rounds()
    names, (table,) = read(document("lb.json", to_llama_bench_json(written, rounds).encode()))
    assert names == ("llama-bench",)
    decode = next(row for row in table.rows if row.name.endswith("tg64 @ d128") and "bf16" in row.name)
    shown = next(row for row in written.rows if row.name == "bf16").metrics["decode_tok_per_s"]
    assert isinstance(shown, Estimate)
    assert table.figure(decode.name, "decode_tok_per_s").value == pytest.approx(shown.value)  # type: ignore[union-attr]
    assert decode.facts["prompt_tokens"] == 128
    names, (table,) = read(document("p.json", to_pyperf_json(written, rounds).encode()))
    assert names == ("pyperf",)
    assert len(table.rows) > 3


def test_a_page_of_tables_and_notes_gives_both() -> None:
    names, found = read(
        document("p.md", b"| m | latency (ms) |\n|-|-|\n| a | 1 |\n\nAll = GPU 9, ANE 3, 283ms prediction\n")
    )
    assert names == ("markdown", "notes")
    assert flat(found)["All", "operations_gpu"] == 9


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("e.md", b"", "empty"),
        ("b.bin", b"\x00\x01\x02", "binary"),
        ("big.csv", b"a,b\n" * (LIMIT_BYTES // 4 + 1), "MB"),
        ("p.txt", b"just some words about nothing", "no figure"),
        ("d.json", b"[" * 100_000, "nested too deep"),
        ("t.json", b'{"a": ', "no JSON"),
        ("x.md", b"| a | b |\n|-|-|\n| x | y |\n", "no figure"),
    ],
    ids=["empty", "binary", "large", "prose", "deep", "cut", "words"],
)
def test_what_cannot_be_read_is_refused(name: str, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(document(name, content))
    assert caught.value.exit_status == 2


def test_nan_in_json_is_no_number() -> None:
    text = json.dumps([{"model": "a", "latency_ms": float("nan")}, {"model": "b", "latency_ms": 2.0}])
    _, found = read(document("n.json", text.encode()))
    assert flat(found) == {("b", "call_s"): 0.002}


def test_a_long_table_is_read_up_to_its_limit_and_says_so() -> None:
    lines = "\n".join(f"m{place},{place % 97 + 1}" for place in range(5000))
    _, (table,) = read(document("l.csv", f"model,latency_ms\n{lines}\n".encode()))
    assert len(table.rows) == LIMIT_ROWS
    assert any("the rows after the first 300" in line for line in table.unread)


def test_a_table_at_its_limit_is_audited_soon() -> None:
    """A bound on work, not a benchmark: looking every pair of rows up in a list took minutes."""
    lines = [f"m{place},fp32,{10 + place % 7}.{place},{20 + place % 11}.{place}" for place in range(LIMIT_ROWS)]
    content = "model,dtype,forward_ms,backward_ms\n" + "\n".join(lines)
    began = time.process_time()
    report = audit([("limit.csv", content.encode())])
    assert report.counts["rows"] == LIMIT_ROWS
    assert time.process_time() - began < 30


def test_every_reader_has_a_case() -> None:
    covered = {reader for reader, *_ in CASES} | {"assay"}
    assert covered == {reader.NAME for reader in catalog.readers()}


def test_a_file_that_cannot_be_read_is_told_beside_the_others(tmp_path) -> None:  # type: ignore[no-untyped-def]
    report = audit([("good.md", b"|m|latency (ms)|\n|-|-|\n|a|1|\n"), tmp_path / "missing.md"])
    assert [bool(file.refused) for file in report.files] == [False, True]
    assert report.exit_status == 2
    with pytest.raises(AssayError):
        audit([tmp_path / "missing.md"])
