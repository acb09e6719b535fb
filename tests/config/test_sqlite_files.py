"""The files of a log are those that were opened, at every look: nothing is lost beside them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eventsourcing.persistence import StoredEvent

from keyturn.config.sqlite import SQLiteStore
from keyturn.domain.errors import LogUnavailableError
from tests.descriptors import open_below

from .sqlite_logs import APPEND, event, execute, files_of, history, newest, positions, run

Removal = Callable[[SQLiteStore, Path], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    store.insert_events(history(3))
    newest(store)
    yield store
    store.close()


def remove_the_wal_index(store: SQLiteStore, path: Path) -> None:
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    files_of(path)[2].unlink()


def remove_the_wal_index_alone(store: SQLiteStore, path: Path) -> None:
    files_of(path)[2].unlink()


def remove_wal_and_index(store: SQLiteStore, path: Path) -> None:
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    for file in files_of(path)[1:]:
        file.unlink()


def copy_the_database(store: SQLiteStore, path: Path) -> None:
    """Drop this process's locks, as reading the file does; the next process removes the rest."""
    shutil.copy(path, path.with_name("backup.db"))
    run("store = SQLiteStore(path); store.select_events(ALICE); store.close()", path)
    assert not files_of(path)[2].exists()


removals = pytest.mark.parametrize(
    "remove",
    [
        remove_the_wal_index,
        remove_the_wal_index_alone,
        remove_wal_and_index,
        copy_the_database,
    ],
)


@removals
def test_g1_g2_all_stores_of_a_process_see_what_others_commit_and_are_seen(
    remove: Removal, store: SQLiteStore, path: Path
) -> None:
    other = SQLiteStore(path)
    other.insert_events([event(4)])
    newest(store)
    before = store.changes()
    remove(store, path)

    assert run(APPEND, path) == "5"

    deadline = time.monotonic() + 0.15
    while store.changes() == before and time.monotonic() < deadline:
        pass
    assert store.changes() != before
    assert newest(store) == 5
    assert store.changes() == store.changes()
    store.insert_events([event(6)])
    other.insert_events([event(7)])
    assert run(APPEND, path) == "8"
    assert positions(store) == positions(other) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    other.close()


@removals
def test_g1_what_is_written_without_a_look_is_seen_by_everybody(
    remove: Removal, store: SQLiteStore, path: Path
) -> None:
    remove(store, path)
    run(APPEND, path)

    store.insert_events([event(5)])

    assert run("print(positions(SQLiteStore(path)))", path) == "[1, 2, 3, 4, 5]"


def test_g1_what_would_be_committed_beside_a_removed_file_is_refused(
    store: SQLiteStore, path: Path
) -> None:
    def events() -> Iterator[StoredEvent]:
        yield event(4)
        files_of(path)[2].unlink()

    with pytest.raises(LogUnavailableError, match="were removed") as raised:
        store.insert_events(events())

    assert raised.value.recorded is False
    assert newest(store) == 3


def test_a_host_that_holds_a_removed_index_open_itself_is_told_so(
    store: SQLiteStore, path: Path
) -> None:
    own = sqlite3.connect(path)
    own.execute("SELECT * FROM stored_events").fetchone()
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    files_of(path)[2].unlink()

    with pytest.raises(LogUnavailableError, match="something in this process still uses them"):
        store.insert_events([event(4)])

    own.close()
    store.insert_events([event(4)])
    assert run("print(positions(SQLiteStore(path)))", path) == "[1, 2, 3, 4]"


def test_a_database_that_was_replaced_is_an_error_until_it_is_back(
    store: SQLiteStore, path: Path
) -> None:
    away = path.with_name("away")
    shutil.copy(path, path.with_name("copy"))
    path.rename(away)
    path.with_name("copy").rename(path)
    with pytest.raises(LogUnavailableError, match="removed or replaced"):
        look_for(0.2, store)
    with pytest.raises(LogUnavailableError, match="removed or replaced") as raised:
        store.insert_events([event(4)])
    away.rename(path)

    look_for(0.2, store)
    store.insert_events([event(4)])

    assert raised.value.recorded is False
    assert newest(store) == 4


