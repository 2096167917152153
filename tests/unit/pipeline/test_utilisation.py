"""MFU, MBU and predicted times by hand."""

import pytest

from assay.core.records import Absent, Contract, Decoding, Estimate, PlannedArtifact, Roofs, Workload
from assay.pipeline.utilisation import utilisation

CONTRACT = Contract(
    architecture="gpt2", context_length=64, sliding_window=Absent(reason="none"), vocab_size=10, num_hidden_layers=1,
    num_attention_heads=1, num_key_value_heads=1, head_dim=4, hidden_size=4, intermediate_size=8, gated_mlp=False,
    tie_word_embeddings=True, dtype="float32",
)  # fmt: skip
ARTIFACT = PlannedArtifact(
    contract=CONTRACT, parameter_count=168, weight_bytes=672, resident_weight_bytes=672, decode_weight_bytes=672
)
ROOFS = Roofs(
    name="a CPU", kind="measured", source="measured today", flops_per_s={"float32": 1000.0}, bytes_per_s=500.0,
    dispatch_floor_s={"torch": 0.5},
)  # fmt: skip
DECODE = Workload(kind="decode", prompt_tokens=8, new_tokens=4)
PREFILL = Workload(kind="prefill", prompt_tokens=8, new_tokens=0)
# N_mm = 2 x 16 + 2 x 16 + 2 x 32 + 40 = 168; a step at 10 tokens: 2 x 168 + 4 x 10 x 4 FLOPs, 672 + 10 x 32 bytes.
FLOPS, BYTES = 496, 992


def figures(measured, roofs=ROOFS, dispatches=2.0, decoding=None, workloads=(DECODE,)):
    return utilisation(ARTIFACT, decoding or Decoding(), "torch", workloads, measured, roofs, dispatches)


def test_a_step_against_its_ceilings():
    time = Estimate(value=4.0, low=2.0, high=8.0, method="median")
    found = figures({"tpot_s": time})
    assert found["predicted_s@decode 8+4"] == pytest.approx(BYTES / 500 + 2 * 0.5)
    mfu, mbu = found["mfu@decode 8+4"], found["mbu@decode 8+4"]
    assert (mfu.value, mfu.low, mfu.high) == pytest.approx((FLOPS / 4000, FLOPS / 8000, FLOPS / 2000))
    assert (mbu.value, mbu.low, mbu.high) == pytest.approx((BYTES / 2000, BYTES / 4000, BYTES / 1000))
    assert "measured today" in mfu.method


def test_a_number_without_an_interval_stays_one():
    assert figures({"tpot_s@decode 8+4": 4.0})["mfu@decode 8+4"] == pytest.approx(FLOPS / 4000)


def test_what_was_not_measured_has_no_figures():
    assert figures({}, workloads=(DECODE, PREFILL)) == {}
    assert figures({"tpot_s": Absent(reason="it crashed")}) == {}


def test_without_ceilings_each_figure_is_missing_once():
    reason = Absent(reason="no ceilings: run `assay doctor --measure`")
    roofs = ROOFS.model_copy(update={"kind": "none", "bytes_per_s": reason, "flops_per_s": {}})
    found = figures({"tpot_s": 4.0, "prefill_s": 1.0}, roofs, workloads=(DECODE, PREFILL))
    assert found == dict.fromkeys(("predicted_s", "mfu", "mbu"), reason)


def test_an_unknown_peak_or_no_cache_is_said():
    roofs = ROOFS.model_copy(update={"flops_per_s": {}})
    found = figures({"tpot_s": 4.0}, roofs)
    assert "no peak of float32" in found["mfu@decode 8+4"].reason
    assert found["mbu@decode 8+4"] == pytest.approx(BYTES / 2000)
    again = figures({"tpot_s": 4.0}, decoding=Decoding(kv_cache="none"))
    assert all("whole sequence again" in value.reason for value in again.values())


def test_an_uncounted_launch_costs_nothing():
    found = figures({"tpot_s": 4.0}, dispatches=Absent(reason="not counted"))
    assert found["predicted_s@decode 8+4"] == pytest.approx(BYTES / 500)
