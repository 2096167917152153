"""Texts on which quality is measured: one carried by Assay, or a file of the user's.

It refuses a file that is missing, empty, a directory, or not UTF-8; it never drops or replaces a character.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from assay.core.errors import InputError

PROSE = "prose"
_PROSE_TITLE = "prose, twelve short pieces of English"
_PROSE_SOURCE = "written for Assay, Apache-2.0"


@dataclass(frozen=True, slots=True)
class Text:
    """A text and where it comes from."""

    text: str
    title: str
    source: str
    """Licence or origin, for the reader of a report."""
    digest: str
    """SHA-256 of the UTF-8 bytes, as 64 hexadecimal digits."""

    @property
    def description(self) -> str:
        """Title, source and the first 12 digits of the digest, as a report shows them."""
        return f"{self.title} ({self.source}; sha256 {self.digest[:12]})"


def load_text(name_or_path: str) -> Text:
    """Read the text `prose`, or the UTF-8 file at a path.

    Line ends are kept as they are, so that the digest is that of the file's bytes.

    Raises:
        InputError: there is no such file, or it is a directory, unreadable, empty, or not UTF-8.
    """
    if name_or_path == PROSE:
        content = resources.files(__name__).joinpath("prose.txt").read_bytes()
        return Text(content.decode("utf-8"), _PROSE_TITLE, _PROSE_SOURCE, hashlib.sha256(content).hexdigest())
    path = Path(name_or_path).expanduser()
    content = _read(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The text {str(path)!r} was asked for",
            f"byte {error.start} is not UTF-8 ({error.reason})",
            "Convert the file to UTF-8 first",
        ) from error
    if not text.strip():
        raise InputError(
            f"The text {str(path)!r} was asked for", "it holds no text", "Give a UTF-8 file with some thousand words"
        )
    return Text(text, path.name, "a file of the user's", hashlib.sha256(content).hexdigest())


def _read(path: Path) -> bytes:
    asked = f"The text {str(path)!r} was asked for"
    remedy = f"Give the path of a UTF-8 text file, or {PROSE!r} for the text that Assay carries"
    if path.is_dir():
        raise InputError(asked, "it is a directory", remedy)
    if path.exists() and not path.is_file():  # a pipe could be read by the first worker only
        raise InputError(asked, "it is no regular file", remedy)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(asked, "there is no such file", remedy) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(asked, f"it cannot be read ({error})", remedy) from error
