"""Reads a study from TOML or a mapping; its errors name the file, the key, what was found and what is allowed.

It refuses unknown keys: a typing error never becomes a default.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from assay.core.errors import StudyError
from assay.core.study import Study

_MAX_STUDY_BYTES = 1 << 20


def read_study(path: Path) -> Study:
    """Read and validate a study file.

    Raises:
        StudyError: the file is missing, not TOML, or breaks a rule of the study.
    """
    asked = f"The study {str(path)!r} was asked for"
    try:
        if path.stat().st_size > _MAX_STUDY_BYTES:
            raise StudyError(asked, f"it is larger than {_MAX_STUDY_BYTES} bytes", "Name a study written in TOML")
        content = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise StudyError(asked, "there is no such file", "Check the path, or start from `assay bench MODEL`") from None
    except OSError as error:
        raise StudyError(asked, f"it cannot be read ({error.strerror})", "Name a readable file") from None
    except UnicodeDecodeError as error:
        raise StudyError(asked, f"byte {error.start} is not UTF-8", "Save the study as UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(asked, f"it is not TOML: {error}", "Mend that line") from None
    content.setdefault("name", path.stem)
    return validate_study(content, str(path))


def validate_study(content: Mapping[str, Any], where: str) -> Study:
    """Validate the content of a study; `where` names its file or its origin in errors.

    Raises:
        StudyError: with every broken key on a line of its own.
    """
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StudyError(
            f"The study {where!r} was asked for",
            f"it holds a value that is no number, text or list ({error})",
            "Use numbers, strings, booleans, lists and tables",
        ) from None
    try:
        return Study.model_validate_json(text)
    except ValidationError as error:
        lines = [_explain(problem, content) for problem in error.errors(include_url=False)]
        raise StudyError(
            f"The study {where!r} was asked for",
            "it breaks a rule\n" + "\n".join(f"  - {line}" for line in lines) + "\n ",
            "Mend the keys named above; `assay list study-keys` shows every key",
        ) from None


def _explain(problem: Any, content: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the study"
    found = problem.get("input")
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        allowed = _allowed_keys(problem["loc"][:-1])
        close = difflib.get_close_matches(key, allowed, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"{where}: unknown key{hint} Allowed: {', '.join(allowed)}"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(found, (Mapping, list)):
        return f"{where}: {message}"
    return f"{where}: {message}; found {found!r}"


def _allowed_keys(location: Iterable[str | int]) -> list[str]:
    model: type[BaseModel] = Study
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
