"""Pieces of Python, each in a fork of one process that has imported Keyturn already.

To start Python with Keyturn takes half a second, and such a fork some milliseconds. It is a
process of its own all the same, with one thread and nothing open. Run as a program this is the
process that forks: one JSON object a line in, the exit status of the child out.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = ("keyturn", "keyturn.aio", "keyturn.config.sqlite", "keyturn.config.postgres", "pykka")


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a process of its own; its exit status is for the caller."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        argv = ["-c", *map(str, arguments)]
        request = {"code": code, "argv": argv, "files": files, "env": dict(os.environ)}
        try:
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        except BaseException:  # a time-out of the test: the next one begins anew
            server.kill()
            _server.cache_clear()
            raise
        stdout, stderr = (Path(file).read_text() for file in files)
    return subprocess.CompletedProcess(argv, status, stdout, stderr)


@cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.config.warm_processes"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    for module in MODULES:
        with contextlib.suppress(ImportError):  # psycopg is an extra
            importlib.import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(code: str, argv: list[str], files: list[str], env: dict[str, str]) -> None:
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = argv
        os.environ.clear()
        os.environ.update(env)
        exec(code, {"__name__": "__main__"})
        status = 0
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
