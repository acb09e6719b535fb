"""Code that is run as another user, by forks of a process that has imported Keyturn already."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SERVER = """
import contextlib, io, json, os, pathlib, sys, traceback
import keyturn
from keyturn import ClientSession

with keyturn.open(store="memory:", password=None) as service:  # loads what loads late
    service.reset_key()
for line in sys.stdin:
    user, groups, code, path = json.loads(line)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setgroups(groups), os.setgid(user), os.setuid(user)
        printed = io.StringIO()
        names = {"keyturn": keyturn, "ClientSession": ClientSession, "path": pathlib.Path(path)}
        with contextlib.redirect_stdout(printed):
            try:
                exec(code, names)
            except keyturn.KeyturnError as error:
                print(type(error).__name__, "|", error)
            except BaseException:
                print(traceback.format_exc())
        os.write(writing, printed.getvalue().encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        print(json.dumps(file.read()), flush=True)
    os.wait()
"""

RunAs = Callable[..., str]
"""Runs code as a user (`path` is its path), and returns what it printed; errors of ours, too."""


@contextlib.contextmanager
def run_as_users() -> Iterator[RunAs]:
    """Give what runs code as any user; only root can."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        asked, answers = server.stdin, server.stdout

        def run(user: int, code: str, path: Path, groups: Sequence[int] = ()) -> str:
            asked.write(json.dumps([user, groups, code, str(path)]) + "\n")
            asked.flush()
            printed: str = json.loads(answers.readline())
            return printed.strip()

        yield run
        asked.close()
