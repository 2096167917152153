"""A runtime that says something else loses its speeds; a tie, or a row that was not asked, does not."""

from __future__ import annotations

from typing import Any

import pytest

from assay.core.records import Absent, Parity
from assay.judge.checks import parity
from assay.judge.checks.policy import CheckPolicy

POLICY = CheckPolicy()
SAME = Absent(reason="all 64 greedy tokens are the same")
SOUND = {
    "against": "bf16",
    "tokens": 320,
    "kl_nats": 2e-4,
    "kl_steps_nats": 3e-4,
    "psnr_db": 60.0,
    "noise_nats": 0.05,
    "greedy_tokens": 64,
    "first_divergence": SAME,
    "margin_nats": SAME,
}


def checked(make: Any, found: Parity | Absent) -> Any:
    quality = make.quality("int8").model_copy(update={"parity": found})
    return parity.check(make.subject(quality=(make.quality("fp32"), make.quality("bf16"), quality)), POLICY)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kl_nats": 0.3}, "over a window"),
        ({"kl_steps_nats": 0.3}, "through the KV cache"),
        ({"first_divergence": 12, "margin_nats": 0.4}, "greedy token 12 of 64 is another"),
        ({"first_divergence": 0, "margin_nats": Absent(reason="logits are not finite")}, "not finite"),
        (
            {"kl_nats": SAME, "kl_steps_nats": SAME, "noise_nats": SAME, "first_divergence": 3, "margin_nats": 2.0},
            "no tie",
        ),
    ],
)
def test_what_rounding_does_not_explain_strikes_the_speeds_out(make: Any, changes: Any, said: str) -> None:
    [finding] = checked(make, Parity(**{**SOUND, **changes})).findings
    assert finding.severity == "ERR"
    assert said in finding.summary
    assert {cell.row for cell in finding.cells} == {"int8"}
    assert "decode_tok_per_s" in {cell.metric for cell in finding.cells}
    assert not {cell.metric for cell in finding.cells} & {"weight_bytes", "kl_nats"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first_divergence": 12, "margin_nats": 0.04},
        {"kl_nats": SAME, "kl_steps_nats": SAME, "noise_nats": SAME, "first_divergence": 3, "margin_nats": 0.2},
    ],
)
def test_a_tie_is_no_fault(make: Any, changes: Any) -> None:
    assert checked(make, Parity(**{**SOUND, **changes})) == ((), ())


def test_float32_on_both_sides_has_less_to_explain(make: Any) -> None:
    found = Parity(**{**SOUND, "against": "fp32", "kl_nats": 2e-3})
    quality = make.quality("bf16").model_copy(update={"parity": found})
    sound = make.subject(quality=(make.quality("fp32"), quality))
    dtypes = {row.name: row.artifact.contract.dtype for row in sound.rows}
    expected = 1 if dtypes["fp32"] == dtypes["bf16"] == "float32" else 0
    assert len(parity.check(sound, POLICY).findings) == expected
    assert parity.fault(found, POLICY.parity_kl_float32_nats) != ""


def test_parity_that_could_not_be_measured_is_not_passed_over(make: Any) -> None:
    answer = checked(make, Absent(reason="no parity: the engine crashed"))
    assert answer.not_checked == ("int8: no parity: the engine crashed",)
    assert checked(make, Absent(reason="no other row is of this variant")) == ((), ())
