"""The compute-plan audit: a new fallback fails, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.cli import main
from assay.core.errors import CheckpointError, CorruptFileError
from assay.core.placements import PlacedOperation
from assay.judge.placements import audit, read_placements

PLANS = Path(__file__).parents[3] / "examples" / "plans"
NPU, CPU = "mlneuralenginecomputedevice", "mlcpucomputedevice"


def plan(**devices: str) -> list[PlacedOperation]:
    return [PlacedOperation(name=name, kind="ios18.linear", device=device) for name, device in devices.items()]


def test_what_moved_to_the_cpu_is_a_new_fallback() -> None:
    found = audit(plan(a=NPU, b=NPU, c=CPU), plan(a=NPU, b=CPU, c=CPU))
    assert [change.operation for change in found.fallbacks] == ["b"]
    assert found.devices_now == {NPU: 1, CPU: 2}


def test_what_was_on_the_cpu_already_is_none_and_what_left_it_is_better() -> None:
    found = audit(plan(a=NPU, b=CPU, c=CPU), plan(a=NPU, b=CPU, c=NPU))
    assert found.fallbacks == ()
    assert [change.outcome for change in found.changes] == ["better"]


def test_a_move_between_accelerators_is_told_and_does_not_fail() -> None:
    found = audit(plan(a=NPU), plan(a="mlgpucomputedevice"))
    assert [change.outcome for change in found.changes] == ["moved"]
    assert found.fallbacks == ()


def test_constants_and_unknown_operations_do_not_count() -> None:
    saved = plan(a=NPU, b=NPU)
    now = [
        *plan(a=NPU, b=""),
        PlacedOperation(name="w", kind="const", device=CPU),
        PlacedOperation(name="v", kind="ios16.constexpr_lut_to_dense", device=CPU),
    ]
    found = audit(saved, now)
    assert found.changes == ()
    assert (found.counted, found.left_out) == (1, 3)


def test_other_names_are_compared_by_kind() -> None:
    renamed = audit(plan(a=NPU, b=CPU), plan(x=NPU, y=CPU))
    assert renamed.changes == ()
    more = audit(plan(a=NPU, b=CPU), plan(x=CPU, y=CPU))
    assert [change.now for change in more.fallbacks] == ["2 on the CPU"]


def test_a_plan_of_a_cpu_alone_has_nothing_to_fall_back_from() -> None:
    assert audit(plan(a=CPU), plan(a=CPU, b=CPU)).changes == ()


def test_recorded_plans_on_the_command_line() -> None:
    same = CliRunner().invoke(main, ["plan-audit", str(PLANS / "saved.json"), str(PLANS / "same.json")])
    assert (same.exit_code, same.output.splitlines()[-1]) == (0, "no new fallback")
    worse = CliRunner().invoke(
        main, ["plan-audit", str(PLANS / "saved.json"), str(PLANS / "fallback.json"), "--format", "json"]
    )
    assert worse.exit_code == 1
    assert json.loads(worse.output)["changes"][0]["operation"] == "softmax_0"


def test_a_profile_of_onnx_runtime_is_read(tmp_path: Path) -> None:
    node = {
        "cat": "Node",
        "name": "/mlp/MatMul_kernel_time",
        "args": {"op_name": "MatMul", "provider": "CUDAExecutionProvider"},
    }
    session = {"cat": "Session", "name": "model_run", "args": {}}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps([session, node, node]))
    assert read_placements(path) == (
        PlacedOperation(name="/mlp/MatMul", kind="MatMul", device="cudaexecutionprovider"),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("{}", "no list 'operations'"),
        ('{"operations": [{"name": "a"}]}', "has no 'kind'"),
        ('{"operations": [{"name": "a", "kind": "const", "device": "cpu"}]}', "no operation in it has a device"),
        ("[]", "no operation in it has a device"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(CorruptFileError, match=words):
        read_placements(path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_placements(tmp_path / "missing.json")
