"""Every command in the documentation parses, every command of Assay is documented, and what is quick is run.

So are examples in Python, and every study that stands in a page is one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from assay.cli import main
from assay.core.study_file import validate_study

_spec = importlib.util.spec_from_file_location("assay_docs_pages", Path(__file__).parent / "pages.py")
assert _spec is not None
assert _spec.loader is not None
_pages = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _pages
_spec.loader.exec_module(_pages)

ROOT: Path = _pages.ROOT
PAGES: list[Path] = _pages.pages()
COMMANDS = [command for page in PAGES for command in _pages.commands_of(page)]
OURS = [command for command in COMMANDS if command.words[0] == "assay"]


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _parse(words: tuple[str, ...]) -> click.Context:
    """Parse the words after `assay` as click would, without doing anything. Raises click.ClickException."""
    context = click.Context(main, info_name="assay")
    _, rest, _ = main.make_parser(context).parse_args(list(words))
    command = main.get_command(context, rest[0])
    if command is None:
        raise click.UsageError(f"no command {rest[0]!r}")
    return command.make_context(rest[0], rest[1:], parent=context)


def test_the_parser_of_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pages, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ assay list models  # a comment\nsmollm2-135m\n```\n\n<!-- slow: weights -->\n"
        "```sh\nassay bench x \\\n    -p 512\n# nothing\nmake test\n```\n\n```toml\nassay = 1\n```\n"
    )
    found = _pages.commands_of(page)
    assert [(command.words, command.line, command.remark) for command in found] == [
        (("assay", "list", "models"), 2, ""),
        (("assay", "bench", "x", "-p", "512"), 8, "slow"),
        (("make", "test"), 11, "slow"),
    ]


def test_there_are_commands_to_check() -> None:
    assert len(OURS) >= 10


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_command_parses(command: Any) -> None:
    words: tuple[str, ...] = command.words
    if {"--help", "-h", "--version"} & set(words) and len(words) <= 3:
        return  # run below
    try:
        _parse(words[1:])
    except click.ClickException as error:
        pytest.fail(f"{command}: {error.format_message()}")


def test_a_wrong_command_does_not_parse() -> None:
    for words in (("frobnicate",), ("bench",), ("bench", "m", "--no-such-option"), ("list", "nothing")):
        with pytest.raises(click.ClickException):
            _parse(words)


def test_every_command_is_documented_and_has_help() -> None:
    named = {word for command in OURS for word in command.words}
    for name, command in main.commands.items():
        assert name in named, f"`assay {name}` stands in no page"
        assert command.help, f"`assay {name}` has no help"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in _pages.commands_of(page):
        if command.words[0] == "make":
            asked = {word for word in command.words[1:] if "=" not in word and not word.startswith("-")}
            assert asked <= targets, str(command)


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{_id(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_examples_are_whole(page: Path) -> None:
    for example in _pages.examples_of(page, "python"):
        compile(example.text, str(example), "exec")
    for example in _pages.examples_of(page, "toml"):
        content = tomllib.loads(example.text)
        if "model" in content:
            validate_study(content, str(example))


def _is_ours(page: Path) -> bool:
    """False for the README: it shows what one types on files of one's own; the pages of docs run the same."""
    return page != ROOT / "README.md"


def _commands(page: Path, remarks: set[str]) -> list[Any]:
    return [c for c in _pages.commands_of(page) if c.words[0] == "assay" and c.remark in remarks and _is_ours(page)]


def _examples(remark: str) -> list[Any]:
    return [e for page in PAGES if _is_ours(page) for e in _pages.examples_of(page, "python") if e.remark == remark]


def _run(folder: Path, what: str, *arguments: str, status: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == status, f"{what} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where commands run: a folder with a copy of the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page, {""})], ids=_id)
def test_the_quick_commands_of_a_page_run(page: Path, folder: Path) -> None:
    for command in _commands(page, {""}):
        _run(folder, str(command), "-m", "assay", *command.words[1:])


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page, {"exit 1"})], ids=_id)
def test_the_commands_that_end_with_status_1_do(page: Path, folder: Path) -> None:
    for command in _commands(page, {"exit 1"}):
        _run(folder, str(command), "-m", "assay", *command.words[1:], status=1)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page, {"slow"})], ids=_id)
def test_all_commands_of_a_page_run(page: Path, folder: Path, smollm2_path: Path) -> None:
    assert smollm2_path.is_file()
    for command in _commands(page, {"", "slow"}):
        _run(folder, str(command), "-m", "assay", *command.words[1:])


@pytest.mark.parametrize("example", _examples(""), ids=str)
def test_a_quick_example_runs(example: Any, folder: Path) -> None:
    _run(folder, str(example), "-c", example.text)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("example", _examples("slow"), ids=str)
def test_a_slow_example_runs(example: Any, folder: Path, smollm2_path: Path) -> None:
    assert smollm2_path.is_file()
    _run(folder, str(example), "-c", example.text)
