"""Starting is light: nothing heavy is loaded before a command needs it, and whole storeys work without a framework."""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import subprocess
import sys

import pytest

import assay

FRAMEWORKS = frozenset(
    {
        "altair",
        "gguf",
        "numpy",
        "onnx",
        "onnxruntime",
        "openvino",
        "pandas",
        "safetensors",
        "scipy",
        "selenium",
        "tokenizers",
        "torch",
        "transformers",
        "vl_convert",
    }
)
"""Never loaded by an import of Assay, nor by a command that only shows its help."""

LATE = FRAMEWORKS | {"pydantic", "sqlalchemy", "rich"}
"""What `import assay` and the help of the command line leave alone too: they answer at once."""


def _loaded_by(program: str) -> set[str]:
    """First-level modules that are loaded after `program` ran in a fresh interpreter."""
    script = (
        f"import json, sys\n{program}\nprint('\\n' + json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def _modules_of(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    folders = spec.submodule_search_locations or []
    return [package, *(module.name for module in pkgutil.walk_packages(folders, f"{package}."))]


def test_import_assay_loads_nothing_heavy() -> None:
    assert not _loaded_by("import assay") & LATE


def test_help_loads_nothing_heavy() -> None:
    program = """
from assay.cli import main
for arguments in (["--help"], ["run", "--help"], ["--version"]):
    try:
        main(arguments)
    except SystemExit as leave:
        assert not leave.code, leave.code
"""
    loaded = _loaded_by(program)
    assert "assay" in loaded
    assert not loaded & LATE


def test_help_of_the_module() -> None:
    done = subprocess.run([sys.executable, "-m", "assay", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize("storey", ["core", "judge", "keep", "show"])
def test_a_storey_needs_no_framework(storey: str) -> None:
    """Every module of the storey is imported, and no framework comes with it."""
    modules = _modules_of(f"{assay.__name__}.{storey}")
    assert not _loaded_by("\n".join(f"import {module}" for module in modules)) & FRAMEWORKS


@pytest.mark.parametrize("module", ["assay.api", "assay.catalog", "assay.cli", "assay.pipeline"])
def test_the_upper_modules_load_no_framework(module: str) -> None:
    assert not _loaded_by(f"import {module}") & FRAMEWORKS
