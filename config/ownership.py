"""Whose files are: what root makes in a service's folder, and which links may be followed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_MOST_LINKS = 40  # as Linux has it


def owner_for(folder: int, name: str | None = None) -> tuple[int, int] | None:
    """Return the user and group that a file is to belong to; None: those of this process.

    Only root has a choice: a command under sudo leaves the service its files. What is replaced
    keeps its owner, unless all may write to the folder; what is new gets its folder's.

    Args:
        folder: the descriptor of the folder that it is in.
        name: what is replaced there, if anything is.
    """
    if os.geteuid() != 0:
        return None
    status = os.fstat(folder)
    if name is not None and not status.st_mode & stat.S_IWOTH:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return status.st_uid, status.st_gid


def hand_over(fd: int, owner: tuple[int, int] | None) -> None:
    """Give an open file to its owner; where that is not possible it stays root's."""
    if owner is not None:
        with contextlib.suppress(OSError):
            os.fchown(fd, *owner)


def is_trusted(user: int) -> bool:
    """Whether what belongs to a user cannot be used against this process."""
    return user in (0, os.geteuid())


def refuse_unsafe_folder(folder: Path) -> None:
    """Raise `PermissionError` if other users could put another file there in place of ours.

    Root may work in the folder of another user, if nobody can put one in its place. A group is
    trusted with what it may write to, and so is a folder with the sticky bit, such as /tmp.
    """
    status = os.stat(folder)
    _refuse_if_writable(folder, status)
    if is_trusted(status.st_uid):
        return
    if os.geteuid() != 0:
        message = f"its folder belongs to another user (uid {status.st_uid}): choose another one"
        raise PermissionError(errno.EACCES, message, str(folder))
    for above in {*folder.parents, *folder.resolve().parents}:
        _refuse_if_writable(above, os.stat(above))


def safe_target(path: Path) -> Path:
    """Return the file that a link leads to, if nobody else can lead it elsewhere.

    Each link, and each folder on the way to it and to the file, must belong to root or to this
    user and not be writable by others. So a Secret that Kubernetes mounts can be used.

    Raises:
        PermissionError: it is not so; the text says what of it.
        FileNotFoundError: it leads nowhere.
        OSError: it leads in a circle.
    """
    found, todo, links = Path("/"), [*path.absolute().parts[1:]], 0
    while todo:
        part = todo.pop(0)
        step = found.parent if part == ".." else found / part
        status = os.lstat(step)
        if not is_trusted(status.st_uid):
            message = f"is a link, and {step} belongs to another user (uid {status.st_uid})"
            raise PermissionError(errno.EACCES, message, str(path))
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, "is a link in a circle", str(path))
            found, todo = Path("/"), [*(found / step.readlink()).parts[1:], *todo]
            continue
        if stat.S_ISDIR(status.st_mode):
            _refuse_if_writable(step, status)
        found = step
    return found


def _refuse_if_writable(folder: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        message = (
            f"others may write to its folder {folder} (mode {mode:04o}): run chmod o-w on that, "
            "or put it into a folder of its own"
        )
        raise PermissionError(errno.EACCES, message, str(folder))
