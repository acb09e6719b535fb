"""Standard output and standard error: what is written there is not lost, or it is said so."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

from keyturn.show import plain

BROKEN_PIPE = 141
"""As a shell has it for a program that SIGPIPE ended: nobody reads on, and that is no fault."""


class OutputError(Exception):
    """Standard output cannot be written, or a file, which it names then."""

    def __init__(self, error: OSError) -> None:
        what = error.filename or "standard output"
        super().__init__(f"{what} cannot be used: {error.strerror or error}")
        self.is_broken_pipe = error.errno == errno.EPIPE


def prepare() -> None:
    """See to it that there are streams, and that they can hold every character in any locale."""
    if sys.stdin is None:  # it was closed; so no file of ours gets its number
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when we began: `>&-`
            # Standard output cannot be written then, which an error says as of a full disk.
            how = os.O_RDONLY if name == "stdout" else os.O_WRONLY
            setattr(sys, name, os.fdopen(os.open(os.devnull, how), "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Tell an error of standard output from all others, before click takes it for its own."""
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


def finish(code: int) -> int:
    """Write out what is left, and return the exit code: another one if that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return failed(OutputError(error))
    return code


def failed(error: OutputError) -> int:
    """Say what cannot be written, if somebody may care, and return the exit code."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        # What is left in it goes there when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if error.is_broken_pipe:
        return BROKEN_PIPE
    complain(str(error))
    return os.EX_IOERR


def complain(message: str, *, is_one_line: bool = True) -> None:
    """Write one line to standard error, if that can be written; or several, of a bug."""
    lines = [message] if is_one_line else message.splitlines()
    with contextlib.suppress(OSError):
        sys.stderr.write("keyturn: " + "".join(f"{plain(line)}\n" for line in lines))
        sys.stderr.flush()
