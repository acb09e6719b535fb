"""Small files that only their owner may read: written whole or not at all, never followed.

Key ring, anchor and token file all go through here. What a file means is for its owner to
know; errors leave as `OSError`.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

MODE = 0o600
_TEMP_SUFFIX = ".tmp"
_OPEN_FLAGS = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LockTimeoutError(OSError):
    """Somebody else has held the lock for longer than the timeout."""


def make_private_folder(folder: Path) -> None:
    """Create the folder, and those above it that are missing, with mode 0700."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            _sync_folder(path.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


class WiderMode(enum.Enum):
    """What to do with a file that others can read too."""

    NARROW = "make it 0600"
    REFUSE = "raise PermissionError"
    REFUSE_OTHERS = "raise PermissionError, unless it is only its group"
    IGNORE = "read it all the same"


@contextlib.contextmanager
def open_private(path: Path, flags: int) -> Iterator[int]:
    """Open a regular file that is there, and close it in the end; give its descriptor.

    Symbolic links are not followed, a pipe or a device is not waited for. A file that is opened
    for writing is made 0600.

    Args:
        path: the file.
        flags: `os.O_RDONLY` or `os.O_RDWR`.

    Raises:
        FileNotFoundError: there is none.
        OSError: it may not be opened, is a link, or is not a regular file.
    """
    fd = os.open(path, flags | _OPEN_FLAGS)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if flags != os.O_RDONLY and mode & 0o077:
            os.fchmod(fd, MODE)
        yield fd
    finally:
        os.close(fd)


def read_private(path: Path, *, limit: int, wider_mode: WiderMode = WiderMode.NARROW) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: it may not be read, or others may read it and that is refused.
        OSError: it is a link, is not a regular file, or is too large.
    """
    with open_private(path, os.O_RDONLY) as fd:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        refused = {WiderMode.REFUSE: 0o077, WiderMode.REFUSE_OTHERS: 0o007}.get(wider_mode, 0)
        if mode & refused:
            message = f"can be read by others (mode {mode:04o}): run chmod 600 on it"
            raise PermissionError(errno.EACCES, message, str(path))
        if mode & 0o077 and wider_mode is WiderMode.NARROW:
            os.fchmod(fd, MODE)
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"is larger than {limit} bytes", str(path))
        return os.read(fd, status.st_size)  # a regular file is read whole by one call


def write_private(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    """Put `content` at `path` atomically, with mode 0600.

    A reader sees the old content or the new one, whole, whatever is killed when. Once this
    returns the content survives a power cut. On failure the old content stands.

    Args:
        path: the file.
        content: all of it.
        exclusive: only make a new file. Needs a file system with hard links.

    Raises:
        FileExistsError: there is one already, and `exclusive` was asked for.
        OSError: it cannot be written.
    """
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMP_SUFFIX}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, MODE)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        if exclusive:
            os.link(temp, path)
            os.unlink(temp)
        elif path.is_dir():  # rename(2) says "is a directory" for some, "not empty" for others
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        else:
            os.rename(temp, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temp)
        raise
    _sync_folder(path.parent)


def remove_private(path: Path) -> bool:
    """Remove the file for good; return False if there was none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    _sync_folder(path.parent)
    return True


def sweep_temp_files(path: Path) -> int:
    """Remove what killed writers of `path` left behind; call it with the lock held."""
    swept = 0
    prefix = f".{path.name}."
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(_TEMP_SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)
                    swept += 1
    return swept


@contextlib.contextmanager
def locked(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold the writers' lock of `path`: flock(2) on a file beside it that is never removed.

    The folder is made if it is missing.

    Args:
        path: the file to write.
        timeout: seconds to wait for another writer.

    Raises:
        LockTimeoutError: another writer held it all that time.
    """
    lock_path = path.with_name(f".{path.name}.lock")
    flags = os.O_RDWR | os.O_CREAT | _OPEN_FLAGS
    try:
        fd = os.open(lock_path, flags, MODE)
    except FileNotFoundError:
        make_private_folder(path.parent)
        fd = os.open(lock_path, flags, MODE)
    try:
        with locked_fd(fd, path, timeout=timeout):
            yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked_fd(fd: int, path: Path, *, timeout: float) -> Iterator[None]:
    """Hold flock(2) on an open file.

    Args:
        fd: its descriptor.
        path: what an error names.
        timeout: seconds to wait for another holder.

    Raises:
        LockTimeoutError: another one held it all that time.
    """
    deadline = time.monotonic() + timeout
    while not _try_lock(fd):
        if time.monotonic() > deadline:
            message = f"is locked by another process for more than {timeout:g} s"
            raise LockTimeoutError(errno.EAGAIN, message, str(path))
        time.sleep(0.002)
    try:
        yield
    finally:
        # Closing would not do: a child forked meanwhile has the same open file.
        fcntl.flock(fd, fcntl.LOCK_UN)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
