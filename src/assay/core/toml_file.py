"""A TOML file as a record. It refuses what is no TOML, and keys and values that the record refuses."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from assay.core.errors import InputError
from assay.core.records import Record

Kind = TypeVar("Kind", bound=Record)


def read_record(path: Path, kind: type[Kind], what: str, remedy: str) -> Kind:
    """Read a record from TOML; arrays become tuples.

    Args:
        path: the file.
        kind: the record's class.
        what: what it is for the user, such as `policy`.
        remedy: the keys that it may have.

    Raises:
        InputError: it cannot be read, is no TOML, or does not fit.
    """
    asked = f"The {what} {str(path)!r} was to be read"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(asked, str(error.strerror), "Name a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(asked, f"it is no TOML ({error})", remedy) from None
    try:
        return kind.model_validate({k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
        )
        raise InputError(asked, problems, remedy) from None
