"""The store: rounds, quality and results in one SQLite database. It refuses to overwrite or to lose a stored record.

Write-ahead logging and full synchronisation: a round is stored with all of its runs or not at all, and what a call
returned from is on the disk. Each call opens its own connection, so a store object may be used before and after a fork.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    NullPool,
    RowMapping,
    Select,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from assay.core.errors import StoreError
from assay.core.records import Ceilings, Quality, Result, Round, Run, Versioned
from assay.keep.failures import as_store_error
from assay.keep.locks import LockHeldError, file_lock
from assay.keep.migrations import pending

DEFAULT_DIRECTORY = Path(".assay")
BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process's transaction; a round is written in milliseconds."""

_OPENING_WAIT_S = 60.0

_metadata = MetaData()
_migrations = Table("migrations", _metadata, Column("name", Text, primary_key=True), Column("applied_utc", Text))
_studies = Table(
    "studies",
    _metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text),
    Column("json", Text),
    Column("stored_utc", Text),
)
_rounds = Table(
    "rounds",
    _metadata,
    Column("study", Text, primary_key=True),
    Column("round_index", Integer, primary_key=True),
    Column("json", Text),
    Column("stored_utc", Text),
)
_runs = Table(
    "runs",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("study", Text),
    Column("round_index", Integer),
    Column("place", Integer),
    Column("variant", Text),
    Column("json", Text),
)
_records = Table(
    "records",
    _metadata,
    Column("number", Integer, primary_key=True),
    Column("kind", Text),
    Column("key", Text),
    Column("json", Text),
    Column("stored_utc", Text),
)

Kept = TypeVar("Kept", bound=Versioned)


class StoredStudy(Versioned):
    """A study as it was asked for, so that a report says what was measured."""

    digest: str
    name: str
    json_text: str
    stored_utc: str


