"""Folders that are opened once: what is done in one is done by its descriptor.

A path may lead elsewhere a moment later, if the folder or one above it is another user's.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from keyturn.config.ownership import hand_over, owner_for, safe_target

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open a folder, and close it in the end; give its descriptor.

    Root follows a link only if nobody else can lead it elsewhere.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is not a folder, or may not be opened.
    """
    fd = _open(folder)
    try:
        yield fd
    finally:
        os.close(fd)


def make_private_folder(folder: Path) -> None:
    """Create the folder, and those above it that are missing, with mode 0700."""
    if not folder.exists():
        make_private_folder(folder.parent)
        with contextlib.suppress(FileExistsError), opened(folder.parent) as parent:
            os.mkdir(folder.name, 0o700, dir_fd=parent)
            _hand_over_if_empty(parent, folder.name)
            os.fsync(parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder", str(folder))


def _open(folder: Path) -> int:
    if os.geteuid() != 0:
        return os.open(folder, _FLAGS)
    try:
        return os.open(folder, _FLAGS | os.O_NOFOLLOW)
    except NotADirectoryError:
        if not folder.is_symlink():
            raise
        return os.open(safe_target(folder), _FLAGS | os.O_NOFOLLOW)


def _hand_over_if_empty(parent: int, name: str) -> None:
    """Give a new folder to its owner, who might have put another one of root's in its place.

    An empty one is no loss: who owns the folder around it could remove it as well.
    """
    owner = owner_for(parent)
    if owner is None:
        return
    fd = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(fd) as entries:
            is_empty = next(entries, None) is None
        if is_empty:
            hand_over(fd, owner)
    finally:
        os.close(fd)
