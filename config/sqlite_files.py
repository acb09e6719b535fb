"""The files of a SQLite log: private, still the ones that were opened, and changed or not.

In WAL mode all connections, of all processes, share the WAL-index: the file `…-shm`, mapped
into memory. Its header is written by each commit before that commit is acknowledged, with a
change counter and checksums in it (https://sqlite.org/walformat.html, section 2.1). So its
bytes differ from those seen before if anything was committed since. They are compared and
never interpreted.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from keyturn.config import files, folders
from keyturn.config.os_errors import reason
from keyturn.domain.errors import LogUnavailableError, NotAKeyturnLogError

Inode = tuple[int, int]
"""The device and number of a file."""

_HEADER_BYTES = 96
_WAL_INDEX_VERSION = 3007000


class _Map(NamedTuple):
    fd: int
    mapped: mmap.mmap


# Closing a file drops all POSIX locks that the process holds on it, whichever descriptor they
# were taken through: SQLite's locks too. So a database's file is made, and that descriptor
# closed, before any other thread can have one. And a map, once made, stays until SQLite has
# removed the file, which it does when the last connection of all closes; or the process is a
# forked child, which has no locks yet, and may close all descriptors to become a daemon.
_lock = threading.RLock()
_maps: dict[Inode, _Map] = {}
_leaked: list[_Map] = []


def _after_in_child() -> None:
    for number, found in _maps.items():
        if _is_still(found.fd, number):
            os.close(found.fd)
        else:  # somebody closed it: the number may be that of another file by now
            _leaked.append(found)
    _maps.clear()
    _lock.release()


# So no other thread holds it when the process forks.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_in_child
)


def files_of(path: Path) -> tuple[Path, Path, Path]:
    """Return the paths of a database, its WAL and its WAL-index."""
    return path, Path(f"{path}-wal"), Path(f"{path}-shm")


def inode(path: Path) -> Inode | None:
    """Return which file lies at a path now."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


# --- changes ---


def header_reader(path: Path) -> Callable[[], object]:
    """Return a function that reads the header of a WAL-index.

    Where it cannot be mapped, or its format is an unknown one, each value is like no other:
    then the log is read.

    Args:
        path: the file `…-shm`, which a connection keeps in place.
    """
    try:
        mapped = _map(path)
    except (OSError, ValueError):
        return object
    header = memoryview(mapped).tobytes
    is_known = int.from_bytes(header()[:4], sys.byteorder) == _WAL_INDEX_VERSION
    return header if is_known else object


def forget_removed_files() -> None:
    """Give up the maps of files that SQLite has removed; they keep their disk busy."""
    with _lock:
        for number, found in list(_maps.items()):
            if not _is_still(found.fd, number):
                _leaked.append(_maps.pop(number))
            elif os.fstat(found.fd).st_nlink == 0:
                del _maps[number]  # unmapped with its last reader
                os.close(found.fd)


def descriptors_are_closed() -> bool:
    """Whether somebody has closed our descriptors, as a daemon that closes all does.

    Then those of SQLite are closed too, and their numbers may be those of other files by now.
    """
    with _lock:
        return not all(_is_still(found.fd, number) for number, found in _maps.items())


def _is_still(fd: int, number: Inode) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == number


def _map(path: Path) -> mmap.mmap:
    with _lock:
        forget_removed_files()
        status = os.stat(path, follow_symlinks=False)
        number = status.st_dev, status.st_ino
        if number not in _maps:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            _maps[number] = _Map(fd, mmap.mmap(fd, _HEADER_BYTES, access=mmap.ACCESS_READ))
        return _maps[number].mapped


# --- privacy ---


def make_file(path: Path) -> None:
    """Make the database's file before SQLite does, which would let others read it.

    A file that exists is not opened: that would drop the locks of a connection to it.

    Raises:
        NotAKeyturnLogError: something else than a file is there; links are not followed.
        LogUnavailableError: it cannot be made.
    """
    try:
        files.check_path(path)
        folders.make_private_folder(path.parent)
        with _lock:
            if not os.path.lexists(path):
                files.make_empty(path)
        for file in files_of(path):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(file).st_mode):
                    message = f"{file} is not a regular file: name the database itself"
                    raise NotAKeyturnLogError(message, location=str(path))
    except OSError as error:
        message = f"the log {path} cannot be opened: {reason(error)}"
        raise LogUnavailableError(message, location=str(path), recorded=False) from error


def make_private(path: Path) -> None:
    """Take away from others what they may do with the database's files.

    A link, or a file with a second name, may be planted and another's: its mode is left alone.

    Raises:
        LogUnavailableError: this user may not do so.
    """
    for file in files_of(path):
        with contextlib.suppress(FileNotFoundError):
            _make_private(file)


def _make_private(file: Path) -> None:
    status = os.lstat(file)
    if not _is_wider(status):
        return
    try:
        if sys.platform == "linux":
            # Closing a descriptor of this kind drops no lock of SQLite.
            fd = os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _is_wider(os.fstat(fd)):
                    os.chmod(f"/proc/self/fd/{fd}", files.MODE)
            finally:
                os.close(fd)
        else:
            os.chmod(file, files.MODE, follow_symlinks=False)
    except PermissionError as error:
        mode = stat.S_IMODE(status.st_mode)
        raise LogUnavailableError(
            f"{file} can be read by others (mode {mode:04o}), and this user may not "
            "change that: have its owner run chmod 600 on it"
        ) from error


def _is_wider(status: os.stat_result) -> bool:
    is_only_name = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    return is_only_name and bool(status.st_mode & 0o077)


def can_be_written(path: Path) -> bool:
    """Whether this user may write to the database and make files beside it."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(p, os.W_OK, effective_ids=effective) for p in (path, path.parent))


def displaced(path: Path) -> LogUnavailableError:
    """Return the error for a log whose file is not there any more, or is another one."""
    message = (
        f"the log {path} was removed or replaced while it was open: put the file back, or "
        "open the log again"
    )
    try:
        os.stat(path)
    except PermissionError as error:
        message = (
            f"the log {path} is open, but this user may not look at it any more "
            f"({error.strerror}): give the permission back"
        )
    except OSError:
        pass  # it was removed
    return LogUnavailableError(message, location=str(path), recorded=False)
