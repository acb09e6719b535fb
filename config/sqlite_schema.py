"""What may stand in a SQLite log: our table and indexes, and nothing that changes what is read.

A trigger, a view or an index of somebody else's can hide a row or take one back without any
signature being wrong, so none is allowed. Tables of others are: they change nothing of ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from keyturn.config.store import SCHEMA_VERSION
from keyturn.domain.errors import (
    LogDamagedError,
    LogError,
    LogVersionError,
    NotAKeyturnLogError,
)

APPLICATION_ID: Final = 0x4B54524E
"""`PRAGMA application_id` of our files: "KTRN"."""

TABLE: Final = "stored_events"

_CREATE_TABLE = (
    f"CREATE TABLE {TABLE} (originator_id TEXT, originator_version INTEGER, topic TEXT, "
    "state BLOB, PRIMARY KEY (originator_id, originator_version))"
)
_CREATE_INDEX = f"CREATE INDEX topics ON {TABLE}(topic)"
_INDEX_OF_VERSION_1 = (
    f"CREATE INDEX alien_topics ON {TABLE}(topic) WHERE topic NOT IN ('keyturn.KeyGenerated', "
    "'keyturn.KeyReset', 'keyturn.KeyRotated', 'keyturn.KeysDestroyed')"
)


def pragma(connection: sqlite3.Connection, name: str) -> Any:
    """Return the value of a pragma."""
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables; 0: it is a new database.

    Raises:
        NotAKeyturnLogError: it is another application's.
        LogVersionError: a newer Keyturn made it.
    """
    # In this order: the first opener of all commits tables and id together.
    count = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    application = pragma(connection, "application_id")
    if application != APPLICATION_ID:
        if count or application:
            raise NotAKeyturnLogError(
                "the log's place is the database of another application: choose another path"
            )
        return 0
    found = int(pragma(connection, "user_version"))
    if found > SCHEMA_VERSION:
        raise LogVersionError("the log was made by a newer Keyturn: install that version")
    return found


def prepare(connection: sqlite3.Connection) -> None:
    """Make the table, or bring that of an older version up to date, in the open transaction."""
    found = version(connection)
    if found == SCHEMA_VERSION:  # another process was faster
        return
    if found == 0:
        connection.execute(_CREATE_TABLE)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    else:
        check(connection)
        connection.execute("DROP INDEX alien_topics")
    connection.execute(_CREATE_INDEX)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check(connection: sqlite3.Connection) -> None:
    """Raise the error for the first problem, if there is one.

    Raises:
        NotAKeyturnLogError: our table is missing, or is another one.
        LogDamagedError: there is something that could change what is read or written.
    """
    for problem in problems(connection):
        raise problem


def problems(connection: sqlite3.Connection) -> Iterator[LogError]:
    """Yield an error for each thing that may not stand there, or is missing."""
    is_old = pragma(connection, "user_version") == 1
    missing = {_CREATE_TABLE, _INDEX_OF_VERSION_1 if is_old else _CREATE_INDEX}
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    for kind, name, table, sql in rows:
        plain = _plain(sql)
        if plain in missing and table == TABLE:
            missing.remove(plain)
        elif kind in ("trigger", "view") or (
            kind == "index" and table.lower() == TABLE and sql is not None
        ):
            yield LogDamagedError(
                f"the log has the {kind} {name!r:.100}, which is not Keyturn's and can change "
                f"what is read or written: DROP {kind.upper()} {_quoted(name)}"
            )
    if _CREATE_TABLE in missing:
        yield NotAKeyturnLogError(
            "the table of events is missing, or is another application's: choose another path, "
            "or put back a copy of the log"
        )
    elif missing:
        yield LogDamagedError(f"the log lacks an index of its table: {missing.pop()}")


def _plain(sql: object) -> str:
    """Return a statement in one spelling; renaming a table puts quotes around its name."""
    if not isinstance(sql, str):
        return ""
    return " ".join(sql.split()).replace(f'"{TABLE}"', TABLE)


def _quoted(stored: object) -> str:
    name = str(stored)
    return name if name.isidentifier() else '"' + name.replace('"', '""') + '"'
