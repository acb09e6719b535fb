"""Only `KeyturnError` leaves a public call, whatever fails underneath [G8].

Each call is made again and again: the first time the first thing it does fails, then the second,
and so on until nothing was left to fail. Afterwards everything works.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import itertools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import KeyturnError, Service
from keyturn.config import sqlite_connection
from keyturn.domain.errors import LogError, SessionManagerRunningError

from .public_calls import Call, calls_of, calls_without_service, missing

SYSTEM_CALLS = (
    *("access", "chmod", "fchmod", "fstat", "fsync", "ftruncate", "link", "lstat", "mkdir"),
    *("open", "pread", "pwrite", "read", "rename", "scandir", "stat", "unlink"),
)


class Faults:
    """Has the n-th of the patched calls raise, while it is armed."""

    def __init__(self) -> None:
        self.error: Callable[[], Exception] = OSError
        self.left = 0
        self.struck = False

    def patched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.left:
                self.left -= 1
                if not self.left:
                    self.struck = True
                    raise self.error()
            return function(*args, **kwargs)

        return wrapper

    def walk(self, call: Call, most: int = 60) -> Iterator[Exception | None]:
        """Make a call with each fault in turn, and yield what it raised."""
        for number in range(1, most):
            self.left, self.struck = number, False
            error: Exception | None = None
            try:
                call()
            except Exception as raised:
                error = raised
            self.left = 0
            yield error
            if not self.struck:
                return


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def broken_system(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """System calls fail: what Python calls, and not what SQLite does."""
    for name in SYSTEM_CALLS:
        monkeypatch.setattr(os, name, faults.patched(getattr(os, name)))
    monkeypatch.setattr(fcntl, "flock", faults.patched(fcntl.flock))
    return faults


@pytest.fixture
def broken_sqlite(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Statements fail, as SQLite has them fail."""
    execute = sqlite_connection.Connection.execute
    monkeypatch.setattr(
        sqlite_connection.Connection, "execute", faults.patched(execute), raising=False
    )

    def error() -> Exception:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        error.sqlite_errorname = "SQLITE_IOERR"
        return error

    faults.error = error
    return faults


@pytest.fixture
def no_threads(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """No thread can be had."""
    monkeypatch.setattr(threading.Thread, "start", faults.patched(threading.Thread.start))
    faults.error = lambda: RuntimeError("can't start new thread")
    return faults


def strangers(faults: Faults, calls: dict[str, Call]) -> list[str]:
    """Return what else than a `KeyturnError` each call raised."""
    found = []
    first = ("audit", "export_log")  # they read the whole log, which others make longer
    for name in sorted(calls, key=lambda name: name not in first):
        for number, error in enumerate(faults.walk(calls[name]), 1):
            if error is not None and not isinstance(error, KeyturnError):
                found.append(f"{name}, fault {number}: {error!r}")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keyturn.open(path=tmp_path / "data", password=None).close()
    (tmp_path / "keyturn.toml").write_text('name = "default"\n')
    return tmp_path


@pytest.fixture
def store(folder: Path) -> str:
    return f"sqlite:///{folder}/data/keyturn.db"


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    settings = keyturn.Settings(path=folder / "data", lock_timeout=0.1)
    with keyturn.open(settings, password=None) as service:
        yield service


def works(service: Service) -> bool:
    with contextlib.suppress(SessionManagerRunningError):
        service.start()
    before = service.create_token()
    service.reset_key()
    return not service.verify_token(before) and service.verify_token(service.create_token())


def test_the_walk_goes_through_every_public_call(service: Service, tmp_path: Path) -> None:
    assert missing(calls_of(service, tmp_path)) == set()


def test_g8_a_failed_system_call_leaves_as_a_keyturn_error(
    service: Service, folder: Path, store: str, broken_system: Faults
) -> None:
    broken_system.error = lambda: OSError(errno.EIO, os.strerror(errno.EIO))
    calls = calls_of(service, folder) | calls_without_service(folder, store, itertools.count())

    assert "\n".join(strangers(broken_system, calls)) == ""
    assert works(service)


def test_g8_a_failed_statement_leaves_as_a_keyturn_error(
    service: Service, folder: Path, store: str, broken_sqlite: Faults
) -> None:
    calls = calls_of(service, folder) | calls_without_service(folder, store, itertools.count())

    assert "\n".join(strangers(broken_sqlite, calls)) == ""
    assert works(service)


def test_g8_that_no_thread_can_be_had_leaves_as_a_keyturn_error(
    service: Service, folder: Path, store: str, no_threads: Faults
) -> None:
    calls = calls_of(service, folder) | calls_without_service(folder, store, itertools.count())

    assert "\n".join(strangers(no_threads, calls)) == ""
    assert works(service)


def test_g8_every_call_that_races_a_close_ends_with_a_keyturn_error_or_well(
    folder: Path,
) -> None:
    found = []
    for round_ in range(6):
        service = keyturn.open(path=folder / "data", password=None)
        calls = calls_of(service, folder)
        start = threading.Barrier(4)

        def use(part: int, calls: dict[str, Call] = calls, start: Any = start) -> None:
            start.wait()
            for name, call in list(calls.items())[part::3] * 2:
                try:
                    call()
                except KeyturnError:
                    pass
                except Exception as error:
                    found.append(f"{name}: {error!r}")

        threads = [threading.Thread(target=use, args=(part,)) for part in range(3)]
        for thread in threads:
            thread.start()
        start.wait()
        threads[round_ % 3].join(0.01 * round_)
        service.close()
        for thread in threads:
            thread.join()

    assert "\n".join(found) == ""


NAIVE = datetime(2026, 1, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.key_at(NAIVE),
        lambda it: it.inspect_token(it.create_token(), NAIVE),
        lambda it: list(it.history(keyturn.HistoryFilter(since=NAIVE))),
        lambda it: it.reset_key("\ud800"),
        lambda it: it.reset_key(initiator="\ud800"),
        lambda it: it.create_token(subject="\ud800"),
        lambda it: it.create_token(claims={"x": "\ud800"}),
        lambda it: it.create_token(claims={"x": NAIVE.astimezone(UTC)}),
        lambda it: it.named("\ud800"),
        lambda it: it.end_session(sid="\ud800"),
        lambda it: it.end_sessions("\ud800"),
    ],
)
def test_what_cannot_be_recorded_is_a_keyturn_error(
    service: Service, call: Callable[[Service], object]
) -> None:
    with pytest.raises(KeyturnError):
        call(service)


def test_a_row_whose_time_has_no_zone_is_an_error_of_the_log(folder: Path) -> None:
    with sqlite3.connect(folder / "data/keyturn.db") as connection:
        connection.execute(
            "UPDATE stored_events SET state = "
            "CAST(replace(CAST(state AS TEXT), 'Z' || char(34), char(34)) AS BLOB)"
        )
        assert connection.total_changes == 1
    connection.close()

    with pytest.raises(LogError):
        keyturn.open(path=folder / "data", password=None)
