"""A log in a SQLite file: private, durable, and never in somebody else's database."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import keyturn
from keyturn import EventLog, KeyRing
from keyturn.domain.errors import (
    LogClosedError,
    LogUnavailableError,
    LogVersionError,
    NotAKeyturnLogError,
)

from .making import new_keys

RunPython = Callable[..., CompletedProcess[str]]


@pytest.fixture
def no_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files_of(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]


# --- durable -----------------------------------------------------------------------------------


def test_g1_every_connection_of_the_pool_commits_durably(
    open_log: Callable[[], EventLog],
) -> None:
    datastore: Any = open_log().recorder.datastore  # type: ignore[attr-defined]

    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(datastore.get_connection(commit=False)) for _ in range(15)
        ]
        pragmas = {
            (pragma, connection._sqlite_conn.execute(f"PRAGMA {pragma}").fetchone()[0])
            for connection in connections
            for pragma in ("journal_mode", "synchronous", "secure_delete")
        }

    assert pragmas == {("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)}


# --- private -----------------------------------------------------------------------------------


def test_the_database_and_its_wal_and_shm_are_private_whatever_the_umask(
    path: Path, open_log: Callable[[], EventLog], key_ring: KeyRing, no_umask: None
) -> None:
    open_log().append(new_keys(key_ring))

    assert [mode_of(file) for file in files_of(path)] == [0o600] * 3


def test_files_that_others_can_read_are_made_private(
    path: Path, open_log: Callable[[], EventLog], key_ring: KeyRing
) -> None:
    open_log().append(new_keys(key_ring))
    for file in files_of(path):
        os.chmod(file, 0o666)

    open_log()

    assert [mode_of(file) for file in files_of(path)] == [0o600] * 3


def test_missing_folders_are_made_for_the_owner_alone(tmp_path: Path, no_umask: None) -> None:
    keyturn.open_event_log(f"sqlite:///{tmp_path}/a/b/log.db").close()

    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a/b")] == [0o700, 0o700]


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
    alien: Path, open_log: Callable[[], EventLog]
) -> None:
    before = alien.read_bytes()

    with pytest.raises(NotAKeyturnLogError, match="another application") as raised:
        open_log()

    assert raised.value.location == str(alien)
    assert (alien.read_bytes(), mode_of(alien)) == (before, 0o644)
    assert os.listdir(alien.parent) == [alien.name]


@pytest.mark.parametrize(
    "content",
    [b"Dear diary,\n" * 1000, b"note", os.urandom(8192)],
    ids=["text", "short", "garbage"],
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    content: bytes, path: Path, open_log: Callable[[], EventLog]
) -> None:
    path.write_bytes(content)
    os.chmod(path, 0o644)

    with pytest.raises(NotAKeyturnLogError, match="is not a database"):
        open_log()

    assert (path.read_bytes(), mode_of(path)) == (content, 0o644)
    assert os.listdir(path.parent) == [path.name]


def test_a_link_in_place_of_the_database_is_refused_and_not_followed(
    path: Path, open_log: Callable[[], EventLog]
) -> None:
    target = path.with_name("target")
    path.symlink_to(target)

    with pytest.raises(NotAKeyturnLogError, match="not a regular file"):
        open_log()

    assert not target.exists()


def test_a_folder_in_place_of_the_database_is_refused(
    path: Path, open_log: Callable[[], EventLog]
) -> None:
    path.mkdir()

    with pytest.raises(NotAKeyturnLogError, match="not a regular file"):
        open_log()


def test_a_file_in_place_of_the_folder_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LogUnavailableError, match="Not a directory") as raised:
        keyturn.open_event_log(f"sqlite:///{tmp_path}/file/log.db")

    assert raised.value.location == f"{tmp_path}/file/log.db"


def test_the_log_of_a_newer_version_is_refused(
    path: Path, open_log: Callable[[], EventLog]
) -> None:
    open_log().close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")

    with pytest.raises(LogVersionError, match="newer"):
        open_log()


def test_a_log_that_is_closed_twice_stays_closed(open_log: Callable[[], EventLog]) -> None:
    log = open_log()
    log.close()
    log.close()

    with pytest.raises(LogClosedError):
        log.load("default")
