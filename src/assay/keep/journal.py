"""The journal: a file per decision, `experiments/<name>/decisions/<id>.json`. It refuses to edit or to lose one.

The files are JSON with one key on a line, so that git shows and merges them; two people who decide at once write two
files. Whatever cannot be read is a finding, and the rest of the journal stays usable.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from assay.core.decisions import Decision, LogFinding
from assay.core.errors import JournalError
from assay.core.experiment_file import EXPERIMENT_FILE
from assay.keep.failures import as_store_error
from assay.keep.rules import broken_rules

EXPERIMENTS = Path("experiments")
"""Where a project keeps its experiments."""
_DECISIONS = "decisions"
_MAX_BYTES = 8 << 20


@dataclass(frozen=True)
class Entry:
    """A decision and its file."""

    path: Path
    decision: Decision


@dataclass(frozen=True)
class Log:
    """What a journal holds: its entries in the order in which they were decided, and what is wrong with its files."""

    entries: tuple[Entry, ...]
    problems: tuple[LogFinding, ...]

    def history(self, experiment: str) -> tuple[Entry, ...]:
        """Every decision on an experiment, oldest first."""
        return tuple(entry for entry in self.entries if entry.decision.experiment == experiment)

    def standing(self, experiment: str | None = None) -> tuple[Entry, ...]:
        """The decisions that none supersedes, oldest first: one of each experiment in a journal in order."""
        gone = {old for entry in self.entries for old in entry.decision.supersedes}
        return tuple(
            entry
            for entry in self.entries
            if entry.decision.id not in gone and experiment in (None, entry.decision.experiment)
        )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the experiments that were decided on, in the order of their first decision."""
        return tuple(dict.fromkeys(entry.decision.experiment for entry in self.entries))


class Journal:
    """The decisions under a directory of experiments."""

    def __init__(self, root: Path = EXPERIMENTS) -> None:
        self.root = root

    def read(self) -> Log:
        """All that can be read, and a problem for each file that cannot or that is not as it was written."""
        entries: list[Entry] = []
        problems: list[LogFinding] = []
        for path in sorted(self.root.glob(f"*/{_DECISIONS}/*.json")):
            try:
                decision = _read(path)
            except JournalError as error:
                problems.append(LogFinding(kind="problem", where=str(path), found=error.found, remedy=error.remedy))
                continue
            entries.append(Entry(path, decision))
            problems.extend(_misplaced(path, decision))
        entries.sort(key=lambda entry: (entry.decision.decided_utc, entry.decision.id))
        problems.extend(_twice(entries))
        return Log(_each_once(entries), tuple(problems))

    def directories(self) -> tuple[Path, ...]:
        """The directories of all experiments, by name."""
        return tuple(sorted(path.parent for path in self.root.glob(f"*/{EXPERIMENT_FILE}")))

    def add(self, decision: Decision) -> Entry:
        """Write a decision down, under the id that its content gives it; it supersedes what stands of its experiment.

        Raises:
            JournalError: it breaks a rule; the message names every one.
            StoreError: the file cannot be written.
        """
        standing = self.read().standing(decision.experiment)
        replaced = tuple(entry.decision.id for entry in standing)
        sealed = decision.model_copy(update={"supersedes": replaced}).sealed()
        broken = broken_rules(sealed)
        if broken:
            raise JournalError(
                f"The decision {sealed.status!r} on {sealed.experiment!r} was asked for",
                "it breaks a rule\n" + "\n".join(f"  - {rule}" for rule in broken) + "\n ",
                "docs/experiments.md says what each status must carry",
            )
        path = self.root / sealed.experiment / _DECISIONS / f"{sealed.id}.json"
        with as_store_error(f"writing the decision {sealed.id}", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(sealed.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
        return Entry(path, sealed)


def _read(path: Path) -> Decision:
    asked = f"The decision {str(path)!r} was asked for"
    mend = "Take it back from version control (`git log -- FILE`), or remove it; decisions are superseded, never edited"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise JournalError(asked, f"it is larger than {_MAX_BYTES} bytes", mend)
        return Decision.from_json(path.read_bytes())
    except OSError as error:
        raise JournalError(asked, f"it cannot be read ({error.strerror})", mend) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise JournalError(asked, f"it is no decision: {place}: {first['msg']}", mend) from None


def _misplaced(path: Path, decision: Decision) -> list[LogFinding]:
    problems = []

    def problem(found: str, remedy: str) -> None:
        problems.append(LogFinding(kind="problem", where=str(path), found=found, remedy=remedy))

    true_id = decision.sealed().id
    if decision.id != true_id:
        problem(
            f"its id is {decision.id!r}, and its content gives {true_id!r}: it was edited after it was written",
            "Take it back from version control, and supersede it with `assay experiment decide`",
        )
    folder = path.parent.parent.name
    if decision.experiment != folder:
        problem(f"it decides on {decision.experiment!r} and lies in {folder!r}", "Move it to its experiment")
    for rule in broken_rules(decision):
        problem(f"it breaks a rule: {rule}", "Supersede it with `assay experiment decide`")
    return problems


def _twice(entries: Sequence[Entry]) -> list[LogFinding]:
    """Ids that stand in several files, as after a merge."""
    files = defaultdict(list)
    for entry in entries:
        files[entry.decision.id].append(entry)
    return [
        LogFinding(
            kind="problem",
            where=", ".join(str(entry.path) for entry in alike),
            found=f"{len(alike)} decisions have the id {id_!r}",
            remedy="Keep the file whose name is its id and remove the others"
            if len({entry.decision.content_digest for entry in alike}) == 1
            else "They differ: keep the one that was not edited (`assay log check` names the other), remove the rest",
        )
        for id_, alike in files.items()
        if len(alike) > 1
    ]


def _each_once(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """One entry of each id: the unedited one where several claim it."""
    claimed = Counter(entry.decision.id for entry in entries)
    chosen: dict[str, Entry] = {}
    for entry in entries:
        decision = entry.decision
        whole = claimed[decision.id] == 1 or decision.sealed().id == decision.id
        if whole or decision.id not in chosen:
            chosen[decision.id] = entry
    return tuple(chosen.values())
