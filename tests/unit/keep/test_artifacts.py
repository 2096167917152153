import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assay.core.errors import StoreError
from assay.keep import artifacts
from assay.keep.artifacts import ArtifactCache

DIGEST = "c0ffee" * 10 + "beef"


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "artifacts")


def _left_over(cache: ArtifactCache) -> list[str]:
    return sorted(path.name for path in cache.directory.iterdir() if path.name.startswith("."))


def test_a_placed_artifact_is_found_only_when_whole(cache: ArtifactCache) -> None:
    assert cache.find(DIGEST) is None
    with cache.place(DIGEST) as directory:
        (directory / "sub").mkdir()
        (directory / "sub" / "weights").write_bytes(b"w" * 1000)
        (directory / "config.json").write_bytes(b"{}")
        assert cache.find(DIGEST) is None
        assert cache.digests() == ()
    found = cache.find(DIGEST)
    assert found is not None
    assert (found / "sub" / "weights").read_bytes() == b"w" * 1000
    assert cache.digests() == (DIGEST,)
    assert cache.sizes_bytes() == {DIGEST: 1002}
    assert _left_over(cache) == []


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_build_leaves_nothing(cache: ArtifactCache, failure: type[BaseException]) -> None:
    def build() -> None:
        with cache.place(DIGEST) as directory:
            (directory / "half").write_bytes(b"h")
            raise failure

    with pytest.raises(failure):
        build()
    assert cache.find(DIGEST) is None
    assert _left_over(cache) == []


def test_a_full_disk_is_a_store_error_and_other_errors_pass(cache: ArtifactCache) -> None:
    with pytest.raises(StoreError, match=r"building artifact .*disk is full"), cache.place(DIGEST):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), cache.place(DIGEST) as directory:
        (directory / "no such source").read_bytes()
    assert _left_over(cache) == []


def test_two_builds_of_one_digest_both_succeed_and_the_first_stays(cache: ArtifactCache) -> None:
    with cache.place(DIGEST) as slow:
        (slow / "who").write_text("slow")
        with cache.place(DIGEST) as fast:
            (fast / "who").write_text("fast")
    found = cache.find(DIGEST)
    assert found is not None
    assert (found / "who").read_text() == "fast"
    assert _left_over(cache) == []


def test_many_threads_build_one_digest(cache: ArtifactCache) -> None:
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def build(number: int) -> None:
        try:
            barrier.wait(timeout=10)
            with cache.place(DIGEST) as directory:
                (directory / "who").write_text(str(number))
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cache.digests() == (DIGEST,)
    assert _left_over(cache) == []


BUILD = """
import sys, time
from pathlib import Path
from assay.keep.artifacts import ArtifactCache
with ArtifactCache(Path(sys.argv[1])).place(sys.argv[2]) as directory:
    (directory / "half").write_bytes(b"h")
    print("building", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_build_left_is_cleaned_and_a_living_one_is_not(cache: ArtifactCache) -> None:
    command = [sys.executable, "-c", BUILD, str(cache.directory), DIGEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        assert cache.clean() == ()
        process.kill()
        process.wait()
    assert len(_left_over(cache)) == 2
    assert cache.find(DIGEST) is None
    assert len(cache.clean()) == 1
    assert _left_over(cache) == []


def test_leftovers_without_a_lock_are_cleaned_by_age(cache: ArtifactCache) -> None:
    old = cache.directory / f".removing-{DIGEST}-aa"
    new = cache.directory / f".building-{DIGEST}-1-bb"
    for directory in (old, new):
        directory.mkdir(parents=True)
    os.utime(old, (0, old.stat().st_mtime - artifacts.STALE_AFTER_S - 1))
    assert cache.clean() == (old.name,)
    assert _left_over(cache) == [new.name]


def test_remove(cache: ArtifactCache) -> None:
    assert not cache.remove(DIGEST)
    with cache.place(DIGEST) as directory:
        (directory / "a").write_bytes(b"a")
    assert cache.remove(DIGEST)
    assert cache.find(DIGEST) is None
    assert _left_over(cache) == []


def test_a_cache_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="Not a directory"), ArtifactCache(tmp_path / "file" / "a").place(DIGEST):
        pytest.fail("placed below a file")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "/etc", ".building-x", "a\n", "é", "-rf", "a" * 129]
)
def test_a_name_that_could_leave_the_cache_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="is no digest"):
        ArtifactCache(Path("cache")).find(name)
