"""Runs the command line as `keyturn` does: in this process, which is quick, or in its own."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from unittest import mock

from keyturn.cli import main

COMMAND = (sys.executable, "-m", "keyturn")


class Keyturn:
    """`keyturn` with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}

    def copy(self, folder: Path) -> Keyturn:
        """Return another one, whose data folder is a copy of this one."""
        shutil.copytree(self.folder, folder)
        copy = Keyturn(folder)
        copy.environment |= self.environment
        return copy

    def __call__(
        self,
        *arguments: str,
        stdin: str | bytes = "",
        code: int = 0,
        stdout: TextIO | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this process; check its exit code, and that it shows no traceback.

        Its output is returned, unless it is to go somewhere else.
        """
        command = ["--path", str(self.folder), *arguments]
        out, err = _stream(), _stream()
        given = _stream(stdin if isinstance(stdin, bytes) else stdin.encode())
        with _surroundings(self.environment, given, stdout or out, err):
            try:
                main(command)
            except SystemExit as exit_:
                returned = exit_.code
        assert isinstance(returned, int)
        done = subprocess.CompletedProcess(command, returned, _text(out), _text(err))
        return _checked(done, code)

    def process(
        self, *arguments: str, stdin: str = "", code: int = 0, shell: str = '"$@"'
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own: where a terminal, pipe or locale matters.

        The shell's `"$@"` is the command; it may get other streams there. No terminal is its.
        """
        done = subprocess.run(
            ["sh", "-c", f"exec {shell}", "sh", *COMMAND, "--path", self.folder, *arguments],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env=self.environment,
            check=False,
            start_new_session=True,
        )
        return _checked(done, code)


def _checked(
    done: subprocess.CompletedProcess[str], code: int
) -> subprocess.CompletedProcess[str]:
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert ("Traceback" in done.stderr) is (code == os.EX_SOFTWARE)
    return done


def _stream(content: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8")


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@contextmanager
def _surroundings(
    environment: dict[str, str], stdin: TextIO, out: TextIO, err: TextIO
) -> Iterator[None]:
    """Give this process other streams, another environment, and its logging back afterwards."""
    logger = logging.getLogger("keyturn")
    before = list(logger.handlers), logger.level, logger.propagate
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.multiple(sys, stdin=stdin, stdout=out, stderr=err),
    ):
        try:
            yield
        finally:
            logger.handlers, logger.level, logger.propagate = before
