"""Many openers of one SQLite file: threads, processes, services, and children after a fork."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import keyturn
from keyturn import EventLog, KeyRing, Service

from .making import new_keys
from .second_process import SecondProcess
from .warm_processes import WarmProcess

RunPython = Callable[..., CompletedProcess[str]]


def test_many_threads_may_open_a_new_log_at_once(
    path: Path, open_log: Callable[[], EventLog], key_ring: KeyRing
) -> None:
    gate = threading.Barrier(8)

    def open_at_once(number: int) -> bool:
        gate.wait(timeout=10)
        return open_log().append(new_keys(key_ring, manager=f"manager {number}"))

    with ThreadPoolExecutor(8) as threads:
        appended = list(threads.map(open_at_once, range(8)))

    assert appended == [True] * 8


def test_many_processes_may_start_on_an_empty_folder_at_once_and_share_one_first_key(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, keyturn\n"
        "input()\n"
        "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
        "    print([change.kind for change in service.history()])\n"
    )
    processes = [WarmProcess(code, tmp_path / "data") for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    printed = [process.stdout.read() for process in processes]

    for process in processes:
        process.close()
    assert printed == ["['generated']\n"] * 4


def test_another_service_in_the_same_process_that_closes_leaves_the_first_its_locks(
    service: Service, tmp_path: Path
) -> None:
    token = service.create_token()

    keyturn.open(path=tmp_path / "data", password=None).close()
    with pytest.raises(keyturn.KeyturnError):
        keyturn.open(path=tmp_path / "data", password="wrong")
    with SecondProcess(tmp_path / "data") as other:
        other.reset()

    assert Path(f"{tmp_path}/data/keyturn.db-wal").exists()
    assert not service.verify_token(token)
    with contextlib.closing(sqlite3.connect(tmp_path / "data/keyturn.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_reset_after_another_service_closed_is_seen_by_a_fresh_process(
    service: Service, tmp_path: Path
) -> None:
    keyturn.open(path=tmp_path / "data", password=None).close()
    with SecondProcess(tmp_path / "data") as other:
        other.reset()
    service.reset_key()
    token = service.create_token()

    with SecondProcess(tmp_path / "data") as other:
        assert other.verify(token)


# --- fork --------------------------------------------------------------------------------------

FORK = """
import os, sys, keyturn
from keyturn.domain.errors import LogClosedError

service = keyturn.open(path=sys.argv[1], password=None)
service.reset_key()
token = service.create_token()
child = os.fork()
if child == 0:
    uses = [lambda: service.verify_token(token), service.create_token, service.reset_key,
            lambda: list(service.history()), service.stop, service.log.changes]
    refused = 0
    for use in uses:
        try:
            use()
        except LogClosedError:
            refused += 1
    if sys.argv[2] == "close":
        service.close()
    with keyturn.open(path=sys.argv[1], password=None) as anew:
        anew.reset_key("by the child")
    status = 0 if refused == len(uses) else 1
    if sys.argv[2] == "exit":
        service.close()
        del service
        sys.exit(status)
    os._exit(status)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, "the child used what is the parent's"
assert not service.verify_token(token)
for _ in range(5):
    service.reset_key("by the parent")
service.close()
with keyturn.open(path=sys.argv[1], password=None) as service:
    print([change.generation for change in service.history()] == list(range(1, 9)))
"""


@pytest.mark.parametrize("ending", ["leave", "close", "exit"])
def test_a_child_process_is_refused_its_parents_connections_and_loses_none_of_its_rows(
    ending: str, run_python: RunPython, tmp_path: Path
) -> None:
    printed = run_python(FORK, tmp_path / "data", ending)

    assert printed.stdout == "True\n"