class Store:
    """One directory with one database, `store.db`, its locks, and the artifact cache beside it.

    Args:
        path: the directory; it is made if it is not there.

    Raises:
        StoreError: the directory cannot be made or written, or the database cannot be read by this Assay.
    """

    def __init__(self, path: Path = DEFAULT_DIRECTORY) -> None:
        self.directory = Path(path)
        self.database = self.directory / "store.db"
        asked = f"opening the store {self.directory}"
        with as_store_error(asked, self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self._engine = _engine(self.database)
        self._bring_up_to_date(asked)

    @property
    def artifacts_directory(self) -> Path:
        """Where built artifacts are cached."""
        return self.directory / "artifacts"

    # ------------------------------------------------------------------------------------------ rounds and runs

    def add_round(self, measured: Round) -> bool:
        """Store a round and its runs in one transaction.

        Returns:
            True if it was stored; False if this round of this study is there already, which then stays as it is.

        Raises:
            StoreError: the disk is full or the database cannot be written; nothing of the round is stored.
        """
        asked = f"storing round {measured.index} of study {measured.study[:12]}"
        stray = [run.id for run in measured.runs if (run.study, run.round) != (measured.study, measured.index)]
        if stray:
            raise StoreError(asked, f"run {stray[0]} belongs to another round or study", "Store it with its own round")
        try:
            with self._transaction(asked) as connection:
                _insert_round(connection, measured)
        except IntegrityError as error:
            if self._has_round(measured.study, measured.index):
                return False
            found = f"a run of this round has the id of a run that is stored: {error.orig}"
            raise StoreError(asked, found, "Give every run an id of its own; nothing was stored") from error
        return True

    def rounds(self, study_digest: str) -> tuple[Round, ...]:
        """All stored rounds of a study, by index."""
        asked = f"reading the rounds of study {study_digest[:12]}"
        with self._transaction(asked, writes=False) as connection:
            rounds = _rows(connection, select(_rounds).where(_rounds.c.study == study_digest).order_by("round_index"))
            runs = _rows(
                connection, select(_runs).where(_runs.c.study == study_digest).order_by("round_index", "place")
            )
        by_round: dict[int, list[Run]] = {row["round_index"]: [] for row in rounds}
        for row in runs:
            by_round[row["round_index"]].append(self._read(Run, row["json"], asked))
        return tuple(
            self._read(Round, row["json"], asked).model_copy(update={"runs": tuple(by_round[row["round_index"]])})
            for row in rounds
        )

    def run(self, run_id: str) -> Run | None:
        """One run by its id: decisions point at runs by it."""
        asked = f"reading run {run_id}"
        with self._transaction(asked, writes=False) as connection:
            rows = _rows(connection, select(_runs).where(_runs.c.id == run_id))
        return self._read(Run, rows[0]["json"], asked) if rows else None

    # ------------------------------------------------------------------------------------------ other records

    def add_quality(self, measured: Quality) -> bool:
        """Store a quality record; False if the very same one is stored already."""
        return self.put("quality", measured.study, measured)

    def quality(self, study: str) -> tuple[Quality, ...]:
        """The quality records of a study: the newest of each variant, target, reference, text and context."""
        newest: dict[tuple[str, ...], Quality] = {}
        for record in self.all("quality", study, Quality):
            same = (record.variant, record.target.content_digest, record.reference, record.text_digest)
            newest[(*same, str(record.context))] = record
        return tuple(newest.values())

    def add_result(self, result: Result) -> bool:
        """Store a judged study; False if the very same one is stored already."""
        return self.put("result", result.study, result)

    def results(self) -> tuple[Result, ...]:
        """Every stored result, oldest first."""
        return self.all("result", None, Result)

    def latest_result(self, study: str | None = None) -> Result | None:
        """The result stored last, of one study or of all."""
        return self._newest("result", study, Result)

    def add_study(self, study_digest: str, name: str, json: str) -> bool:
        """Store a study's own text under its digest; False if it is there already."""
        values = {"digest": study_digest, "name": name, "json": json, "stored_utc": _now_utc()}
        try:
            with self._transaction(f"storing study {name}") as connection:
                connection.execute(insert(_studies).values(values))
        except IntegrityError:
            return False
        return True

    def studies(self) -> tuple[StoredStudy, ...]:
        """Every stored study, oldest first."""
        with self._transaction("reading the studies", writes=False) as connection:
            rows = _rows(connection, select(_studies).order_by("stored_utc", "digest"))
        return tuple(
            StoredStudy(digest=row["digest"], name=row["name"], json_text=row["json"], stored_utc=row["stored_utc"])
            for row in rows
        )

    def add_ceilings(self, machine_digest: str, ceilings: Ceilings) -> bool:
        """Store what a machine can do at best; False if it is what was stored last."""
        return self.put("ceilings", machine_digest, ceilings)

    def ceilings(self, machine_digest: str) -> Ceilings | None:
        """The ceilings of a machine, measured last."""
        return self.get("ceilings", machine_digest, Ceilings)

    def put(self, kind: str, key: str, record: Versioned) -> bool:
        """Append any record under a kind and a key.

        Returns:
            False if the newest record of this kind and key is the very same.
        """
        text = record.to_json()
        newest = _newest_first(kind, key).limit(1)
        values = {"kind": kind, "key": key, "json": text, "stored_utc": _now_utc()}
        with self._transaction(f"storing {kind} {key[:12]}") as connection:
            stored = _rows(connection, newest)
            if stored and stored[0]["json"] == text:
                return False
            connection.execute(insert(_records).values(values))
        return True

    def get(self, kind: str, key: str, record_type: type[Kept]) -> Kept | None:
        """The record stored last under a kind and a key."""
        return self._newest(kind, key, record_type)

    def all(self, kind: str, key: str | None, record_type: type[Kept]) -> tuple[Kept, ...]:
        """Every record of a kind, of one key or of all, oldest first."""
        asked = f"reading every {kind}"
        with self._transaction(asked, writes=False) as connection:
            rows = _rows(connection, _newest_first(kind, key))
        return tuple(self._read(record_type, row["json"], asked) for row in reversed(rows))

    # ------------------------------------------------------------------------------------------ locks

    @contextlib.contextmanager
    def lock(self, study_digest: str) -> Iterator[None]:
        """Hold a study: one process at a time measures it. Other studies of the same store are free.

        Raises:
            StoreError: another process holds it; the message has its process id.
        """
        asked = f"running study {study_digest[:12]}"
        path = self.directory / "locks" / f"{study_digest}.lock"
        with contextlib.ExitStack() as held:
            try:
                with as_store_error(asked, path):
                    held.enter_context(file_lock(path))
            except LockHeldError as error:
                holder = f"process {error.pid}" if error.pid else "another process"
                remedy = "Wait for it, or stop it; then repeat the command: finished rounds are kept"
                raise StoreError(asked, f"{holder} is running it on this store", remedy) from error
            yield

    def close(self) -> None:
        """Give the database back; a second call does nothing."""
        self._engine.dispose()

    # ------------------------------------------------------------------------------------------ inner parts

    def _bring_up_to_date(self, asked: str) -> None:
        opening = self.directory / "locks" / "opening.lock"
        try:
            # Two processes that open a new store at once: switching to write-ahead logging does not wait by itself.
            with (
                as_store_error(asked, self.database),
                file_lock(opening, wait_s=_OPENING_WAIT_S),
                self._transaction(asked) as connection,
            ):
                _migrate(connection)
        except LockHeldError as error:
            found = f"process {error.pid} has been opening it for {_OPENING_WAIT_S:.0f} s"
            raise StoreError(asked, found, "Stop that process if it hangs, then repeat") from error

    @contextlib.contextmanager
    def _transaction(self, asked: str, *, writes: bool = True) -> Iterator[Connection]:
        engine = self._engine.execution_options(writes=writes)
        with as_store_error(asked, self.database), engine.begin() as connection:
            yield connection

    def _has_round(self, study: str, index: int) -> bool:
        query = select(_rounds.c.study).where(_rounds.c.study == study, _rounds.c.round_index == index)
        with self._transaction("looking for a round", writes=False) as connection:
            return connection.execute(query).first() is not None

    def _newest(self, kind: str, key: str | None, record_type: type[Kept]) -> Kept | None:
        asked = f"reading the newest {kind}"
        with self._transaction(asked, writes=False) as connection:
            rows = _rows(connection, _newest_first(kind, key).limit(1))
        return self._read(record_type, rows[0]["json"], asked) if rows else None

    def _read(self, record_type: type[Kept], text: str, asked: str) -> Kept:
        try:
            return record_type.from_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole record"
            found = f"a {record_type.__name__} in {self.database} cannot be read: {place}: {first['msg']}"
            remedy = "Read it with the Assay that wrote it, or a newer one; the record was left as it is"
            raise StoreError(asked, found, remedy) from error


def open_store(directory: Path | str = DEFAULT_DIRECTORY) -> Store:
    """Open the store of a directory, making it if it is not there.

    Raises:
        StoreError: as `Store`.
    """
    return Store(Path(directory))


def _engine(database: Path) -> Engine:
    url = URL.create("sqlite", database=str(database))
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions on its own, and too late; `_begin` does it instead.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY, applied_utc TEXT NOT NULL)"
    )
    applied = [row["name"] for row in _rows(connection, select(_migrations))]
    for migration in pending(applied):
        migration(connection)
        connection.execute(insert(_migrations).values(name=migration.__name__, applied_utc=_now_utc()))


def _insert_round(connection: Connection, measured: Round) -> None:
    place = {"study": measured.study, "round_index": measured.index}
    bare = measured.model_copy(update={"runs": ()})
    connection.execute(insert(_rounds).values(**place, json=bare.to_json(), stored_utc=_now_utc()))
    for number, run in enumerate(measured.runs):
        values = {**place, "id": run.id, "place": number, "variant": run.variant, "json": run.to_json()}
        connection.execute(insert(_runs).values(values))


def _newest_first(kind: str, key: str | None) -> Select[Any]:
    query = select(_records).where(_records.c.kind == kind).order_by(_records.c.number.desc())
    return query if key is None else query.where(_records.c.key == key)


def _rows(connection: Connection, query: Any) -> Sequence[RowMapping]:
    return connection.execute(query).mappings().all()


def _now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
