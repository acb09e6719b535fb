"""Standard output and standard error: what is written there is not lost, or it is said so."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys

from keyturn.config.logging import without_tokens
from keyturn.config.os_errors import reason
from keyturn.show import plain

BROKEN_PIPE = 141
"""As a shell has it for a program that SIGPIPE ended: nobody reads on, and that is no fault."""


def prepare() -> None:
    """See to it that there are streams, and that they can hold every character in any locale."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when we began: `>&-`; no file of ours gets its number
            # Standard output cannot be written then, which an error says as of a full disk.
            how = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            setattr(sys, name, os.fdopen(os.open(os.devnull, how), mode, encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def failed(error: OSError) -> int:
    """Say what cannot be used, if somebody may care, and return the exit code.

    Args:
        error: of a file that it names, or else of standard output.
    """
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        # What is left in it goes there when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    complain(f"{error.filename or 'standard output'} cannot be used: {reason(error)}")
    return os.EX_IOERR


def complain(*lines: str) -> None:
    """Write lines to standard error, if that can be written."""
    with contextlib.suppress(OSError):
        for line in lines:
            sys.stderr.write(f"keyturn: {plain(without_tokens(line))}\n")
        sys.stderr.flush()
