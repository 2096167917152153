"""The level of a gate's decisions is divided by their number; without a gate it is not, and the method says so."""

import pytest

from assay.core.study import Gate, Study, StudyVariant
from assay.pipeline.decisions import compare_cell
from fixtures_result import make_rounds


@pytest.mark.parametrize(
    ("gate", "metric", "words"),
    [
        (Gate(min_speedup=1.05), "decode_tok_per_s", "alpha 0.05/2 (Bonferroni)"),
        (Gate(min_speedup=1.05), "prefill_tok_per_s", "uncorrected"),
        (Gate(), "decode_tok_per_s", "uncorrected"),
    ],
)
def test_level_of_a_gate(gate, metric, words):
    study = Study(
        model="m",
        baseline="bf16",
        reference="fp32",
        gate=gate,
        variants=tuple(StudyVariant(name=name) for name in ("fp32", "bf16", "int8", "lut4")),
    )
    workload = {"decode_tok_per_s": "decode 128+64", "prefill_tok_per_s": "prefill 512"}[metric]
    assert words in compare_cell(study, make_rounds(), metric, workload, "int8", "bf16").method
