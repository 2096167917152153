"""Models of the Hugging Face hub, fetched only where `hub:` asks for one, and pinned to a commit.

    hub:org/name                     the branch main
    hub:org/name@revision            a branch, a tag or a commit
    hub:org/name/file.gguf@revision  one file

It refuses pickled weights by not fetching them, and a revision that it can neither find in the cache nor ask for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import CheckpointError

PREFIX = "hub:"
_PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.model", "vocab.txt", "1_Pooling/*.json")
"""What a checkpoint consists of; no pickles, no other formats of the same weights."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REFERENCE = re.compile(rf"hub:(?P<repo>{_PART}/{_PART})(?:/(?P<file>[^@]+))?(?:@(?P<revision>[^@\s]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reference:
    """What follows `hub:`."""

    repo: str
    """`org/name`."""
    file: str
    """One file of the repository; empty for all that a checkpoint consists of."""
    revision: str

    def at(self, commit: str) -> str:
        """The reference as it is written, pinned to a commit."""
        return f"{PREFIX}{self.repo}{'/' + self.file if self.file else ''}@{commit}"


@dataclass(frozen=True)
class Fetched:
    """A model of the hub on this disk."""

    path: Path
    """A directory, or the one file that was asked for."""
    commit: str
    pinned: str
    """The reference with the commit: it gives the same files whenever it is asked for, without a network."""


def is_reference(name: str) -> bool:
    """Whether a model's name asks for the hub."""
    return name.startswith(PREFIX)


def parse(name: str) -> Reference:
    """A reference from what a user wrote.

    Raises:
        CheckpointError: it is not of the form `hub:org/name[/file][@revision]`.
    """
    written = _REFERENCE.fullmatch(name)
    if written is None or ".." in (written["file"] or "").split("/"):
        raise CheckpointError(
            f"The model {name!r} was asked for",
            "it is no hub id",
            "Write hub:org/name, hub:org/name@revision or hub:org/name/file.gguf@revision",
        )
    return Reference(written["repo"], written["file"] or "", written["revision"] or "main")


def fetch(name: str) -> Fetched:
    """Find a model of the hub in the cache of `huggingface_hub`, or fetch it there.

    A reference with a whole commit that is in the cache asks nobody. `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and
    `HF_HUB_OFFLINE` mean what they mean to `huggingface_hub`.

    Raises:
        CheckpointError: there is no such repository, revision or file, or it is not in the cache and cannot be fetched.
    """
    wanted = parse(name)
    path = _cached(wanted) if _COMMIT.fullmatch(wanted.revision) else None
    if path is None:
        path = _download(name, wanted)
    # huggingface_hub keeps what it fetched under snapshots/<commit>/.
    commit = path.name if not wanted.file else path.parents[wanted.file.count("/")].name
    if not _COMMIT.fullmatch(commit):
        raise CheckpointError(
            f"The model {name!r} was asked for", f"the cache does not tell its commit ({path})", "Name a commit"
        )
    return Fetched(path, commit, wanted.at(commit))


def _cached(wanted: Reference) -> Path | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _ask(wanted, local_files_only=True)
    except LocalEntryNotFoundError:
        return None


def _download(name: str, wanted: Reference) -> Path:
    from huggingface_hub import errors

    asked = f"The model {name!r} was asked for"
    try:
        return _ask(wanted, local_files_only=False)
    except errors.GatedRepoError as error:
        raise CheckpointError(
            asked, "its owner wants to be asked first (gated)", "Accept its terms on the hub and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            asked, f"the hub shows no repository {wanted.repo!r}", "Check the name; a private one needs HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            asked, f"{wanted.repo} has no revision {wanted.revision!r}", "Name a branch, a tag or a commit"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            asked,
            "it is not in the cache, and the hub cannot be reached",
            "Check the network, or fetch it where there is one and copy the cache (HF_HOME), or name a directory",
        ) from error
    except errors.EntryNotFoundError as error:
        raise CheckpointError(asked, f"{wanted.repo} has no file {wanted.file!r}", "Check the file's name") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise CheckpointError(asked, f"it cannot be fetched: {error}", "Try again, or name a directory") from error


def _ask(wanted: Reference, *, local_files_only: bool) -> Path:
    import huggingface_hub

    if wanted.file:
        return Path(
            huggingface_hub.hf_hub_download(
                wanted.repo, wanted.file, revision=wanted.revision, local_files_only=local_files_only
            )
        )
    return Path(
        huggingface_hub.snapshot_download(
            wanted.repo,
            revision=wanted.revision,
            local_files_only=local_files_only,
            allow_patterns=list(_PATTERNS),
        )
    )
