"""A runner of one's own is a row like the others; one that misbehaves is a row that says so."""

import sys
from pathlib import Path

from assay import api
from assay.core.records import Absent, Estimate

ROOT = Path(__file__).parents[2]


def test_runners_stand_in_the_table_with_the_same_statistics(tiny_study, tmp_path):
    tests = f"{sys.executable} {ROOT / 'tests' / 'fake_runner.py'}"
    tiny_study["variants"][0]["runtimes"] = ["torch", "runner:mine", "runner:liar"]
    tiny_study["variants"] = tiny_study["variants"][:1]
    tiny_study["engines"] = {"mine": f"{sys.executable} {ROOT / 'examples' / 'runner.py'}", "liar": f"{tests} boast"}
    result = api.run(tiny_study, tmp_path / "store")
    rows = {row.name: row for row in result.rows}
    mine, liar = rows["fp32/runner:mine"], rows["fp32/runner:liar"]
    assert mine.outcome.kind == "ok"
    for metric in ("load_s", "prefill_tok_per_s", "decode_tok_per_s"):
        assert isinstance(mine.metrics[metric], Estimate), metric
    for metric in ("kl_nats", "perplexity", "weight_bytes", "peak_rss_bytes", "kv_cache_bytes"):
        assert isinstance(mine.metrics[metric], Absent), metric
    assert 0 <= mine.metrics["greedy_tokens_equal"] < 64
    assert mine.metrics["greedy_margin_nats"] > 0
    assert liar.outcome.kind == "wrong_answer"
    assert "the whole answer was here after" in liar.outcome.message
    compared = {(c.variant, c.metric): c for c in result.comparisons}
    assert compared["fp32/runner:mine", "decode_tok_per_s"].outcome == "inconclusive"  # two rounds decide nothing
    assert compared["fp32/runner:liar", "decode_tok_per_s"].outcome == "not_comparable"
