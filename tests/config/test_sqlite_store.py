"""A log in a SQLite file: private, durable, and never in somebody else's database."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyturn.config.sqlite import SQLiteStore
from keyturn.config.store_errors import is_not_committed, translated
from keyturn.domain.errors import (
    LogClosedError,
    LogDamagedError,
    LogUnavailableError,
    NotAKeyturnLogError,
)

from .sqlite_logs import event, execute, files_of, history, newest, positions, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture
def no_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def open_it(path: Path) -> None:
    """Open a log as the rest of the code does."""
    with translated(str(path)):
        SQLiteStore(path).close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- durable -----------------------------------------------------------------------------------


def test_g1_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    printed = run("print(append(SQLiteStore(path)), flush=True); os._exit(0)", path)

    assert printed == "1"
    assert positions_of(path) == [1]


def positions_of(path: Path) -> list[int]:
    store = SQLiteStore(path)
    try:
        return positions(store)
    finally:
        store.close()


# --- private -----------------------------------------------------------------------------------


def test_the_database_and_its_wal_and_shm_are_private_whatever_the_umask(
    path: Path, no_umask: None
) -> None:
    store = SQLiteStore(path)
    store.insert_events(history(1))

    assert [mode_of(file) for file in files_of(path)] == [0o600] * 3
    store.close()


def test_files_that_others_can_read_are_made_private(path: Path, store: SQLiteStore) -> None:
    store.insert_events(history(1))
    for file in files_of(path):
        os.chmod(file, 0o666)

    SQLiteStore(path).close()

    assert [mode_of(file) for file in files_of(path)] == [0o600] * 3


def test_missing_folders_are_made_for_the_owner_alone(tmp_path: Path, no_umask: None) -> None:
    SQLiteStore(tmp_path / "a/b/log.db").close()

    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a/b")] == [0o700, 0o700]


def test_what_was_purged_is_not_in_the_files_any_more(path: Path, store: SQLiteStore) -> None:
    secret = b"what nobody may find again" * 4
    store.insert_events([event(1, state=secret), event(2)])
    assert any(secret in file.read_bytes() for file in files_of(path))

    store.purge(event(3))

    assert not any(secret in file.read_bytes() for file in files_of(path))


# --- nothing of somebody else ------------------------------------------------------------------


@pytest.fixture(params=["delete", "wal"])
def alien(request: pytest.FixtureRequest, path: Path) -> Path:
    """The database of another application, which others may read."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {request.param}")
    connection.execute("CREATE TABLE stored_events (x)")
    connection.execute("INSERT INTO stored_events VALUES ('precious')")
    connection.commit()
    connection.close()
    os.chmod(path, 0o644)
    return path


def test_the_database_of_another_application_is_refused_and_left_as_it_is(
    alien: Path,
) -> None:
    before = alien.read_bytes()

    with pytest.raises(NotAKeyturnLogError, match="another application") as raised:
        open_it(alien)

    assert raised.value.location == str(alien)
    assert (alien.read_bytes(), mode_of(alien)) == (before, 0o644)
    assert os.listdir(alien.parent) == [alien.name]


@pytest.mark.parametrize(
    "content",
    [b"Dear diary,\n" * 1000, b"note", os.urandom(8192)],
    ids=["text", "short", "garbage"],
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    content: bytes, path: Path
) -> None:
    path.write_bytes(content)
    os.chmod(path, 0o644)

    with pytest.raises(NotAKeyturnLogError, match="is not a database"):
        open_it(path)

    assert (path.read_bytes(), mode_of(path)) == (content, 0o644)
    assert os.listdir(path.parent) == [path.name]


def test_a_link_in_place_of_the_database_is_refused_and_not_followed(
    path: Path,
) -> None:
    target = path.with_name("target")
    path.symlink_to(target)

    with pytest.raises(NotAKeyturnLogError, match="not a regular file"):
        open_it(path)

    assert not target.exists()


def test_a_folder_in_place_of_the_database_is_refused(
    path: Path,
) -> None:
    path.mkdir()

    with pytest.raises(NotAKeyturnLogError, match="not a regular file"):
        open_it(path)


def test_a_file_in_place_of_the_folder_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LogUnavailableError, match="file is not a folder") as raised:
        SQLiteStore(tmp_path / "file/log.db")

    assert raised.value.location == f"{tmp_path}/file/log.db"


# --- errors ------------------------------------------------------------------------------------


def test_what_is_asked_of_a_closed_store_is_an_error_that_says_so(store: SQLiteStore) -> None:
    store.close()

    uses: list[Callable[[], object]] = [
        lambda: positions(store),
        lambda: store.insert_events(history(1)),
        lambda: store.purge(event(1)),
        lambda: list(store.rows()),
        store.changes,
        store.reopen,
        store.schema_problems,
        store.max_notification_id,
        lambda: store.exclusive().__enter__(),
    ]
    for use in uses:
        with pytest.raises(LogClosedError, match="was closed: open it again"):
            use()


def test_a_store_that_is_closed_leaves_one_file(path: Path, store: SQLiteStore) -> None:
    store.insert_events(history(1))

    store.close()

    assert os.listdir(path.parent) == [path.name]


def test_a_closed_store_waits_for_no_thread_and_lets_it_end(path: Path) -> None:
    store = SQLiteStore(path)
    store.insert_events(history(3))
    rows = store.rows()
    next(rows)

    store.close()

    with pytest.raises(LogClosedError):
        next(rows)
    assert os.listdir(path.parent) == [path.name]


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("in whatever words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "words", "is_busy", "not_committed"),
    [
        (sqlite3.SQLITE_BUSY, "locked for too long", True, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, "locked for too long", True, True),
        (sqlite3.SQLITE_FULL, "the disk is full", False, True),
        (sqlite3.SQLITE_READONLY_DBMOVED, "read-only", False, True),
        (sqlite3.SQLITE_IOERR_FSYNC, "check the disk", False, False),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened", False, False),
        (sqlite3.SQLITE_CORRUPT, "put back a copy", False, False),
        (sqlite3.SQLITE_TOOBIG, "in whatever words", False, False),
    ],
)
def test_g8_errors_of_sqlite_are_known_by_their_codes(
    code: int, words: str, is_busy: bool, not_committed: bool
) -> None:
    with pytest.raises(LogUnavailableError, match=words) as raised, translated("here"):
        raise sqlite_error(code)

    assert raised.value.location == "here"
    assert (raised.value.is_busy, is_not_committed(raised.value)) == (is_busy, not_committed)


def test_text_that_is_none_is_damage(path: Path, store: SQLiteStore) -> None:
    store.insert_events(history(1))
    execute(path, "UPDATE stored_events SET topic = CAST(x'ff' AS TEXT)")

    with pytest.raises(LogDamagedError, match="its values have other types"):
        newest(store)
