"""The error tree: every message says what was asked, what was found and what to do. It refuses silent failure.

    AssayError                      exit status
    ├── InputError                  2   a file, a study or an option that the user gave
    │   ├── StudyError                  a study file: names the file, the key and the allowed values
    │   ├── JournalError                a decision that breaks a rule, or a file of the journal that cannot be read
    │   ├── CheckpointError             weights or a config that cannot be read
    │   │   ├── CorruptFileError        truncated, or with lengths and offsets that lie
    │   │   └── UnknownArchitectureError
    │   ├── TokenizerError
    │   └── TransformError              options that are wrong, or a selection that matched nothing
    ├── UnsupportedError            3   valid, but this runtime, device or format cannot carry it
    │   └── MissingDependencyError      an extra that is not installed, with its install command
    ├── StoreError                  4   the store or the artifact cache: unreadable, unwritable, full, in use
    ├── RunError                    5   a worker failed: crashed, ran out of memory, timed out
    │   └── EngineError                 an engine outside of the worker did, or answered what cannot be true
    └── ContractError               6   parts of one bundle disagree (context, window, vocabulary, dtype)

Exit status 0 is success, 1 a verdict that the command was asked to turn into a status (a gate that failed),
70 a defect of Assay itself, 130 an interrupt by Ctrl-C.
"""

from __future__ import annotations

from typing import Literal


class AssayError(Exception):
    """Root of the tree.

    Args:
        asked: what the user or the caller asked for.
        found: what was found instead.
        remedy: what to do about it.
    """

    exit_status = 70

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        super().__init__(asked, found, remedy)
        self.asked = asked
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.asked}: {self.found}. {self.remedy}"


class InputError(AssayError):
    """Something that the user gave is wrong: a file, a study, an option."""

    exit_status = 2


class StudyError(InputError):
    """A study file is wrong; the message names the file, the key and the allowed values."""


class JournalError(InputError):
    """A decision breaks a rule of the journal, or a file of the journal cannot be read; the message names it."""


class CheckpointError(InputError):
    """Weights or a config cannot be read."""


class CorruptFileError(CheckpointError):
    """A file is truncated, or holds lengths, offsets or types that cannot be true."""


class UnknownArchitectureError(CheckpointError):
    """A checkpoint of a family that Assay has no model for."""


class TokenizerError(InputError):
    """A tokenizer cannot be read or built, or text cannot be encoded."""


class TransformError(InputError):
    """A transform has wrong options, or selected nothing."""


class UnsupportedError(AssayError):
    """A valid wish that this runtime, device or format cannot carry; it becomes a row, not a stop."""

    exit_status = 3


class MissingDependencyError(UnsupportedError):
    """An optional package is not installed; the remedy is the command that installs it."""

    def __init__(self, asked: str, package: str, extra: str) -> None:
        super().__init__(
            asked, f"the package {package!r} is not installed", f"Install it: pip install 'assay[{extra}]'"
        )
        self.package = package
        self.extra = extra


class StoreError(AssayError):
    """The store or the artifact cache cannot be read, written, or is in use."""

    exit_status = 4


class RunError(AssayError):
    """A worker failed: crashed, ran out of memory, timed out."""

    exit_status = 5


class EngineError(RunError):
    """An engine that owns its loop failed; `outcome` is the kind of the row's outcome (`core.records.Outcome`)."""

    def __init__(
        self,
        asked: str,
        found: str,
        remedy: str,
        outcome: Literal["crashed", "timed_out", "out_of_memory", "wrong_answer"],
    ) -> None:
        super().__init__(asked, found, remedy)
        self.outcome = outcome


class ContractError(AssayError):
    """Parts of one bundle disagree; refused at build and at load, never clamped."""

    exit_status = 6
