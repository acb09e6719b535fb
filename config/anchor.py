"""The anchor: the last position and digest that this node has seen, kept apart from the log.

A log that ends before its anchor, or differs at it, is an old copy: revoked tokens would come
back to life in it. Each manager has an entry; it repeats the newest event's own signature, so
an auditor can check it with the node id alone. An entry only ever moves forward, also when
several processes share the folder, unless a rollback is accepted.

The anchor `anchor.json` is the folder `anchor.json.d`, with a file for each manager, named by
the hex of the manager's id. A file is 512 bytes: a line of JSON, filled up with spaces. That is
one sector of a disk, so a change writes over it in place, unsynced, and no power cut can tear
it. After a power cut the older entry is as good: it is only further behind.

A file `anchor.json` is the whole anchor of version 1. It is read, never written: its entry
counts for a manager that has no file of its own yet.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import msgspec

from keyturn.config import files, folders
from keyturn.config.os_errors import reason
from keyturn.domain import chain
from keyturn.domain.errors import AnchorError
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import manager_id

FORMAT = "keyturn anchor"
VERSION = 2
SIZE = 512
"""Bytes of an entry's file."""
LOCK_TIMEOUT = 0.2
"""Seconds that a change waits at most for another process."""
_LIMIT_1 = 16 * 1024 * 1024  # bytes that an anchor of version 1 could have
_ENTRY_NAME = re.compile(r"[0-9a-f]{32}\.json")


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the file of a manager holds.

    The manager's name is left out where it does not fit: about 160 bytes of UTF-8 do, a name
    may have 400. Its id is the name of the file, and the mark's signature covers that.
    """

    format: str
    version: int
    node_id: str
    mark: Mark
    manager: str | None = None


class _Version1(msgspec.Struct, frozen=True):
    format: str
    version: int
    node_id: str
    managers: dict[str, Mark]


def folder_of(path: Path) -> Path:
    """Return the folder in which the entries of the anchor `path` lie."""
    return Path(f"{path}.d")


class Anchor:
    """The anchor of one node. Safe to use from any thread and any number of processes."""

    def __init__(self, path: str | Path, node_id: str) -> None:
        self._path = Path(path)
        self._folder = folder_of(self._path)
        self._node_id = node_id

    def __repr__(self) -> str:
        return f"<Anchor {self._path}>"

    @property
    def path(self) -> Path:
        return self._path

    @staticmethod
    def is_blank(path: Path) -> bool:
        """Whether there is no anchor at `path`, or one that has no entry for any manager.

        Raises:
            AnchorError: that cannot be told.
        """
        with _explaining(path, "read"):
            try:
                return not _places_in(folder_of(path)) and not _read_version_1(path).managers
            except (ValueError, RecursionError):
                return False

    def exists(self) -> bool:
        """Whether this node has an anchor at all, for any manager.

        Raises:
            AnchorError: that cannot be told.
        """
        with _explaining(self._path, "read"):
            return self._folder.exists() or self._path.exists()

    def create(self) -> None:
        """Make an anchor without entries, unless there is one.

        Raises:
            AnchorError: its folder cannot be made.
        """
        with _explaining(self._folder, "written"):
            folders.make_private_folder(self._folder)

    def read(self, manager: str) -> Mark | None:
        """Return where the log of this manager was last seen to end.

        Raises:
            AnchorError: the entry is damaged, is another node's, or cannot be read.
        """
        entry = self._signed(self._place(manager))
        if entry is not None:
            return entry.mark
        mark = self._version_1().get(manager)
        if mark is not None:
            self._check_signature(self._path, manager_id(manager), mark)
        return mark

    def peek(self, manager: str) -> int:
        """Return the position of the entry as it lies there; 0 if there is none, or no good one.

        This is quick, and a hint: it checks no signature, and beside a write it may see half of
        each. A reader that would refuse a log for it calls `read` first.
        """
        with contextlib.suppress(AnchorError):
            entry = self._entry(self._place(manager))
            mark = entry.mark if entry is not None else self._version_1().get(manager)
            return 0 if mark is None else mark.position
        return 0

    def marks(self) -> dict[str, Mark]:
        """Return all entries, by the manager's name, or by its id in hex where that was left out.

        Raises:
            AnchorError: one of them is damaged or another node's, or they cannot be read.
        """
        with _explaining(self._folder, "read"):
            places = _places_in(self._folder)
        marks = {}
        for place in places:
            entry = self._signed(place)
            if entry is not None:  # it may have been removed meanwhile
                marks[entry.manager or place.stem] = entry.mark
        for manager, mark in self._version_1().items():
            id_ = manager_id(manager)
            if manager not in marks and id_.hex not in marks:
                self._check_signature(self._path, id_, mark)
                marks[manager] = mark
        return marks

    def advance(self, manager: str, mark: Mark) -> None:
        """Move forward to `mark`; a mark that is not ahead changes nothing.

        Args:
            manager: whose entry.
            mark: where the history was seen to end.

        Raises:
            AnchorError: the entry is damaged, cannot be written, or was locked by another
                process for 0.2 seconds.
        """
        self._move(manager, mark, anywhere=False)

    def replace(self, manager: str, mark: Mark) -> None:
        """Move to `mark` wherever that is, over a damaged entry too: a rollback was accepted.

        Args:
            manager: whose entry.
            mark: where the history ends from now on.

        Raises:
            AnchorError: the entry cannot be written, or was locked by another process for 0.2
                seconds.
        """
        self._move(manager, mark, anywhere=True)

    def _move(self, manager: str, mark: Mark, *, anywhere: bool) -> None:
        place, content = self._place(manager), self._encode(manager, mark)
        with _explaining(place, "written"):
            if not os.path.lexists(place):
                with files.locked(self._folder / "entries", timeout=LOCK_TIMEOUT):
                    if not os.path.lexists(place):  # no other process made it meanwhile
                        old = None if anywhere else self._version_1().get(manager)
                        if old is None or old.position <= mark.position:
                            files.sweep_temp_files(place)
                            files.write_private(place, content)
                        return
            with (
                folders.opened(self._folder) as folder,
                files.open_private(place, os.O_RDWR, folder) as fd,
                files.locked_fd(fd, place, timeout=LOCK_TIMEOUT),
            ):
                found = os.pread(fd, SIZE + 1, 0)
                if anywhere or self._decode(place, found).mark.position < mark.position:
                    os.pwrite(fd, content, 0)
                    if len(found) != SIZE:  # it was damaged
                        os.ftruncate(fd, SIZE)

    def _encode(self, manager: str, mark: Mark) -> bytes:
        entry = _Entry(FORMAT, VERSION, self._node_id, mark, manager)
        line = msgspec.json.encode(entry)
        if len(line) >= SIZE:
            line = msgspec.json.encode(msgspec.structs.replace(entry, manager=None))
        return line.ljust(SIZE - 1) + b"\n"

    def _place(self, manager: str) -> Path:
        return self._folder / f"{manager_id(manager).hex}.json"

    def _signed(self, place: Path) -> _Entry | None:
        """Return the entry of one manager, checked; None: there is none."""
        try:
            return self._entry(place, check=True)
        except AnchorError:
            # A read beside a write may see half of each: once more, with writers locked out.
            return self._entry(place, check=True, lock=True)

    def _entry(self, place: Path, *, check: bool = False, lock: bool = False) -> _Entry | None:
        with _explaining(place, "read"):
            try:
                with files.open_private(place, os.O_RDONLY) as fd:
                    locked = files.locked_fd(fd, place, timeout=LOCK_TIMEOUT)
                    with locked if lock else contextlib.nullcontext():
                        content = os.read(fd, SIZE + 1)
            except FileNotFoundError:
                return None
        entry = self._decode(place, content)
        if check:
            self._check_signature(place, UUID(place.stem), entry.mark)
        return entry

    def _decode(self, place: Path, content: bytes) -> _Entry:
        if len(content) != SIZE:
            raise _damaged(place, f"it is not of {SIZE} bytes")
        with _explaining(place, "read"):
            entry = msgspec.json.decode(content, type=_Entry)
        self._check_origin(place, entry, VERSION)
        if entry.manager is not None and manager_id(entry.manager).hex != place.stem:
            raise _damaged(place, f"it is the entry of another manager, {entry.manager!r}")
        return entry

    def _version_1(self) -> dict[str, Mark]:
        with _explaining(self._path, "read"):
            file = _read_version_1(self._path)
        if file.managers:
            self._check_origin(self._path, file, 1)
        return file.managers

    def _check_origin(self, path: Path, file: _Entry | _Version1, version: int) -> None:
        if (file.format, file.version) != (FORMAT, version):
            raise _damaged(path, "it is not an anchor that this Keyturn can read")
        if file.node_id != self._node_id:
            raise _damaged(path, "it is the anchor of another node")

    def _check_signature(self, path: Path, id_: UUID, mark: Mark) -> None:
        if not chain.is_signed(self._node_id, id_, mark.position, mark.digest, mark.signature):
            raise _damaged(path, "an entry was altered")


def _places_in(folder: Path) -> list[Path]:
    """Return the files of the managers in the folder of an anchor, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(file for file in folder.iterdir() if _ENTRY_NAME.fullmatch(file.name))
    return []


def _read_version_1(path: Path) -> _Version1:
    """Return the anchor of version 1; one without managers if there is none."""
    with contextlib.suppress(FileNotFoundError):
        content = files.read_private(path, limit=_LIMIT_1, refused=0)
        return msgspec.json.decode(content, type=_Version1)
    return _Version1(FORMAT, 1, "", {})


@contextlib.contextmanager
def _explaining(path: Path, done: str) -> Iterator[None]:
    """Raise an `AnchorError` for what goes wrong with a file."""
    try:
        yield
    except OSError as error:
        message = f"the anchor {path} cannot be {done}: {reason(error)}"
        raise AnchorError(message, path=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is not whole") from error


def _damaged(path: Path, what: str) -> AnchorError:
    message = (
        f"the anchor {path} is of no use: {what}; put back the right one, or accept the log as "
        "it is with accept_rollback=True (--accept-rollback)"
    )
    return AnchorError(message, path=str(path))
