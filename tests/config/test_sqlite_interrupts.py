"""Threads, time-outs and signals: nothing waits for longer than said, nothing is left held."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyturn.config.sqlite import SQLiteStore
from keyturn.config.store_errors import is_not_committed, translated
from keyturn.domain.errors import LogUnavailableError

from .sqlite_logs import ALICE, PRELUDE, event, history, newest, positions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, lock_timeout=0.3)
    store.insert_events(history(1))
    yield store
    store.close()


@pytest.fixture
def locked(store: SQLiteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else holds the lock for writing."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def insert(store: SQLiteStore) -> LogUnavailableError | None:
    try:
        with translated(store.location):
            store.insert_events([event(2)])
    except LogUnavailableError as error:
        return error
    return None


def test_g8_a_locked_log_is_a_clear_error_in_time(
    store: SQLiteStore, locked: sqlite3.Connection
) -> None:
    begun = time.monotonic()
    error = insert(store)
    waited = time.monotonic() - begun

    assert error is not None
    assert "locked for too long; try again" in str(error)
    assert (error.is_busy, is_not_committed(error)) == (True, True)
    assert 0.2 < waited < 1.0
    assert newest(store) == 1


def test_g8_time_outs_of_many_threads_do_not_add_up(
    store: SQLiteStore, locked: sqlite3.Connection
) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(insert, [store] * 8))
    waited = time.monotonic() - begun

    assert all(error is not None and error.is_busy for error in errors)
    assert waited < 1.2


def test_g8_once_the_lock_is_released_writing_goes_on(
    store: SQLiteStore, locked: sqlite3.Connection
) -> None:
    assert insert(store) is not None
    locked.execute("ROLLBACK")

    assert insert(store) is None
    assert positions(store) == [1, 2]


def test_a_read_while_another_thread_reads_much_sees_what_was_committed_before(
    store: SQLiteStore, path: Path
) -> None:
    store.insert_events(event(position) for position in range(2, 3000))
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            store.select_events(ALICE, limit=500)

    writer = SQLiteStore(path)
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        stale = 0
        for position in range(3000, 3200):
            writer.insert_events([event(position)])
            stale += newest(store) != position
        stop.set()
        for reader in readers:
            reader.result(timeout=30)
    writer.close()

    assert stale == 0


INTERRUPTED = """
import random, signal
# Reads are interrupted in the main thread while another one writes; then all must still work.

class Interrupt(Exception):
    pass

def interrupt(*_):
    raise Interrupt

store = SQLiteStore(path, lock_timeout=5)
append(store)
stop = threading.Event()

def write():
    while not stop.is_set():
        append(store)
        if random.random() < 0.02:
            store.reopen()

signal.signal(signal.SIGALRM, interrupt)
writer = threading.Thread(target=write)
writer.start()
interrupts = 0
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.002))
        for _ in range(1000):  # an exception within a finalizer ends nothing
            store.changes()
            store.select_events(ALICE, desc=True, limit=1)
            if random.random() < 0.02:
                for row in store.rows():
                    break
    except Interrupt:
        interrupts += 1
    except LogUnavailableError as error:
        assert error.is_busy, error
signal.setitimer(signal.ITIMER_REAL, 0)
stop.set()
writer.join(30)
assert not writer.is_alive()
before = time.monotonic()
position = append(store)
assert store.select_events(ALICE, desc=True, limit=1)[0].originator_version == position
assert store.changes() == store.changes()
other = SQLiteStore(path, lock_timeout=1)
append(other)
other.close()
gc.collect()
child = os.fork()
if child == 0:
    anew = SQLiteStore(path)
    append(anew)
    anew.close()
    os._exit(0)
status = os.waitpid(child, 0)[1]
store.close()
print(interrupts > 50, status, time.monotonic() - before < 5)
"""


@pytest.mark.parametrize("seconds", [1, pytest.param(100, marks=pytest.mark.soak)])
def test_exceptions_at_any_moment_of_a_read_leave_nothing_held(path: Path, seconds: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + INTERRUPTED, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 60,
        check=False,
    )

    assert done.stdout.splitlines()[-1] == "True 0 True", done.stdout


def test_a_signal_is_heard_while_waiting_for_a_lock(path: Path) -> None:
    store = SQLiteStore(path, lock_timeout=30)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def interrupt(*_: object) -> None:
        raise InterruptedError

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptedError):
            store.insert_events([event(1)])
    finally:
        signal.signal(signal.SIGALRM, old)
    other.close()

    store.insert_events([event(1)])
    store.close()
