"""A file with a secret that others give this process: a password, or the secrets of clients.

It may be a link, and root's, with a group that may read it, as the secrets of containers are.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from keyturn.config import files
from keyturn.config.os_errors import reason
from keyturn.config.ownership import is_trusted, safe_target
from keyturn.domain.errors import SettingsError
from keyturn.domain.secret import Secret

_LIMIT = 4096
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_password_file(path: Path, setting: str = "password_file") -> Secret[str]:
    """Return the password that a file holds, without a byte order mark and one line end.

    It may belong to anybody, as a file that Docker Compose mounts does: whoever gives this
    process its password may choose it. A file that everybody can read is refused.

    Args:
        path: the file.
        setting: what named it, for the error.

    Raises:
        SettingsError: it cannot be read, or everybody can, or it is empty.
    """
    place = Path(os.path.realpath(path))
    try:
        content = Secret(files.read_private(place, limit=_LIMIT, refused=0o007))
    except OSError as error:
        raise _unusable(path, reason(error), setting) from error
    try:
        text = Secret(content.reveal().decode("utf-8-sig"))
    except UnicodeDecodeError:  # which holds the password
        raise _unusable(path, "is not UTF-8", setting) from None
    password = Secret(text.reveal().removesuffix("\n").removesuffix("\r"))
    if not password.reveal():
        message = f"the password file {path} is empty: write the password to it"
        raise SettingsError(message, key=setting, source=str(path))
    return password


def _unusable(path: Path, why: str, setting: str) -> SettingsError:
    message = f"the password file {path} cannot be used: {why}"
    return SettingsError(message, key=setting, source=str(path))


def read_trusted_file(path: Path) -> tuple[bytes, int]:
    """Return the content and the mode of a file that only root and this user can write.

    Raises:
        PermissionError: somebody else can, or can lead a link elsewhere.
        OSError: it cannot be read.
    """
    place = safe_target(path) if path.is_symlink() else path
    with files.open_private(place, os.O_RDONLY) as fd:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not is_trusted(status.st_uid):
            message = f"it belongs to another user (uid {status.st_uid}): make it yours or root's"
            raise PermissionError(errno.EACCES, message, str(path))
        if mode & _OTHERS_WRITE:
            message = f"others can write to it (mode {mode:04o}): run chmod 600 on it"
            raise PermissionError(errno.EACCES, message, str(path))
        content = files.read_opened(fd, place, limit=_LIMIT, refused=0)
        return content, mode
