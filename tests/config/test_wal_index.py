"""`changes` of a SQLite log differs after every commit of anybody, at once [G2]."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyturn.config import sqlite_files
from keyturn.config.sqlite import SQLiteStore
from keyturn.domain.errors import LogUnavailableError
from tests.descriptors import open_below

from .sqlite_logs import history, newest

WRITER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA synchronous = OFF")
connection.execute("PRAGMA wal_autocheckpoint = 4")
number = 0
while os.read(0, 1):
    number += 1
    connection.execute("UPDATE stored_events SET state = randomblob(16)")
    if number % 37 == 0:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if number % 101 == 0:
        connection.close()
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 4")
    os.write(1, b".")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    with contextlib.closing(SQLiteStore(path)) as store:
        store.insert_events(history(1))
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(path)) as store:
        yield store


def count_missed_commits(
    path: Path, changes: Callable[[], object], trials: int
) -> tuple[int, int]:
    """Have another process commit so often; return how often `changes` did not tell so."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        missed, acknowledged, before = 0, 0, changes()
        for _ in range(trials):
            writer.stdin.write(b".")
            acknowledged += len(writer.stdout.read(1))
            after = changes()
            missed += after == before
            before = after
        writer.stdin.close()
    return acknowledged, missed


def test_g2_every_acknowledged_commit_of_another_process_is_seen_at_once(
    path: Path, store: SQLiteStore
) -> None:
    assert count_missed_commits(path, store.changes, 1_000) == (1_000, 0)


@pytest.mark.soak
def test_g2_of_100_000_acknowledged_commits_of_another_process_none_is_missed(
    path: Path, store: SQLiteStore
) -> None:
    assert count_missed_commits(path, store.changes, 100_000) == (100_000, 0)


def test_changes_stays_while_others_only_read_or_roll_back(
    path: Path, store: SQLiteStore
) -> None:
    before = store.changes()

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("SELECT * FROM stored_events").fetchall()
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM stored_events")
        other.execute("ROLLBACK")

    assert store.changes() == before


def test_g2_a_store_that_opened_its_file_anew_says_that_something_changed(
    store: SQLiteStore,
) -> None:
    before = store.changes()

    store.reopen()

    assert store.changes() != before


def test_g2_while_the_file_cannot_be_opened_everybody_is_told_to_read(
    path: Path, store: SQLiteStore
) -> None:
    path.rename(path.with_name("away"))
    with pytest.raises(LogUnavailableError, match="removed or replaced"):
        store.reopen()

    values = [store.changes() for _ in range(3)]

    assert len(set(values)) == 3


def test_once_the_file_can_be_opened_again_its_changes_are_counted_again(
    path: Path, store: SQLiteStore
) -> None:
    path.rename(path.with_name("away"))
    with pytest.raises(LogUnavailableError):
        store.reopen()
    path.with_name("away").rename(path)
    newest(store)

    missed = count_missed_commits(path, store.changes, 50)

    assert store.changes() == store.changes()
    assert missed == (50, 0)


def cannot_map(_: Path) -> None:
    raise OSError


@pytest.mark.parametrize(("name", "value"), [("_map", cannot_map), ("_WAL_INDEX_VERSION", 0)])
def test_g2_where_the_wal_index_cannot_be_used_everybody_is_told_to_read(
    name: str, value: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, name, value)

    with contextlib.closing(SQLiteStore(path)) as store:
        values = {store.changes() for _ in range(3)}

        assert len(values) == 3
        assert newest(store) == 1


def test_changes_never_opens_the_file_it_is_left_to_who_reads(
    path: Path, store: SQLiteStore
) -> None:
    before = store.changes()
    Path(f"{path}-shm").unlink()
    while store.changes() == before:
        pass
    descriptors = open_below(path.parent)

    values = {store.changes() for _ in range(10)}

    assert len(values) == 10
    assert open_below(path.parent) == descriptors
    assert newest(store) == 1
    assert store.changes() == store.changes()


def test_the_maps_of_removed_files_are_forgotten(tmp_path: Path) -> None:
    def open_and_close(number: int) -> int:
        SQLiteStore(tmp_path / f"{number}.db").close()
        return open_below(tmp_path)

    counts = [open_and_close(number) for number in range(12)]

    assert len(set(counts[2:])) == 1


def test_a_file_that_is_opened_again_and_again_is_mapped_once(path: Path) -> None:
    with contextlib.closing(SQLiteStore(path)):
        counts = []
        for _ in range(20):
            with contextlib.closing(SQLiteStore(path)):
                counts.append(open_below(path.parent))

    assert len(set(counts)) == 1


def test_a_store_that_is_collected_waits_for_no_lock(tmp_path: Path) -> None:
    store: list[object] = [SQLiteStore(tmp_path / "log.db")]

    def collect() -> None:
        store.clear()
        gc.collect()

    collector = threading.Thread(target=collect, daemon=True)
    with sqlite_files._lock:
        collector.start()
        collector.join(10)

        assert not collector.is_alive()
