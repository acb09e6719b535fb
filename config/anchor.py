"""The anchor: the last position and digest that this node has seen, kept apart from the log.

A log that ends before its anchor, or differs at it, is an old copy: revoked tokens would come
back to life in it. Each manager has an entry; it repeats the newest event's own signature, so
an auditor can check it with the node id alone. An entry only ever moves forward, also when
several processes share the folder, unless a roll-back is accepted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import msgspec

from keyturn.config import files
from keyturn.domain import provenance
from keyturn.domain.errors import AnchorError
from keyturn.domain.session_keys import manager_id

FORMAT = "keyturn anchor"
VERSION = 1
_LIMIT = 16 * 1024 * 1024  # bytes: some 60,000 managers
_LOCK_TIMEOUT = 5.0


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest event of a manager: position (from 1), digest, and the event's signature.

    `purged`: the whole history was removed behind that event, which was its last.
    """

    position: int
    digest: str
    signature: str
    purged: bool = False


class _File(msgspec.Struct, frozen=True):
    format: str
    version: int
    node_id: str
    managers: dict[str, Mark]


class Anchor:
    """The anchor of one node, in one file of mode 0600."""

    def __init__(self, path: str | Path, node_id: str) -> None:
        self._path = Path(path)
        self._node_id = node_id

    def __repr__(self) -> str:
        return f"<Anchor {self._path}>"

    @property
    def path(self) -> Path:
        return self._path

    @staticmethod
    def is_blank(path: Path) -> bool:
        """Whether there is no anchor at `path`, or one that has seen nothing."""
        try:
            content = files.read_private(path, limit=_LIMIT)
            return not msgspec.json.decode(content, type=_File).managers
        except FileNotFoundError:
            return True
        except (OSError, ValueError, RecursionError):
            return False

    def exists(self) -> bool:
        """Whether this node has an anchor at all, for any manager."""
        return self._path.exists()

    def create(self) -> None:
        """Make an anchor that has seen nothing, unless there is one that has seen something."""
        if self.is_blank(self._path):
            self._update(lambda entries: True, discard_damaged=True)

    def read(self, manager: str) -> Mark | None:
        """Return where the log of this manager was last seen to end.

        Raises:
            AnchorError: the file is damaged, is another node's, or cannot be read.
        """
        mark = self._read().get(manager)
        if mark is not None and not provenance.is_signed(
            self._node_id, manager_id(manager), mark.position, mark.digest, mark.signature
        ):
            raise self._damaged(f"its entry for manager {manager!r} was altered")
        return mark

    def marks(self) -> dict[str, Mark]:
        """Return where each history must reach: all that were seen and not purged.

        Raises: what `read` raises.
        """
        marks = {manager: self.read(manager) for manager in self._read()}
        return {
            name: mark for name, mark in marks.items() if mark is not None and not mark.purged
        }

    def advance(self, manager: str, mark: Mark) -> None:
        """Move forward to `mark`; a mark that is not ahead changes nothing.

        Raises:
            AnchorError: the file cannot be written.
        """

        def forward(entries: dict[str, Mark]) -> bool:
            old = entries.get(manager)
            if old is not None and old.position >= mark.position:
                return False
            entries[manager] = mark
            return True

        self._update(forward)

    def replace(self, manager: str, mark: Mark) -> None:
        """Move to `mark` wherever that is: a roll-back was accepted, or a history purged."""

        def anywhere(entries: dict[str, Mark]) -> bool:
            entries[manager] = mark
            return True

        self._update(anywhere, discard_damaged=True)

    def _update(
        self, change: Callable[[dict[str, Mark]], bool], *, discard_damaged: bool = False
    ) -> None:
        try:
            with files.locked(self._path, timeout=_LOCK_TIMEOUT):
                try:
                    entries = self._read()
                except AnchorError:
                    if not discard_damaged:
                        raise
                    entries = {}
                if change(entries):
                    file = _File(FORMAT, VERSION, self._node_id, entries)
                    content = msgspec.json.format(msgspec.json.encode(file)) + b"\n"
                    if len(content) > _LIMIT:  # it could never be read again
                        raise OSError(errno.EFBIG, "it has no room for another manager")
                    self._write(content)
        except OSError as error:
            message = f"the anchor {self._path} cannot be written: {error.strerror}"
            raise AnchorError(message, path=str(self._path)) from error

    def _write(self, content: bytes) -> None:
        # An anchor of before a power cut is as good: it is only further behind. So mostly it is
        # written over, unsynced, which costs a reset next to nothing.
        if not files.overwrite_private(self._path, content):
            files.sweep_temp_files(self._path)
            files.write_private(self._path, content, sync_folder=False)

    def _read(self) -> dict[str, Mark]:
        try:
            content = files.read_private(self._path, limit=_LIMIT)
        except FileNotFoundError:
            return {}
        except OSError as error:
            message = f"the anchor {self._path} cannot be read: {error.strerror}"
            raise AnchorError(message, path=str(self._path)) from error
        try:
            file = msgspec.json.decode(content, type=_File)
        except (ValueError, RecursionError):
            raise self._damaged("it is not whole") from None
        if file.format != FORMAT or file.version != VERSION:
            raise self._damaged("it is not an anchor that this Keyturn can read")
        if file.node_id != self._node_id:
            raise self._damaged("it is the anchor of another node")
        return file.managers

    def _damaged(self, what: str) -> AnchorError:
        message = (
            f"the anchor {self._path} is of no use: {what}; put back the right one, or accept "
            "the log as it is with accept_rollback=True (--accept-rollback)"
        )
        return AnchorError(message, path=str(self._path))
