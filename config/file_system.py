"""What a folder's file system can do: locks, shared memory and room for a SQLite log."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
from pathlib import Path

from keyturn.config.os_errors import reason

_NO_MAP = "its file system maps no shared memory, as FUSE and some network ones do not"


def problem_of(folder: Path) -> str | None:
    """Try in a file without a name what SQLite needs, and return what is wrong; None: nothing.

    SQLite tells some of it as "busy" or "I/O error" only.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fd = file.fileno()
            os.pwrite(fd, bytes(mmap.PAGESIZE), 0)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                mmap.mmap(fd, mmap.PAGESIZE).close()
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EINVAL, errno.EACCES):
                    return f"{_NO_MAP}; use a local disk"
                raise
    except PermissionError:  # it can be read here all the same
        return None
    except OSError as error:
        return None if error.errno == errno.EROFS else reason(error)
    return None
