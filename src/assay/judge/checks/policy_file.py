"""Reads thresholds from a TOML file. It refuses names that are no threshold, and values out of their range."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from assay.core.errors import InputError
from assay.judge.checks.policy import CheckPolicy


def read_policy(path: Path) -> CheckPolicy:
    """The policy of a file: the defaults, with what it says in their place.

    Raises:
        InputError: it cannot be read, is no TOML, or names what is no threshold.
    """
    asked = f"The policy {str(path)!r} was to be read"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(asked, str(error.strerror), "Name a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(asked, f"it is no TOML ({error})", "Write lines such as noise_deviation = 0.2") from None
    try:
        return CheckPolicy.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
        )
        raise InputError(asked, problems, f"Thresholds: {', '.join(CheckPolicy.model_fields)}") from None
