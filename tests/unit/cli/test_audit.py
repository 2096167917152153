"""`assay audit`: exit status, what it prints, facts and maps on the command line, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from assay.cli import main
from assay.core.audit import AuditReport

HEALTHY = "| Size | Forward (ms) | Backward (ms) |\n|--|--|--|\n| S | 24.1 | 48.9 |\n| M | 48.9 | 98.7 |\n"
SICK = HEALTHY.replace("48.9 |\n| M", "-48.9 |\n| M")
HEAVY = {"torch", "numpy", "transformers", "scipy", "altair", "vl_convert", "sqlalchemy", "pandas"}


def audit(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["audit", *words], input=text)


@pytest.fixture
def sick(tmp_path: Path) -> str:
    file = tmp_path / "sick.md"
    file.write_text(SICK)
    return str(file)


def test_exit_status_and_the_cells_of_a_finding(tmp_path: Path, sick: str) -> None:
    done = audit(sick)
    assert done.exit_code == 1
    assert "ERR  [1]" in done.stdout
    assert "-0.0489 s" in done.stdout
    assert "cause:" in done.stdout
    assert "do:" in done.stdout
    healthy = tmp_path / "healthy.md"
    healthy.write_text(HEALTHY)
    assert audit(str(healthy)).exit_code == 0
    missing = audit(str(tmp_path / "missing.md"))
    assert missing.exit_code == 2
    assert "No such file" in missing.stderr
    both = audit(str(healthy), str(tmp_path / "missing.md"))
    assert both.exit_code == 2
    assert "2 rows" in both.stdout


def test_standard_input_is_a_file() -> None:
    done = audit("-", text=SICK)
    assert done.exit_code == 1
    assert done.stdout.startswith("standard input: 1 table, 2 rows, 4 figures: 1 invalid")


def test_every_form(sick: str, tmp_path: Path) -> None:
    report = AuditReport.from_json(audit(sick, "--format", "json").stdout)
    assert (report.counts["invalid"], report.exit_status) == (1, 1)
    (finding,) = [each for each in report.findings if each.severity == "ERR"]
    assert [(cell.row, cell.metric) for cell in finding.cells] == [("S", "backward_s")]
    markdown = audit(sick, "--format", "markdown").stdout
    assert "~~-48.9~~" in markdown
    assert "| row |" in markdown
    page = audit(sick, "--format", "html").stdout
    assert "<s>-48.9</s>" in page
    assert "http" not in page.replace("http-equiv", "")
    kept = tmp_path / "kept.json"
    done = audit(sick, "--output", str(kept))
    assert done.exit_code == 1
    assert AuditReport.from_json(kept.read_text()).findings == report.findings
    assert audit(sick, "--output", str(tmp_path / "kept.csv")).exit_code == 2


def test_facts_on_the_command_line(sick: str) -> None:
    words = (
        "--device", "RTX PRO 6000", "--samples", "10", "--model", "gpt2", "--context", "128", "--batch", "4",
        "--shape", "S=12x768x3072", "--shape", "M=24x1024x4096,gated", "--fact", "prompt_tokens=128", "--fact",
        "compiled=yes", "--format", "json",
    )  # fmt: skip
    facts = json.loads(audit(sick, *words).stdout)["facts"]
    assert facts == {
        "device": "RTX PRO 6000", "samples": 10, "model": "gpt2", "context": 128, "batch": 4, "prompt_tokens": 128,
        "compiled": True, "shape": ["S=12x768x3072", "M=24x1024x4096,gated"],
    }  # fmt: skip
    assert "no shape" in audit(sick).stdout
    assert "no shape" not in audit(sick, *words[:-2]).stdout, "the fact wakes the rules that were silent for its want"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fact", "colour=red"), "no fact that a check reads"), (("--fact", "batch=red"), "is no sequences"),
        (("--fact", "batch"), "it has no ="), (("--unit", "parsec"), "it is none"), (("--shape", "S=12"), "shape"),
        (("--policy", "missing.toml"), "No such file"), (("--map", "missing.toml"), "No such file"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(sick: str, words: tuple[str, ...], said: str) -> None:
    done = audit(sick, *words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_policy_moves_a_threshold(tmp_path: Path) -> None:
    file = tmp_path / "noisy.md"
    file.write_text("| Size | Latency (ms) |\n|--|--|\n| S | 100 ± 15 |\n")
    found = json.loads(audit(str(file), "--samples", "10", "--format", "json").stdout)["findings"]
    assert "printed_noise" in {finding["check"] for finding in found}
    policy = tmp_path / "policy.toml"
    policy.write_text("noise_deviation = 0.5\n")
    found = json.loads(audit(str(file), "--samples", "10", "--format", "json", "--policy", str(policy)).stdout)[
        "findings"
    ]
    assert "printed_noise" not in {finding["check"] for finding in found}
    policy.write_text("noise = 0.5\n")
    refused = audit(str(file), "--policy", str(policy))
    assert refused.exit_code == 2
    assert "noise_deviation" in refused.stderr


def test_what_was_not_recognised_is_said(tmp_path: Path) -> None:
    file = tmp_path / "odd.md"
    file.write_text("| Size | Forward (ms) | Quux |\n|--|--|--|\n| S | 24.1 | 7 |\n| M | many | 8 |\n")
    done = audit(str(file))
    assert "column 'Quux': not recognised" in done.stdout
    assert "'many' is no number" in done.stdout


def test_twenty_sick_rows_fit_a_screen_worst_first(tmp_path: Path) -> None:
    lines = [
        f"| m{i} | fp32 | {10 + i} ± {9 * (i % 5 == 0) + 0.1} | {'-1' if i % 7 == 0 else 20 + i} | "
        f"{100 / (10 + i):.1f} | {i} |"
        for i in range(20)
    ]
    file = tmp_path / "many.md"
    file.write_text(
        "Batch size 1, 10 runs each.\n\n"
        "| Model | dtype | Forward (ms) | Backward (ms) | items/s | Quux |\n|--|--|--|--|--|--|\n"
        + "\n".join(lines) + "\n"
    )  # fmt: skip
    done = audit(str(file), "--samples", "10")
    shown = done.stdout.splitlines()
    assert done.exit_code == 1
    assert len(shown) <= 50
    assert max(map(len, shown)) <= 80
    marks = [line[:4].strip() for line in shown if line[:4] in ("ERR ", "WARN", "INFO")]
    assert marks[0] == "ERR"
    assert marks == sorted(marks, key=["ERR", "WARN", "INFO"].index)


def test_an_audit_loads_no_framework(sick: str) -> None:
    script = (
        "import sys\nfrom assay.cli import main\n"
        f"try:\n    main(['audit', {sick!r}, '--format', 'html'])\n"
        "except SystemExit as leave:\n    assert leave.code == 1, leave.code\n"
        "print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "assay" in loaded
    assert not loaded & HEAVY


def test_hostile_text_does_not_become_live(tmp_path: Path) -> None:
    file = tmp_path / "hostile.md"
    file.write_text("| Model | Forward (ms) |\n|--|--|\n| <script>alert(1)</script>\x1b[31m`x`~~ | -1 |\n| b | 2 |\n")
    assert "\x1b" not in audit(str(file)).stdout
    page = audit(str(file), "--format", "html").stdout
    assert "<script" not in page
    assert "\x1b" not in audit(str(file), "--format", "markdown").stdout
