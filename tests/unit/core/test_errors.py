"""The error tree: what the docstring draws is what there is, and every message has its three parts."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from assay.core import errors
from assay.core.errors import AssayError, MissingDependencyError, StudyError

CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, AssayError) and kind.__module__ == errors.__name__
}
LINE = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>\w+Error)\s*(?P<status>\d+)?")


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Name -> (parent, exit status if one is drawn), from the tree in the module's docstring."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str | None, int | None]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = LINE.match(line)
        if match:
            depth = len(match["branch"]) // 4
            path = [*path[:depth], match["name"]]
            status = int(match["status"]) if match["status"] else None
            tree[match["name"]] = (path[-2] if depth else None, status)
    return tree


def test_the_docstring_draws_every_class_and_no_other() -> None:
    assert set(drawn()) == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_docstring_draws_the_parent_and_the_exit_status(name: str) -> None:
    parent, status = drawn()[name]
    kind = CLASSES[name]
    if parent is not None:
        assert kind.__base__ is CLASSES[parent]
        assert kind.exit_status == (status if status is not None else CLASSES[parent].exit_status)
    else:
        assert kind is AssayError


def test_first_children_have_exit_statuses_of_their_own() -> None:
    statuses = [kind.exit_status for kind in CLASSES.values() if kind.__base__ is AssayError]
    assert len(statuses) == len(set(statuses))
    assert not {0, 1, 130} & set(statuses)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_says_what_it_is(name: str) -> None:
    assert CLASSES[name].__doc__


def test_a_message_is_asked_found_remedy() -> None:
    error = StudyError("gate.min_speedup in study.toml", "-1", "Give a number above 0")
    assert str(error) == "gate.min_speedup in study.toml: -1. Give a number above 0"
    assert (error.asked, error.found, error.remedy) == error.args


def test_a_missing_dependency_names_its_install_command() -> None:
    error = MissingDependencyError("the runtime torch", "torch", "torch")
    assert "pip install 'assay[torch]'" in str(error)
    assert (error.package, error.extra) == ("torch", "torch")


def test_an_error_survives_pickling() -> None:
    error = StudyError("a", "b", "c")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (StudyError, "a: b. c")
