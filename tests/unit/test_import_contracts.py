"""The import contracts hold on the tree, and each of them catches a violation planted in a copy of it."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assay import catalog
from assay.judge.checks.runner import CHECKS

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / ".importlinter"

# Contract, file that the violation is appended to (created where it is new), the import, what the output names.
PLANTED = (
    ("storeys", "core/planted.py", "import assay.build.nn", "assay.core is not allowed to import assay.build"),
    ("storeys", "show/planted_upwards.py", "import assay.catalog", "assay.show is not allowed to import assay.catalog"),
    ("storeys", "keep/planted_sideways.py", "import assay.judge", "assay.keep is not allowed to import assay.judge"),
    ("storeys", "planted_module.py", "", "assay.planted_module"),
    ("judged-without-building", "judge/planted.py", "import assay.build", "assay.judge.planted -> assay.build"),
    ("no-framework", "judge/planted_numpy.py", "def late(): import numpy", "assay.judge.planted_numpy -> numpy"),
    ("no-framework", "core/planted_torch.py", "import torch", "assay.core.planted_torch -> torch"),
    (
        "no-framework",
        "show/planted_far.py",
        "import assay.core.planted_torch",
        "assay.show is not allowed to import torch",
    ),
    ("catalog", "__main__.py", "import assay.catalog", "assay.__main__ -> assay.catalog"),
    (
        "checkpoints",
        "build/checkpoints/gguf.py",
        "import assay.build.checkpoints.random",
        "assay.build.checkpoints.gguf -> assay.build.checkpoints.random",
    ),
    (
        "models",
        "build/models/llama.py",
        "import assay.build.models.gpt2",
        "assay.build.models.llama -> assay.build.models.gpt2",
    ),
    (
        "transforms",
        "build/transforms/cast.py",
        "import assay.build.transforms.palettize",
        "assay.build.transforms.cast -> assay.build.transforms.palettize",
    ),
    (
        "exporters",
        "build/exporters/torch.py",
        "import assay.build.exporters.onnx",
        "assay.build.exporters.torch -> assay.build.exporters.onnx",
    ),
    (
        "runtimes",
        "run/runtimes/torch_eager.py",
        "import assay.run.runtimes.onnxruntime",
        "assay.run.runtimes.torch_eager -> assay.run.runtimes.onnxruntime",
    ),
    (
        "workloads",
        "run/workloads/load.py",
        "import assay.run.workloads.decode",
        "assay.run.workloads.load -> assay.run.workloads.decode",
    ),
    (
        "meters",
        "run/measure/energy/rapl.py",
        "import assay.run.measure.energy.nvml",
        "assay.run.measure.energy.rapl -> assay.run.measure.energy.nvml",
    ),
    (
        "checks",
        "judge/checks/drift.py",
        "import assay.judge.checks.noise",
        "assay.judge.checks.drift -> assay.judge.checks.noise",
    ),
    (
        "imports",
        "judge/imports/notes.py",
        "import assay.judge.imports.markdown",
        "assay.judge.imports.notes -> assay.judge.imports.markdown",
    ),
    ("engines", "run/measure/planted.py", "import onnxruntime", "assay.run.measure.planted -> onnxruntime"),
    ("acyclic", "keep/planted_one.py", "import assay.keep.planted_two", "assay.keep"),
    ("acyclic", "keep/planted_two.py", "import assay.keep.planted_one", "assay.keep"),
)


def _contracts() -> dict[str, configparser.SectionProxy]:
    parser = configparser.ConfigParser()
    parser.read(CONTRACTS, encoding="utf-8")
    prefix = "importlinter:contract:"
    return {name.removeprefix(prefix): parser[name] for name in parser.sections() if name.startswith(prefix)}


def _lint(sources: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--config",
            str(CONTRACTS),
            "--no-cache",
        ],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources), "COLUMNS": "400", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold() -> None:
    done = _lint(ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(_contracts())} kept, 0 broken." in done.stdout


def test_each_contract_catches_its_violation(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "assay", tmp_path / "assay", ignore=shutil.ignore_patterns("__pycache__"))
    for _, file, violation, _ in PLANTED:
        with (tmp_path / "assay" / file).open("a", encoding="utf-8") as planted:
            planted.write(f"\n{violation}\n")
    done = _lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    details = done.stdout.split("Broken contracts")[1]
    sections = re.split(r"\n([^\n]+)\n-{5,}\n", details)
    said = dict(zip(sections[1::2], sections[2::2], strict=True))
    contracts = _contracts()
    assert {name for name, *_ in PLANTED} == set(contracts), "every contract has a planted violation"
    for name, file, _, named in PLANTED:
        title = contracts[name]["name"]
        assert title in said, f"{name} did not break on {file}"
        assert named in said[title], f"{name} does not name {named}:\n{said[title]}"


@pytest.mark.parametrize(
    ("contract", "table"),
    [
        ("checkpoints", catalog.CHECKPOINTS.values()),
        ("models", [f"assay.build.models.{family}" for family in catalog.FAMILIES]),
        ("transforms", catalog.TRANSFORMS.values()),
        ("exporters", [entry.module for entry in catalog.EXPORTERS.values()]),
        ("runtimes", [entry.module for entry in catalog.RUNTIMES.values()]),
        ("workloads", [module for module, _ in (*catalog.WORKLOADS.values(), *catalog.OWN_LOOP.values())]),
        ("imports", catalog.READERS.values()),
        ("checks", [f"assay.judge.checks.{check}" for check in CHECKS]),
    ],
)
def test_every_plug_in_of_the_catalog_is_under_its_contract(contract: str, table: list[str]) -> None:
    listed = _contracts()[contract]["modules"].split()
    assert listed == sorted(listed)
    assert set(listed) == set(table), f"name the same {contract} in .importlinter as in the code's own table"
    assert all(importlib.util.find_spec(module) for module in listed)
