"""Reads a study from TOML or a mapping; its errors name the file, the key, what was found and what is allowed.

It refuses unknown keys: a typing error never becomes a default.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from assay.core.errors import StudyError
from assay.core.study import Study

_MAX_STUDY_BYTES = 1 << 20

Written = TypeVar("Written", bound=BaseModel)
"""A record that people write by hand."""


def read_study(path: Path) -> Study:
    """Read and validate a study file.

    Raises:
        StudyError: the file is missing, not TOML, or breaks a rule of the study.
    """
    content = read_toml(path, "study", "Check the path, or start from `assay bench MODEL`")
    content.setdefault("name", path.stem)
    return validate_study(content, str(path))


def read_toml(path: Path, what: str, if_missing: str) -> dict[str, Any]:
    """The content of a TOML file; `if_missing` is the remedy where there is none.

    Raises:
        StudyError: the file is missing, too large, not UTF-8 or not TOML.
    """
    asked = f"The {what} {str(path)!r} was asked for"
    try:
        if path.stat().st_size > _MAX_STUDY_BYTES:
            raise StudyError(asked, f"it is larger than {_MAX_STUDY_BYTES} bytes", f"Name a {what} written in TOML")
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise StudyError(asked, "there is no such file", if_missing) from None
    except OSError as error:
        raise StudyError(asked, f"it cannot be read ({error.strerror})", "Name a readable file") from None
    except UnicodeDecodeError as error:
        raise StudyError(asked, f"byte {error.start} is not UTF-8", "Save it as UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(asked, f"it is not TOML: {error}", "Mend that line") from None


def validate_study(content: Mapping[str, Any], where: str) -> Study:
    """Validate the content of a study; `where` names its file or its origin in errors.

    Raises:
        StudyError: with every broken key on a line of its own.
    """
    return validate(Study, content, f"The study {where!r} was asked for", "`assay list study-keys` shows every key")


def validate(kind: type[Written], content: Mapping[str, Any], asked: str, hint: str) -> Written:
    """Validate what a person wrote as a record of this kind; `hint` ends the remedy.

    Raises:
        StudyError: with every broken key on a line of its own.
    """
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StudyError(
            asked,
            f"it holds a value that is no number, text or list ({error})",
            "Use numbers, strings, booleans, lists and tables",
        ) from None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        lines = [_explain(problem, kind) for problem in error.errors(include_url=False)]
        raise StudyError(
            asked,
            "it breaks a rule\n" + "\n".join(f"  - {line}" for line in lines) + "\n ",
            f"Mend the keys named above; {hint}",
        ) from None


def _explain(problem: Any, kind: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or f"the {kind.__name__.lower()}"
    found = problem.get("input")
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        allowed = _allowed_keys(kind, problem["loc"][:-1])
        close = difflib.get_close_matches(key, allowed, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"{where}: unknown key{hint} Allowed: {', '.join(allowed)}"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(found, (Mapping, list)):
        return f"{where}: {message}"
    return f"{where}: {message}; found {found!r}"


def _allowed_keys(kind: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    model = kind
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _record_within(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _record_within(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if found := _record_within(inner):
            return found
    return None
