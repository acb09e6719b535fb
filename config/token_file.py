"""The client's token file: read whole, written whole, private, by many processes at once.

Readers take no lock: a write is a rename. Writers take one for the moment of compare and
rename.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from keyturn.config import files, folders
from keyturn.config.os_errors import reason
from keyturn.config.ownership import is_trusted, refuse_unsafe_folder
from keyturn.domain.errors import TokenFileError, TokenFileLockedError
from keyturn.domain.tokens import MAX_TOKEN_LENGTH, SessionToken

LOCK_TIMEOUT = 10.0
"""Seconds that a writer waits for another one."""


_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN_LENGTH}}}")


class Unconditionally(enum.Enum):
    """The default of `replacing`: whatever the file holds."""

    ANY_TOKEN = "any token"  # noqa: S105


ANY_TOKEN = Unconditionally.ANY_TOKEN


class TokenFile:
    """One token file. Safe to use from any thread and any process."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        try:
            files.check_path(self._path)
        except OSError as error:
            self._path = Path(ascii(str(path)))  # in an error that can be printed
            raise self._error(error, "used") from error

    def __repr__(self) -> str:
        return f"<TokenFile {self._path}>"

    def prepare(self) -> None:
        """Make the folder (0700) if it is missing, and sweep up after killed writers.

        Who only reads needs neither the lock nor a place that can be written: then nothing is
        swept.
        """
        with self._explaining("used"):
            folders.make_private_folder(self._path.parent)
            self._check_place()
        with contextlib.suppress(OSError), files.locked(self._path, timeout=0):
            files.sweep_temp_files(self._path)

    def read(self) -> SessionToken | None:
        """Return the token, without white space around it; None if there is none.

        Raises:
            TokenFileError: the file is not one, cannot be read, or holds no token.
        """
        with self._explaining("read"):
            try:
                refuse_unsafe_folder(self._path.parent)
                with files.open_private(self._path, os.O_RDONLY) as fd:
                    self._refuse_of_others(os.fstat(fd))
                    content = files.read_opened(fd, self._path, limit=MAX_TOKEN_LENGTH + 1024)
            except (FileNotFoundError, NotADirectoryError):
                return None
        token = content.strip().decode("latin-1")
        if token and not _TOKEN.fullmatch(token):
            message = f"the token file {self._path} does not hold a token: write or clear it"
            raise TokenFileError(message, path=str(self._path))
        return token or None

    def write(
        self,
        token: SessionToken,
        replacing: SessionToken | None | Unconditionally = ANY_TOKEN,
    ) -> bool:
        """Write the token, and return whether it was: see `WriteToken`.

        Raises:
            TokenFileError: it cannot be written; the previous token stands.
            TokenFileLockedError: another writer kept the lock for too long.
        """
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            message = "a session token is printable ASCII without spaces, of at most 8 KiB"
            raise TokenFileError(f"{message}: nothing was written", path=str(self._path))
        with self._writing():
            if replacing is not ANY_TOKEN and self.read() != replacing:
                return False
            files.write_private(self._path, token.encode("ascii") + b"\n")
        return True

    def clear(self) -> None:
        """Remove the file, if there is one."""
        with self._writing():
            files.remove_private(self._path)

    def _check_place(self) -> None:
        """Refuse what other users planted, or could put in the place of the token.

        A folder, a pipe or a link may be somebody's: it is not renamed over or removed.
        """
        refuse_unsafe_folder(self._path.parent)
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            message = "it is a symbolic link, a folder or something else that is not a file"
            raise OSError(errno.EINVAL, message, str(self._path))
        self._refuse_of_others(status)

    def _refuse_of_others(self, status: os.stat_result) -> None:
        if is_trusted(status.st_uid):
            return
        # Root reads what a service keeps in its own folder.
        if os.geteuid() != 0 or status.st_uid != os.stat(self._path.parent).st_uid:
            message = f"it belongs to another user (uid {status.st_uid}): remove it"
            raise PermissionError(errno.EACCES, message, str(self._path))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._explaining("written"), files.locked(self._path, timeout=LOCK_TIMEOUT):
            self._check_place()
            yield

    @contextlib.contextmanager
    def _explaining(self, done: str) -> Iterator[None]:
        try:
            yield
        except files.LockTimeoutError as error:
            message = f"the token file {self._path} {error.strerror}: try again"
            raise TokenFileLockedError(message, path=str(self._path)) from error
        except OSError as error:
            raise self._error(error, done) from error

    def _error(self, error: OSError, done: str) -> TokenFileError:
        message = f"the token file {self._path} cannot be {done}: {reason(error)}"
        return TokenFileError(message, path=str(self._path))
