"""The anchor: the last position and digest that this node has seen, kept apart from the log.

A log that ends before its anchor, or differs at it, is an old copy: revoked tokens would come
back to life in it. Each manager has an entry, signed by the key ring, so that an auditor can
check it without the password. An entry only ever moves forward, also when several processes
share the folder, unless a roll-back is accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from keyturn.domain import private_files, provenance
from keyturn.domain.errors import AnchorError, NodeIdError
from keyturn.domain.key_ring import KeyRingLike, is_signed_by

FORMAT = "keyturn anchor"
VERSION = 1
_LIMIT = 4 * 1024 * 1024
_LOCK_TIMEOUT = 5.0
_SIGNATURE_PREFIX = b"keyturn anchor v1\0"


class Mark(msgspec.Struct, frozen=True):
    """The place of an event in the history of one manager: position (from 1) and digest."""

    position: int
    digest: str


class _Entry(msgspec.Struct, frozen=True):
    position: int
    digest: str
    signature: str


class _File(msgspec.Struct, frozen=True):
    format: str
    version: int
    node_id: str
    managers: dict[str, _Entry]


class Anchor:
    """The anchor of one node, in one file of mode 0600."""

    def __init__(self, path: Path, key_ring: KeyRingLike) -> None:
        self._path = path
        self._key_ring = key_ring

    def __repr__(self) -> str:
        return f"<Anchor {self._path}>"

    @property
    def path(self) -> Path:
        return self._path

    @staticmethod
    def is_blank(path: Path) -> bool:
        """Whether there is no anchor at `path`, or one that has seen nothing."""
        try:
            content = private_files.read_private(path, limit=_LIMIT)
            return not msgspec.json.decode(content, type=_File).managers
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
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
        entry = self._read().get(manager)
        return None if entry is None else Mark(entry.position, entry.digest)

    def advance(self, manager: str, mark: Mark) -> None:
        """Move forward to `mark`; a mark that is not ahead changes nothing.

        Raises:
            AnchorError: the file cannot be written.
        """

        def forward(entries: dict[str, _Entry]) -> bool:
            old = entries.get(manager)
            if old is not None and old.position >= mark.position:
                return False
            entries[manager] = self._entry(manager, mark)
            return True

        self._update(forward)

    def replace(self, manager: str, mark: Mark) -> None:
        """Move to `mark` wherever that is: an operator accepted a roll-back."""

        def anywhere(entries: dict[str, _Entry]) -> bool:
            entries[manager] = self._entry(manager, mark)
            return True

        self._update(anywhere, discard_damaged=True)

    def forget(self, manager: str) -> None:
        """Remove the entry of a manager whose history was purged."""
        self._update(lambda entries: entries.pop(manager, None) is not None)

    def _update(
        self, change: Callable[[dict[str, _Entry]], bool], *, discard_damaged: bool = False
    ) -> None:
        try:
            private_files.make_private_folder(self._path.parent)
            with private_files.locked(self._path, timeout=_LOCK_TIMEOUT):
                private_files.sweep_temp_files(self._path)
                try:
                    entries = self._read()
                except AnchorError:
                    if not discard_damaged:
                        raise
                    entries = {}
                if change(entries):
                    file = _File(FORMAT, VERSION, self._key_ring.node_id, entries)
                    content = msgspec.json.format(msgspec.json.encode(file)) + b"\n"
                    # An anchor of before a power cut is as good: it is only further behind.
                    private_files.write_private(self._path, content, sync_folder=False)
        except OSError as error:
            message = f"the anchor {self._path} cannot be written: {error.strerror}"
            raise AnchorError(message, path=str(self._path)) from error

    def _read(self) -> dict[str, _Entry]:
        try:
            content = private_files.read_private(self._path, limit=_LIMIT)
        except FileNotFoundError:
            return {}
        except OSError as error:
            message = f"the anchor {self._path} cannot be read: {error.strerror}"
            raise AnchorError(message, path=str(self._path)) from error
        try:
            file = msgspec.json.decode(content, type=_File)
        except ValueError:
            raise self._damaged("it is not whole") from None
        if file.format != FORMAT or file.version != VERSION:
            raise self._damaged("it is not an anchor that this Keyturn can read")
        if file.node_id != self._key_ring.node_id:
            raise self._damaged("it is the anchor of another node")
        for manager, entry in file.managers.items():
            if not self._is_genuine(manager, entry):
                raise self._damaged(f"its entry for manager {manager!r} was altered")
        return file.managers

    def _entry(self, manager: str, mark: Mark) -> _Entry:
        message = _signed_bytes(self._key_ring.node_id, manager, mark.position, mark.digest)
        signature = provenance.signature_text(self._key_ring.sign(message))
        return _Entry(mark.position, mark.digest, signature)

    def _is_genuine(self, manager: str, entry: _Entry) -> bool:
        node_id = self._key_ring.node_id
        message = _signed_bytes(node_id, manager, entry.position, entry.digest)
        try:
            return is_signed_by(node_id, provenance.signature_bytes(entry.signature), message)
        except (ValueError, NodeIdError):
            return False

    def _damaged(self, what: str) -> AnchorError:
        message = (
            f"the anchor {self._path} is of no use: {what}; put back the right one, or accept "
            "the log as it is with accept_rollback=True (--accept-rollback)"
        )
        return AnchorError(message, path=str(self._path))


def _signed_bytes(node_id: str, manager: str, position: int, digest: str) -> bytes:
    return _SIGNATURE_PREFIX + msgspec.json.encode([node_id, manager, position, digest])
