"""What somebody who can write to the files of a log does to them, and who looks afterwards."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyturn import Service
from tests.api.command_line import Keyturn

PAGE = 4096


def execute(folder: Path, *statements: str, values: tuple[object, ...] = ()) -> list[Any]:
    """Execute statements with SQLite's own tools; return what the last one finds."""
    path = folder / "keyturn.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found: list[Any] = []
        for statement in statements:
            found = connection.execute(statement, values).fetchall()
        return found


def hide_the_newest_row_in_the_index(folder: Path) -> None:
    """Move the first cell pointer of the table's index behind the others, in a closed log.

    The row that is the newest by the index is then the first one.
    """
    path = folder / "keyturn.db"
    [(root,)] = execute(
        folder,
        "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_stored_events_1'",
    )
    content = bytearray(path.read_bytes())
    page = (root - 1) * PAGE
    assert content[page] == 0x0A, "not the leaf of an index"
    count = int.from_bytes(content[page + 3 : page + 5], "big")
    cells = content[page + 8 : page + 8 + 2 * count]
    content[page + 8 : page + 8 + 2 * count] = cells[2:] + cells[:2]
    path.write_bytes(content)


def forget_what_was_seen(folder: Path) -> None:
    """Remove the anchor, as on a machine that has never seen the log."""
    shutil.rmtree(folder / "anchor.json.d")


def in_another_process(code: str, *arguments: object) -> str:
    """Run a piece of Python with these arguments; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until something is so, and fail if it is not within these seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.002)


THREE_RESET_UNTIL_STOPPED = """
import os, sys, keyturn
from pathlib import Path
from keyturn.domain.errors import SessionManagerDestroyedError

def reset_until(stop):
    resets = 0
    while not stop.exists():
        try:
            with keyturn.open(path=sys.argv[1], password=None) as service:
                while not stop.exists():
                    token = service.create_token()
                    service.reset_key()
                    assert not service.verify_token(token)
                    resets += 1
                    if resets == 1:
                        print("resets", flush=True)
        except SessionManagerDestroyedError:
            pass

writers = []
for _ in range(3):
    writers.append(os.fork())
    if not writers[-1]:
        sys.exit(reset_until(Path(sys.argv[2])))
sys.exit(any(os.waitpid(writer, 0)[1] for writer in writers))
"""


def purge_beside_three_writers(cli: Keyturn, open_service: Callable[[], Service]) -> None:
    """Purge the manager a few times while three processes reset its key."""
    stop = cli.folder / "stop"
    command = [sys.executable, "-c", THREE_RESET_UNTIL_STOPPED, str(cli.folder), str(stop)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=cli.environment, stdout=pipe, stderr=pipe, text=True
    ) as writers:
        try:
            assert writers.stdout is not None
            assert [writers.stdout.readline() for _ in range(3)] == ["resets\n"] * 3
            for _ in range(4):
                with open_service() as service:
                    service.reset_key()
                    service.stop()
                    service.destroy(purge=True)
                time.sleep(0.05)  # in which they write again
        finally:
            stop.touch()
            _, said = writers.communicate(timeout=60)

    assert (writers.returncode, said) == (0, "")
