"""One connection to a SQLite log."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from keyturn.config.store_errors import BUSY, primary_code

if TYPE_CHECKING:
    from keyturn.config.sqlite_database import Database

_Result = TypeVar("_Result")

fork_lock = threading.RLock()
"""Held by a fork, and for a moment by who opens a connection."""


class Connection(sqlite3.Connection):
    """A connection that its database knows of before SQLite opens it.

    Args:
        database: whose.
        mode: of opening, as in a URI of SQLite.
    """

    def __init__(self, database: Database, mode: str) -> None:
        self.database = database
        try:
            with fork_lock:
                database.connections[id(self)] = self
                super().__init__(
                    f"file://{_quoted(database.file)}?{mode}",
                    uri=True,
                    timeout=0,  # `when_free` waits
                    isolation_level=None,
                    check_same_thread=False,
                )
            self.text_factory = _text_or_bytes
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, unless it is the parent's: that would lose the parent's rows."""
        if self.database.is_abandoned:
            return
        with contextlib.suppress(sqlite3.ProgrammingError):  # it never was opened
            super().close()
        self.database.connections.pop(id(self), None)

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # Python 3.13 warns of one that is left open
            super().close()


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


def _text_or_bytes(value: bytes) -> str | bytes:
    """Return a text, or the bytes of what is stored as a text and is none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
