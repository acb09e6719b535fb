"""Runs the command line as `keyturn` does: in this process, which is quick, or in its own."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from keyturn.cli import main

COMMAND = (sys.executable, "-m", "keyturn")


class Keyturn:
    """`keyturn` with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}

    def __call__(
        self, *arguments: str, stdin: str | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this process; check its exit code, and that it shows no traceback."""
        command = ["--path", str(self.folder), *arguments]
        with _streams(stdin or "", self.environment) as (out, err):
            try:
                main(command)
            except SystemExit as exit_:
                returned = exit_.code
        assert isinstance(returned, int)
        done = subprocess.CompletedProcess(command, returned, _text(out), _text(err))
        return _checked(done, code)

    def process(
        self,
        *arguments: str,
        stdin: str | None = None,
        code: int = 0,
        stdout: int = subprocess.PIPE,
        **options: object,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own: where a terminal, pipe or locale matters."""
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            [*COMMAND, "--path", str(self.folder), *arguments],
            input=stdin or "",
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
            env=self.environment,
            check=False,
            **options,
        )
        return _checked(done, code)


def _checked(
    done: subprocess.CompletedProcess[str], code: int
) -> subprocess.CompletedProcess[str]:
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert ("Traceback" in done.stderr) is (code == os.EX_SOFTWARE)
    return done


@contextmanager
def _streams(
    stdin: str, environment: dict[str, str]
) -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    """Give this process other streams, another environment, and its logging back afterwards."""
    logger = logging.getLogger("keyturn")
    before = list(logger.handlers), logger.level, logger.propagate
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err),
    ):
        try:
            yield out, err
        finally:
            logger.handlers, logger.level, logger.propagate = before


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
