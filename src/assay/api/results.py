"""What is kept and what others measured, from Python: results, their differences, audits. It measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from assay.core.audit import AuditReport
from assay.core.difference import Difference
from assay.core.errors import InputError
from assay.core.records import (
    Ceilings,
    Contest,
    Result,
    Round,
    Scalar,
)
from assay.judge.checks.policy import CheckPolicy
from assay.judge.difference import difference as judge_difference
from assay.judge.imports.correction import NOTHING, read_correction
from assay.keep.store import open_store
from assay.pipeline.audit import audit as audit_files
from assay.pipeline.contest import CONTEST
from assay.pipeline.doctor import CEILINGS

if TYPE_CHECKING:
    pass


def audit(
    *files: str | Path,
    facts: Mapping[str, Scalar] | None = None,
    map_file: str | Path | None = None,
    policy: CheckPolicy | None = None,
) -> AuditReport:
    """Which numbers of anybody's results not to believe, and why; nothing is run.

    Args:
        files: Markdown, CSV, JSON of other tools, notes or power logs.
        facts: of the set-up, by the names of `assay.core.figures.FACTS`.
        map_file: a TOML file that corrects what columns are.
        policy: thresholds of the checks; the defaults where None.

    Raises:
        InputError: nothing of any file could be read; where only some could not, the report says so.
    """
    correction = read_correction(Path(map_file)) if map_file is not None else NOTHING
    return audit_files([Path(file) for file in files], facts, correction, policy)


def stored_result(store: Path, study: str | None = None) -> Result:
    """The newest result of a store, or the newest of a study by its name or the first digits of its digest.

    Args:
        store: the directory that keeps results.
        study: a name, a digest, or the path of a .json report.

    Raises:
        StoreError: the store cannot be read.
        InputError: it holds no such result, or the file is no report.
    """
    if study is not None and study.endswith(".json"):
        return _reported(Path(study))
    if not store.is_dir():
        raise InputError(
            f"A result in {str(store)!r} was asked for", "there is no such store", "Run a study first, or name --store"
        )
    results = open_store(store).results()
    found = [r for r in results if study is None or r.name == study or (len(study) >= 6 and r.study.startswith(study))]
    if not found:
        names = ", ".join(dict.fromkeys(r.name for r in results)) or "none"
        raise InputError(
            f"A result of {study or 'any study'!r} was asked for", f"the store has results of: {names}",
            "Name one of them, or run a study",
        )  # fmt: skip
    return found[-1]


def difference(store: Path, before: str, after: str | None = None) -> Difference:
    """What changed from one result to another; each is named as `stored_result` names it.

    Raises:
        StoreError: the store cannot be read.
        InputError: there is no such result.
    """
    return judge_difference(stored_result(store, before), stored_result(store, after))


def stored(store: Path, name: str | None = None) -> Result | Contest:
    """The newest of all that a store holds, or of a study or a contest by its name or the first digits of its digest.

    Raises:
        StoreError: the store cannot be read.
        InputError: it holds no such result.
    """
    contests = open_store(store).all(CONTEST, None, Contest) if store.is_dir() else ()
    alike = [c for c in contests if name is None or (len(name) >= 6 and c.id.startswith(name))]
    try:
        result = stored_result(store, name)
    except InputError:
        if not alike:
            raise
        return alike[-1]
    newest = alike[-1] if alike else None
    return newest if newest is not None and newest.created_utc > result.created_utc else result


def _reported(path: Path) -> Result:
    asked = f"The report {str(path)!r} was asked for"
    try:
        return Result.from_json(path.read_bytes())
    except OSError as error:
        raise InputError(asked, f"it cannot be read ({error.strerror})", "Name a file that --report wrote") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InputError(asked, f"it is no result: {problem['msg']}", "Name a file that --report wrote") from None


def rounds_of(store: Path, result: Result) -> tuple[Round, ...]:
    """The rounds behind a stored result."""
    return open_store(store).rounds(result.study)


def ceilings_of(store: Path, result: Result) -> Ceilings | None:
    """What the result's machine can do at best, where `assay doctor --measure` was run on it."""
    return open_store(store).get(CEILINGS, result.environment.machine.content_digest, Ceilings)
