"""Transforms in files of one's own: loaded by path, for as long as an experiment that names them is at work.

Workers inherit what is offered through the environment. It refuses a file that nobody offered, and one whose content
is no longer what its kind says.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from assay.core.errors import AssayError, TransformError
from assay.core.experiment_file import local_kind
from assay.core.records import Change

VARIABLE = "ASSAY_TRANSFORM_FILES"
"""Environment variable that holds the offered files by kind, as JSON."""

_NEEDED = ("Options", "apply")
_loaded: dict[str, LocalTransform] = {}


class LocalTransform:
    """A module of one's own with the face of a module of `build/transforms`.

    What it raises is named with its file and line.
    """

    def __init__(self, kind: str, path: Path, module: ModuleType) -> None:
        self.KIND = kind
        self.Options: Any = module.Options
        self._path = path
        self._module = module

    def apply(self, model: Any, options: Any) -> Change:
        """Change the model in place and report what changed, under the kind of the file."""
        with self._named("apply"):
            change = self._module.apply(model, options)
        if not isinstance(change, Change):
            raise TransformError(
                f"The transform {self._path} was applied",
                f"apply returned {type(change).__name__}",
                "Return an assay.core.records.Change that names what was changed",
            )
        return change.model_copy(update={"kind": self.KIND})

    def planned(self, model: Any, options: Any) -> tuple[str, ...]:
        """Names of what `apply` would change, where the file tells."""
        if not hasattr(self._module, "planned"):
            raise TransformError(
                f"The sizes after {self._path} were asked for", "it has no function `planned`", "Build it to see them"
            )
        with self._named("planned"):
            return tuple(self._module.planned(model, options))

    def restructure(self, model: Any, options: Any, modules: Sequence[str]) -> None:
        """Repeat what it did to the structure; nothing where the file has no such function: it changed values alone."""
        if hasattr(self._module, "restructure"):
            with self._named("restructure"):
                self._module.restructure(model, options, modules)

    @contextlib.contextmanager
    def _named(self, function: str) -> Iterator[None]:
        try:
            yield
        except AssayError:
            raise
        except Exception as error:  # the user's own code may raise anything
            raise _raised(self._path, f"its {function}", error) from error


@contextlib.contextmanager
def offered(files: Mapping[str, Path]) -> Iterator[None]:
    """Let this process, and the workers that it starts inside the block, find these files by their kinds."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = json.dumps({kind: str(path.resolve()) for kind, path in files.items()})
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def local_transform(kind: str) -> LocalTransform:
    """The transform of a kind that names a file.

    Raises:
        TransformError: the file is not offered, was changed, cannot be imported, or is no transform.
    """
    asked = f"The transform {kind!r} was asked for"
    files = json.loads(os.environ.get(VARIABLE, "{}"))
    if kind not in files:
        raise TransformError(
            asked, "it is a file of an experiment, and that experiment is not at work", "Use `assay experiment run`"
        )
    path = Path(files[kind])
    if not path.is_file() or local_kind(path) != kind:
        raise TransformError(asked, f"{path} was changed or removed since", "Run the experiment again")
    if kind not in _loaded:
        _loaded[kind] = LocalTransform(kind, path, _import(path, kind))
    return _loaded[kind]


def _import(path: Path, kind: str) -> ModuleType:
    name = "assay_local_" + "".join(letter if letter.isalnum() else "_" for letter in kind)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TransformError(f"The transform {path} was asked for", "it is no Python file", "Name a file that ends .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except AssayError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise _raised(path, "its import", error) from error
    missing = [what for what in _NEEDED if not hasattr(module, what)]
    if missing:
        raise TransformError(
            f"The transform {path} was asked for",
            f"it has no {' and no '.join(missing)}",
            "A transform has a class Options and a function apply(model, options)",
        )
    return module


def _raised(path: Path, what: str, error: Exception) -> TransformError:
    """The error of a file of one's own, with the last of its lines that was at work."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    where = f"{path}:{line}" if line else str(path)
    return TransformError(
        f"The transform {path} was asked for",
        f"{where}: {what} raised {type(error).__name__}: {error}",
        "Mend it there",
    )