def test_a_log_that_was_removed_is_not_made_anew(store: SQLiteStore, path: Path) -> None:
    for file in files_of(path):
        file.unlink()

    for _ in range(2):
        with pytest.raises(LogUnavailableError, match="removed or replaced"):
            store.reopen()
        with pytest.raises(LogUnavailableError, match="removed or replaced"):
            newest(store)

    assert not path.exists()


def look_for(seconds: float, store: SQLiteStore) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        store.changes()


# --- locks -------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's list of locks")
def test_making_the_file_drops_no_locks_of_another_thread_that_opens_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, close = threading.Event(), os.close

    def slow_close(fd: int) -> None:
        made.set()
        threading.Event().wait(0.3)
        close(fd)

    monkeypatch.setattr(os, "close", slow_close)
    stores: list[SQLiteStore] = []
    first = threading.Thread(target=lambda: stores.append(SQLiteStore(path)))
    first.start()
    made.wait(timeout=10)
    stores.append(SQLiteStore(path))
    first.join(timeout=10)
    monkeypatch.undo()

    assert f":{path.stat().st_ino} " in Path("/proc/locks").read_text()
    for store in stores:
        store.close()


# --- a daemon that closes all files ------------------------------------------------------------


HOST_FILES = """
hosts = []

def close_all_and_open_files_of_the_host():
    os.closerange(3, 256)
    for number in range(100):
        file = path.with_name(f"host {number}")
        hosts.append(os.open(file, os.O_RDWR | os.O_CREAT))
    for number, fd in enumerate(hosts):
        os.unlink(path.with_name(f"host {number}"))
        os.write(fd, b"of the host")

def files_of_the_host_are_whole():
    return [os.pread(fd, 100, 0) for fd in hosts] == [b"of the host"] * 100

"""


def test_a_host_that_closes_all_descriptors_loses_no_file_of_its_own(path: Path) -> None:
    printed = run(
        HOST_FILES
        + """
store = SQLiteStore(path)
append(store)
close_all_and_open_files_of_the_host()
store.changes()
store.close()
del store
gc.collect()
another = SQLiteStore(path.with_name("another.db"))
append(another)
another.close()
print(files_of_the_host_are_whole())
""",
        path,
    )

    assert printed == "True"


def test_a_child_of_a_host_that_closed_all_descriptors_loses_no_file_of_the_host(
    path: Path,
) -> None:
    printed = run(
        HOST_FILES
        + """
store = SQLiteStore(path)
append(store)
close_all_and_open_files_of_the_host()
child = os.fork()
if child == 0:
    gc.collect()
    print(files_of_the_host_are_whole(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(files_of_the_host_are_whole())
""",
        path,
    )

    assert printed == "True\nTrue"


def test_a_forked_daemon_that_closes_all_descriptors_loses_no_file_of_its_own(
    path: Path, store: SQLiteStore
) -> None:
    printed = run(
        HOST_FILES
        + """
store = SQLiteStore(path)
append(store)
child = os.fork()
if child == 0:
    close_all_and_open_files_of_the_host()
    anew = SQLiteStore(path)
    append(anew)
    anew.close()
    store.close()
    del store
    gc.collect()
    print(files_of_the_host_are_whole(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(positions(store))
""",
        path,
    )

    assert printed == "True\n[1, 2, 3, 4, 5]"


def test_reading_at_the_place_of_a_log_costs_no_descriptor_for_good(path: Path) -> None:
    counts = []
    for number in range(12):
        log = SQLiteStore(path.with_name(f"{number}.db"))
        log.insert_events(history(1))
        newest(log)
        log.close()
        counts.append(open_below(path.parent))

    assert len(set(counts[2:])) == 1
