"""How large `pip install assay` is without extras, package by package; it must stay under 60 MB and run on its own.

Builds the wheel from a copy of the sources, installs it into a fresh environment, and uses it there, away from the
repository. It needs a package index; it refuses to count what a fresh environment holds by itself (pip, setuptools).

    python benchmarks/install_size.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT_BYTES = 60_000_000
MEGABYTE = 1_000_000

_MEASURE = """
import json, pathlib
from importlib import metadata

sizes = {}
for distribution in metadata.distributions():
    paths = {pathlib.Path(str(distribution.locate_file(file))) for file in distribution.files or ()}
    sizes[distribution.metadata["Name"]] = sum(path.stat().st_size for path in paths if path.is_file())
print(json.dumps(sizes))
"""

_USE = """
import sys
from assay.run.texts import load_text

assert len(load_text("prose").text) > 30_000
assert not {"torch", "numpy", "transformers"} & set(sys.modules)
"""


def main() -> int:
    """Build, install, measure, use. Returns 0 where the installation is under the limit."""
    with tempfile.TemporaryDirectory(prefix="assay-size-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        before = json.loads(_run(python, "-c", _MEASURE, cwd=folder))
        wheel = _build_wheel(folder)
        constraints = str(ROOT / "constraints.txt")
        _run(python, "-m", "pip", "install", "--quiet", "-c", constraints, str(wheel), cwd=folder)
        after: dict[str, int] = json.loads(_run(python, "-c", _MEASURE, cwd=folder))
        sizes = {package: size for package, size in after.items() if package not in before}
        _run(python, "-c", _USE, cwd=folder)
        version = _run(python, "-m", "assay", "--version", cwd=folder).strip()
    for package, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{package:24} {size / MEGABYTE:7.2f} MB")
    total = sum(sizes.values())
    verdict = "under" if total < LIMIT_BYTES else "NOT under"
    print(f"{'total':24} {total / MEGABYTE:7.2f} MB: {verdict} the limit of {LIMIT_BYTES / MEGABYTE:.0f} MB")
    print(f"used away from the repository: {version}")
    return 0 if total < LIMIT_BYTES else 1


def _build_wheel(folder: Path) -> Path:
    sources = folder / "sources"  # a copy, so that no stale build folder of the repository enters the wheel
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", sources / "src", ignore=ignore)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, sources / file)
    _run(
        Path(sys.executable), "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(sources), cwd=folder
    )
    return next(folder.glob("assay-*.whl"))


def _run(python: Path, *arguments: str, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:3])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
