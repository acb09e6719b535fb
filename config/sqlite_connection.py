"""One connection to a SQLite log, and how it passes from hand to hand.

A connection is in one list at any moment, and who has that list gives it back or closes it, so
that a signal handler that raises leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from keyturn.config.store_errors import BUSY, primary_code

if TYPE_CHECKING:
    from keyturn.config.sqlite_database import Database

_Result = TypeVar("_Result")

fork_lock = threading.RLock()
"""Held by a fork, and for a moment by who opens a connection."""


class RetiredError(Exception):
    """A database gives out no connection any more: use the one in its place."""


class Connection(sqlite3.Connection):
    """A connection that its database knows of before SQLite opens it.

    Args:
        database: whose.
        owner: a list that it is put into before it is opened; see `move`.
        mode: of opening, as in a URI of SQLite.
    """

    def __init__(self, database: Database, owner: list[Connection], mode: str) -> None:
        self.database = database
        owner.append(self)
        try:
            with fork_lock:
                if database.is_retired:
                    raise RetiredError
                database.connections[id(self)] = self
                super().__init__(
                    f"file://{_quoted(database.file)}?{mode}",
                    uri=True,
                    timeout=0,  # `when_free` waits
                    isolation_level=None,
                    check_same_thread=False,
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.ProgrammingError):  # it never was opened
            super().close()
        self.database.connections.pop(id(self), None)

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            super().close()


def move(source: list[Connection], target: list[Connection]) -> None:
    """Move a connection from one list to another; `IndexError` if there is none.

    In one call of the interpreter's own, in which no signal is handled. A connection that is in
    no list would stay open, since its cache of statements refers to it.
    """
    target.extend(islice(iter(source.pop, None), 1))


def drop(connections: list[Connection]) -> None:
    """Close connections that are in doubt, or of no use any more."""
    while connections:
        database = connections[0].database
        if not database.is_abandoned:
            connections[0].close()
        del connections[0]
        database.after_use()


def when_free(action: Callable[[], _Result], deadline: float) -> _Result:
    """Do something, again and again while others keep the file locked.

    SQLite itself would wait up to 0.1 s between its tries, starve beside a process that writes
    without a pause, and hear no signal meanwhile.
    """
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if primary_code(error) not in BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(0.0005, 0.003))  # noqa: S311


def _quoted(path: Path) -> str:
    """Return an absolute path for a URI; two slashes at its start would name a host."""
    return quote("/" + str(path).lstrip("/"))
