"""Pieces of Python, each in a fork of one process that has imported Keyturn already.

To start Python with Keyturn takes half a second, and such a fork some milliseconds. It is a
process of its own all the same, with one thread and nothing open. Run as a program this is the
process that forks: one JSON object a line in, one number a line out.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = ("keyturn", "keyturn.aio", "keyturn.config.sqlite", "keyturn.config.postgres", "pykka")

_lock = threading.Lock()


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a process of its own; its exit status is for the caller."""
    with tempfile.TemporaryDirectory() as folder:
        files = [os.devnull, *(str(Path(folder, name)) for name in ("stdout", "stderr"))]
        child = _start(code, arguments, files)
        status = _ask({"reap": child})
        stdout, stderr = (Path(file).read_text() for file in files[1:])
    return subprocess.CompletedProcess(code, status, stdout, stderr)


class WarmProcess:
    """A process that runs a piece of Python, and is talked to.

    Attributes:
        pid: its number.
        stdin: what it reads.
        stdout: what it prints.
    """

    def __init__(self, code: str, *arguments: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pipes = [str(Path(folder, name)) for name in ("stdin", "stdout")]
            for pipe in pipes:
                os.mkfifo(pipe)
            self.pid = _start(code, arguments, pipes)
            self.stdin = open(pipes[0], "w", encoding="utf-8")  # noqa: SIM115 - for its life
            self.stdout = open(pipes[1], encoding="utf-8")  # noqa: SIM115

    def kill(self) -> None:
        """End it at once, and wait for that."""
        os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Give it no more to read, and wait until it has ended."""
        if self.stdout.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        _ask({"reap": self.pid})


def _start(code: str, arguments: tuple[object, ...], files: list[str]) -> int:
    """Have a child run it with these files for its input and output; return its number."""
    argv = ["-c", *map(str, arguments)]
    return _ask({"code": code, "argv": argv, "files": files, "env": dict(os.environ)})


def _ask(request: dict[str, object]) -> int:
    """Return what the process that forks answers; threads take turns."""
    with _lock:
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())
        except BaseException:  # a time-out of the test: the next one begins anew
            server.kill()
            _server.cache_clear()
            raise


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
        request = json.loads(line)
        if "reap" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _run(**request)
        print(answer, flush=True)


def _run(code: str, argv: list[str], files: list[str], env: dict[str, str]) -> None:
    status = 1
    try:
        flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
        for number, file in enumerate(files):
            fd = os.open(file, flags[number])
            os.dup2(fd, number)
            os.close(fd)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - unread as yet
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
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
