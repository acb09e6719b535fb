"""Processes that run pieces of Python, by the server of `tests.warm_python`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from tests.warm_python import warm_python

_SAY_WHO = "import os; print(os.getpid(), flush=True)\n"
_LEAVE = "\nimport os, sys; sys.stdout.flush(); sys.stderr.flush(); os._exit(0)"
"""The end of an interpreter takes ten times as long as all the rest of such a process."""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a process of its own; `AssertionError` if it fails.

    It leaves without a word at its end: nothing that is open then is closed.
    """
    return warm_python().run(code + _LEAVE, *map(str, arguments))


class WarmProcess:
    """A process that runs a piece of Python, and is talked to.

    Attributes:
        pid: its number.
        stdin: what it reads.
        stdout: what it prints.
    """

    def __init__(self, code: str, *arguments: object) -> None:
        reading, writing = os.pipe(), os.pipe()
        self._server = warm_python().begin(
            _SAY_WHO + code + _LEAVE, *map(str, arguments), streams=[writing[0], reading[1], 2]
        )
        os.close(writing[0])
        os.close(reading[1])
        self.stdin = open(writing[1], "w", encoding="utf-8")  # noqa: SIM115 - for its life
        self.stdout = open(reading[0], encoding="utf-8")  # noqa: SIM115
        self.pid = int(self.stdout.readline())

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
        self._server.recv(16)
        self._server.close()
        self.stdout.close()
