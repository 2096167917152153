"""The store's schema as an append-only list of migrations, recorded by name in the database.

It refuses a database that knows a migration which this Assay does not: that store was written by a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from assay.core.errors import StoreError

Migration = Callable[[Connection], None]


def m001_records(connection: Connection) -> None:
    """Studies, rounds with their runs, quality, results, and any other record by kind and key."""
    for statement in _M001.split(";"):
        connection.exec_driver_sql(statement)


_M001 = """
CREATE TABLE studies (
    digest TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, json TEXT NOT NULL, stored_utc TEXT NOT NULL
);
CREATE TABLE rounds (
    study TEXT NOT NULL, round_index INTEGER NOT NULL, json TEXT NOT NULL, stored_utc TEXT NOT NULL,
    PRIMARY KEY (study, round_index)
);
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY, study TEXT NOT NULL, round_index INTEGER NOT NULL, place INTEGER NOT NULL,
    variant TEXT NOT NULL, json TEXT NOT NULL,
    UNIQUE (study, round_index, place),
    FOREIGN KEY (study, round_index) REFERENCES rounds (study, round_index)
);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, stored_utc TEXT NOT NULL
);
CREATE INDEX records_by_key ON records (kind, key)
"""

MIGRATIONS: tuple[Migration, ...] = (m001_records,)
"""In order. A migration that was released is never edited; a change is a new one at the end."""


def pending(applied: Iterable[str]) -> tuple[Migration, ...]:
    """The migrations that a database with the `applied` ones still lacks, in order.

    Raises:
        StoreError: the database has a migration that is unknown here.
    """
    applied_names = set(applied)
    known = {migration.__name__ for migration in MIGRATIONS}
    if unknown := sorted(applied_names - known):
        raise StoreError(
            "opening the store",
            f"it has the schema {unknown[-1]!r}, which this Assay does not know: a newer Assay wrote it",
            "Install that Assay or a newer one: pip install --upgrade assay",
        )
    return tuple(migration for migration in MIGRATIONS if migration.__name__ not in applied_names)
