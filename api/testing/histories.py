"""Histories in files: exports that become the given, and snapshots to compare with.

Of an export all stays but what must not leave production: each generation gets a key of its own,
and events are signed by the key ring of the test. A signature is made when a row is first read:
of a long history hardly any is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from msgspec import UNSET, structs

from keyturn.actors.key_writer import new_secret
from keyturn.domain import chain
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_ring import KeyRingLike, key_id_of, seal_key
from keyturn.domain.session_keys import manager_id
from keyturn.domain.stored_events import read_event
from keyturn.projections.export import export_lines, lines_of, read_lines
from keyturn.testing.events import SessionEnded, SessionsEnded, spec_of
from keyturn.testing.other_process import OtherProcess

_HOW_TO_UPDATE = "run pytest with --keyturn-update, and look at what it writes"


def read_export(path: str | Path, manager: str, *, alone: bool) -> list[StoredEvent]:
    """Return the events of an export (`keyturn export`), in the order of writing.

    Args:
        path: of the file.
        manager: who must have a history in it.
        alone: only that manager's, and not those of all.

    Raises:
        ExportError: it is not a whole and unaltered export; `line` says where.
        ValueError: the manager has no history in it.
    """
    with Path(path).open("rb") as file:
        rows = list(read_lines(lines_of(file), None, each_signature=False))
    id_ = manager_id(manager)
    of_manager = [row for row in rows if row.originator_id == id_]
    if not of_manager:
        names = sorted({repr(read_event(row).manager) for row in rows})
        raise ValueError(
            f"{path} has no history of manager {manager!r}, only of "
            f"{', '.join(names) or 'nobody'}"
        )
    return of_manager if alone else rows


def write_export(path: str | Path, other: OtherProcess) -> None:
    """Write the log as an export."""
    lines = export_lines(
        other.log.rows(), other.key_ring.node_id, host_topics=other.log.host_topics
    )
    Path(path).write_bytes(b"".join(lines))


def with_other_keys(
    exported: Iterable[StoredEvent], key_ring: KeyRingLike
) -> Iterator[StoredEvent]:
    """Yield the same history of a node that has other keys."""
    streams: dict[UUID | str, _Stream] = {}
    for stored in exported:
        stream = streams.setdefault(stored.originator_id, _Stream(key_ring))
        yield stream.follow(stored)


class _Stream:
    """The history of one manager, as far as it was written anew."""

    def __init__(self, key_ring: KeyRingLike) -> None:
        self._key_ring = key_ring
        self._keys: dict[object, tuple[str, str]] = {}
        self._digest: str | None = None

    def follow(self, stored: StoredEvent) -> StoredEvent:
        """Return the next event with other keys."""
        fields: dict[str, Any] = chain.decode_state(stored)
        del fields["signature"]
        fields["node_id"] = self._key_ring.node_id
        if self._digest is not None:
            fields["previous_digest"] = self._digest
        generation = fields["generation"]
        if "sealed_key" in fields:
            secret = new_secret()
            key_id = key_id_of(secret.reveal())
            sealed = seal_key(self._key_ring, secret, fields["manager"], generation, key_id)
            self._keys[generation] = key_id, sealed
            fields["sealed_key"] = sealed
        fields["key_id"] = self._key(generation, fields)[0]
        for key in fields.get("retiring", ()):
            key["key_id"], key["sealed_key"] = self._key(key["generation"], key)
        id_, position = stored.originator_id, stored.originator_version
        assert isinstance(id_, UUID)
        digest = self._digest = chain.digest(stored.topic, id_, position, fields)

        def signed() -> bytes:
            fields["signature"] = chain.sign(self._key_ring, id_, position, digest)
            return chain.encode_state(fields)

        return _Unsigned(id_, position, stored.topic, signed)

    def _key(self, generation: object, fields: dict[str, Any]) -> tuple[str, str]:
        """Return the key of a generation: as it was, if its beginning was purged."""
        return self._keys.get(generation) or (fields["key_id"], fields.get("sealed_key", ""))


class _Unsigned(StoredEvent):
    """A row that is signed when it is first read."""

    def __init__(self, id_: UUID, position: int, topic: str, signed: Callable[[], bytes]) -> None:
        vars(self).update(
            originator_id=id_, originator_version=position, topic=topic, _signed=signed
        )

    @cached_property
    def state(self) -> bytes:
        signed: bytes = vars(self)["_signed"]()
        return signed


# --- snapshots ---------------------------------------------------------------------------------


def snapshot_lines(events: Iterable[KeyEvent], own: str) -> list[str]:
    """Return a history as lines that are the same in each run of the same test.

    So they say no times, no default initiator (the user of the machine) and no node id;
    sessions are numbered.
    """
    sids: dict[object, str] = {}

    def numbered(sid: object) -> str:
        return sids.setdefault(sid, f"session {len(sids) + 1}")

    lines = []
    for event in events:
        spec = spec_of(event, own=own)
        if spec.initiator == event.recorded_by:
            spec = structs.replace(spec, initiator=UNSET)
        if isinstance(spec, SessionEnded):
            subject = "the node" if spec.subject == event.node_id else spec.subject
            spec = structs.replace(spec, sid=numbered(spec.sid), subject=subject)
        if isinstance(spec, SessionsEnded) and spec.keep is not None:
            spec = structs.replace(spec, keep=numbered(spec.keep))
        lines.append(repr(spec))
    return lines


def compare_snapshot(path: Path, lines: Sequence[str], *, update: bool) -> list[str]:
    """Return no line if a file holds these lines, else what it says differently.

    Args:
        path: of the file.
        lines: what happened.
        update: write the file instead.
    """
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return []
    if not path.exists():
        return [f"there is no snapshot {path}: {_HOW_TO_UPDATE}"]
    expected = path.read_text(encoding="utf-8").splitlines()
    if expected == list(lines):
        return []
    diff = [f"  {line.rstrip()}" for line in difflib.ndiff(expected, lines)]
    return [f"the history is not that of {path} (- expected, + happened):", *diff]
