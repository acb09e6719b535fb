"""Small files that only their owner may read: written whole or not at all, never followed.

Key ring, anchor and token file all go through here. What a file means is for its owner to
know; errors leave as `OSError`. Root leaves a file to whom it belongs: see `ownership`. What
changes a folder opens it once: see `folders`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from keyturn.config import folders
from keyturn.config.ownership import hand_over, owner_for
from keyturn.domain.secret import Secret

MODE = 0o600
_TEMP_SUFFIX = ".tmp"
_OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS


class LockTimeoutError(OSError):
    """Somebody else has held the lock for longer than the timeout."""


def check_path(path: Path) -> None:
    """Raise `OSError` if a text is no path at all: no file can have it."""
    try:
        is_path = b"\0" not in str(path).encode("utf-8")
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise OSError(
            errno.EILSEQ, "its path is not valid UTF-8, or holds a NUL: choose another one"
        )


@contextlib.contextmanager
def open_private(path: Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """Open a regular file that is there, and close it in the end; give its descriptor.

    Symbolic links are not followed, a pipe or a device is not waited for. A file of this user
    that is opened for writing is made 0600; root writes to no file that has a second name.

    Args:
        path: the file.
        flags: `os.O_RDONLY` or `os.O_RDWR`.
        folder: the descriptor of the folder that it is in, if that is open.

    Raises:
        FileNotFoundError: there is none.
        OSError: it may not be opened, is a link, or is not a regular file.
    """
    name = path if folder is None else path.name
    fd = os.open(name, flags | _OPEN_FLAGS, dir_fd=folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if flags != os.O_RDONLY and os.geteuid() == 0 and status.st_nlink > 1:
            message = "has another name, and may be another's: remove one of the two"
            raise PermissionError(errno.EACCES, message, str(path))
        if flags != os.O_RDONLY and status.st_mode & 0o077 and _may_narrow(status):
            os.fchmod(fd, MODE)
        yield fd
    finally:
        os.close(fd)


def read_private(path: Path, *, limit: int, refused: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        limit: how many bytes it may have.
        refused: the bits of a mode with which it is not read. None: one that others may read
            is made 0600, and not read if it cannot be.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: it may not be read, or others may read it.
        OSError: it is a link, is not a regular file, or is too large.
    """
    with open_private(path, os.O_RDONLY) as fd:
        return read_opened(fd, path, limit=limit, refused=refused)


def read_opened(fd: int, path: Path, *, limit: int, refused: int | None = None) -> bytes:
    """Read what `open_private` opened for reading: see `read_private`."""
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    if refused is None and mode & 0o077 and _may_narrow(status):
        os.fchmod(fd, MODE)
    elif mode & (0o007 if refused is None else refused):
        raise PermissionError(errno.EACCES, _readable_by_others(mode, status), str(path))
    if status.st_size > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit} bytes", str(path))
    return os.read(fd, status.st_size)  # a regular file is read whole by one call


def write_private(path: Path, content: bytes | Secret[bytes], *, mode: int = MODE) -> None:
    """Put `content` at `path` atomically, with mode 0600 if not told otherwise.

    A reader sees the old content or the new one, whole, whatever is killed when. Once this
    returns the content survives a power cut. On failure the old content stands.

    Args:
        path: the file.
        content: all of it.
        mode: its permissions.

    Raises:
        OSError: it cannot be written.
    """
    content = Secret.of(content)
    name, temp = path.name, f".{path.name}.{secrets.token_hex(8)}{_TEMP_SUFFIX}"
    with folders.opened(path.parent) as folder:
        fd = os.open(temp, _NEW_FLAGS, MODE, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb") as file:
                hand_over(fd, owner_for(folder, name))
                if mode != MODE:
                    os.fchmod(fd, mode)
                file.write(content.reveal())
                file.flush()
                os.fsync(fd)
            os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise
        os.fsync(folder)


def remove_private(path: Path) -> None:
    """Remove the file for good, if there is one.

    What is mounted by itself, and cannot be removed, is made empty.
    """
    with contextlib.suppress(FileNotFoundError), folders.opened(path.parent) as folder:
        try:
            os.unlink(path.name, dir_fd=folder)
            os.fsync(folder)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            with open_private(path, os.O_RDWR, folder) as fd:
                os.ftruncate(fd, 0)
                os.fsync(fd)


def sweep_temp_files(path: Path) -> None:
    """Remove what killed writers of `path` left behind; call it with the lock held."""
    with contextlib.suppress(FileNotFoundError), folders.opened(path.parent) as folder:
        for name in os.listdir(folder):  # noqa: PTH208 - of a descriptor
            if name.startswith(f".{path.name}.") and name.endswith(_TEMP_SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)


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
    folders.make_private_folder(path.parent)
    fd = _open_or_make(path.with_name(f".{path.name}.lock"))
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


def make_empty(path: Path) -> bool:
    """Make an empty file with mode 0600; return False if there is something already."""
    try:
        with folders.opened(path.parent) as folder:
            os.close(_make(path.name, folder))
    except FileExistsError:
        return False
    return True


def _make(name: str, folder: int) -> int:
    fd = os.open(name, _NEW_FLAGS, MODE, dir_fd=folder)
    hand_over(fd, owner_for(folder))
    return fd


def _open_or_make(path: Path) -> int:
    with folders.opened(path.parent) as folder:
        with contextlib.suppress(FileExistsError):
            return _make(path.name, folder)
        return os.open(path.name, os.O_RDWR | _OPEN_FLAGS, dir_fd=folder)


def _may_narrow(status: os.stat_result) -> bool:
    """Whether a file is ours alone: one with a second name may be a planted link to another's."""
    return os.geteuid() in (0, status.st_uid) and status.st_nlink == 1


def _readable_by_others(mode: int, status: os.stat_result) -> str:
    message = f"can be read by others (mode {mode:04o})"
    if status.st_nlink > 1:
        return f"{message} and has another name: make a copy of it that is yours alone"
    return f"{message}: run chmod 600 on it"


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
