"""The log as a file: JSON Lines that hold every key event, and show when one of them changed.

The first line says whose log it is, the last one that it is whole, and every line between is
one event, in the order of writing:

    {"format":"keyturn export","version":1,"node_id":"v…"}
    {"originator_id":hex,"originator_version":n,"topic":"…","state":{…}}
    {"events":number of events,"sha256":hex, over all lines before this one}

A state is canonical JSON already, so it stands in its line letter by letter. Nothing in here
opens anything: lines come in, lines go out. `docs/backup.md` describes the format.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO, Final, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent

from keyturn.domain.chain import START, Link, altered, break_between
from keyturn.domain.errors import ExportError, LogDamagedError, LogError, NodeIdError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import Row
from keyturn.domain.node import decode_node_id
from keyturn.domain.stored_events import (
    check_genuine,
    check_host_topics,
    read_event,
    read_genuine,
    stored_of,
    uuid_of,
)

FORMAT: Final = "keyturn export"
VERSION: Final = 1
MAX_LINE: Final = 4 * 1024 * 1024
"""Bytes of a line, with its end. An event has some 200 bytes for each key that is still good."""

_CLOSING = b'{"events":'

_Line = TypeVar("_Line", bound=msgspec.Struct)


class _Format(msgspec.Struct):
    format: str
    version: int


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    node_id: str


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    originator_id: str
    originator_version: int
    topic: str
    state: msgspec.Raw


class _Closing(msgspec.Struct, forbid_unknown_fields=True):
    events: int
    sha256: str


def export_lines(
    rows: Iterable[Row], node_id: str, *, host_topics: Collection[str] = ()
) -> Iterator[bytes]:
    """Yield the lines of an export, each with its end, one row at a time.

    An export that an error cut short has no closing line, so nobody takes it for a whole one.

    Args:
        rows: of the log, in the order of writing.
        node_id: whose log it is.
        host_topics: of the host's own events, which are left out.

    Raises:
        LogDamagedError: a row was altered, or does not follow the one before it.
        NotAKeyturnLogError: there is a topic that is neither ours nor the host's.
        ForeignLogError: an event is another node's.
        SettingsError: a host topic is Keyturn's own.
        ExportError: an event is too long for a line.
    """
    host_topics = check_host_topics(host_topics)
    ends: dict[UUID, Link] = {}
    digest, events = hashlib.sha256(), 0
    yield (line := _encode(_Header(FORMAT, VERSION, node_id)))
    digest.update(line)
    for row in rows:
        if isinstance(row.topic, str) and row.topic in host_topics:
            continue
        stored = stored_of(row)
        _follow(ends, read_genuine(stored, node_id))
        events += 1
        yield (line := _event_line(stored, events + 1))
        digest.update(line)
    yield _encode(_Closing(events, digest.hexdigest()))


def read_lines(
    lines: Iterable[bytes], node_id: str | None, *, each_signature: bool = True
) -> Iterator[StoredEvent]:
    """Yield the events of an export, each with its signature and its place checked.

    Whether the export is whole is known only once the last event was taken.

    Args:
        lines: each with its end; of a file, what `lines_of` yields.
        node_id: whose export it should be; None: the one that the first line names.
        each_signature: False: that of the newest event of each manager is checked, in the end.
            It vouches for those before it.

    Raises:
        ExportError: it is not a whole and unaltered export of this node.
    """
    reader = _Reader(node_id)
    ends: dict[UUID, Link] = {}
    newest: dict[UUID, tuple[int, KeyEvent]] = {}
    for line in lines:
        if line.startswith(_CLOSING) and not each_signature:
            for number, event in newest.values():
                with _naming(number):
                    check_genuine(event, reader.node_id)
        stored = reader.take(line)
        if stored is None:
            continue
        with _naming(reader.number):
            event = read_event(stored)
            if each_signature:
                check_genuine(event, reader.node_id)
            _follow(ends, event)
        newest[event.originator_id] = reader.number, event
        yield stored
    reader.check_end()


def look_at_lines(lines: Iterable[bytes], problems: list[str]) -> Iterator[StoredEvent]:
    """Yield the events of an export that may be damaged: for an audit, which judges them.

    Args:
        lines: each with its end.
        problems: gets a text for each thing that is wrong with a line, or with the whole.
    """
    reader = _Reader(None)
    for line in lines:
        try:
            if (stored := reader.take(line)) is not None:
                yield stored
        except ExportError as error:
            problems.append(str(error))
    try:
        reader.check_end()
    except ExportError as error:
        problems.append(str(error))


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long only as much as shows that it is."""
    while line := file.readline(MAX_LINE + 1):
        yield line


class _Reader:
    """Reads the lines of an export, one after the other.

    Attributes:
        node_id: whose export it should be, and is once the first line was taken; None: any.
        number: of the line that was taken last.
    """

    def __init__(self, node_id: str | None) -> None:
        self.node_id = node_id
        self.number = 0
        self._digest = hashlib.sha256()
        self._is_closed = False

    def take(self, line: bytes) -> StoredEvent | None:
        """Return the event of the next line; None for the first line and the closing one.

        Raises:
            ExportError: the line is bad. The next one may be taken all the same.
        """
        self.number += 1
        if len(line) > MAX_LINE:
            raise _bad(self.number, f"it has more than {MAX_LINE} bytes")
        if not line.endswith(b"\n"):
            raise _bad(self.number, "it is cut off")
        if self._is_closed:
            raise _bad(self.number, "it stands after the closing line")
        if self.number > 1 and line.startswith(_CLOSING):
            self._close(_parse(line, self.number, _Closing))
            return None
        self._digest.update(line)
        if self.number > 1:
            return _read_event(line, self.number)
        self.node_id = _read_header(line, self.node_id)
        return None

    def _close(self, closing: _Closing) -> None:
        self._is_closed = True
        events = self.number - 2  # all lines but the first and the last
        if closing.events != events:
            raise _bad(self.number, f"it says {closing.events} events, there are {events}")
        if closing.sha256 != self._digest.hexdigest():
            raise _bad(self.number, "its SHA-256 is not that of the lines before it")

    def check_end(self) -> None:
        """Raise `ExportError` if the lines end before the closing one."""
        if not self._is_closed:
            why = "ends before its closing line" if self.number else "is empty"
            raise _bad(self.number + 1, f"it is missing: the file {why}")


def _follow(ends: dict[UUID, Link], event: KeyEvent) -> None:
    """Note the new end of a stream; raise `LogDamagedError` if it does not follow the old one."""
    broken = break_between(ends.get(event.originator_id, START), event)
    if broken is not None:
        raise altered(event, broken.value)
    ends[event.originator_id] = event.link


def _event_line(stored: StoredEvent, number: int) -> bytes:
    id_ = stored.originator_id
    assert isinstance(id_, UUID)
    state = msgspec.Raw(stored.state)
    line = _encode(_Event(id_.hex, stored.originator_version, stored.topic, state))
    if len(line) > MAX_LINE:
        message = (
            f"the event at position {stored.originator_version} of {id_} has {len(line)} bytes, "
            f"a line of an export at most {MAX_LINE}: back up the log with VACUUM INTO instead"
        )
        raise ExportError(message, line=number)
    return line


def _read_header(line: bytes, node_id: str | None) -> str:
    """Return the node id of the first line."""
    try:
        head = msgspec.json.decode(line, type=_Format)
    except (ValueError, RecursionError):
        head = _Format("", 0)
    if head.format != FORMAT or head.version < 1:
        raise _bad(1, "it is not the first line of an export of Keyturn")
    if head.version > VERSION:
        raise ExportError(
            f"the export has version {head.version} of the format, this Keyturn reads "
            f"{VERSION}: install a newer Keyturn (line 1)",
            line=1,
        )
    found = _parse(line, 1, _Header).node_id
    try:
        decode_node_id(found)
    except NodeIdError as error:
        raise _bad(1, "its node id is none") from error
    if node_id is not None and found != node_id:
        raise ExportError(
            f"the export is of node {found}, this key ring is of node {node_id}: take the right "
            "one of the two (line 1)",
            line=1,
        )
    return found


def _read_event(line: bytes, number: int) -> StoredEvent:
    event = _parse(line, number, _Event)
    id_ = uuid_of(event.originator_id)
    if id_ is None:
        raise _bad(number, "its originator id is none")
    return StoredEvent(id_, event.originator_version, event.topic, bytes(event.state))


def _parse(line: bytes, number: int, kind: type[_Line]) -> _Line:
    """Return what a line says if it is spelt in the one way that we write."""
    try:
        found = msgspec.json.decode(line, type=kind)
        if _encode(found) == line:
            return found
    except (ValueError, RecursionError):  # of JSON, and of UTF-8
        pass
    raise _bad(number, "it is not as Keyturn writes it")


def _encode(line: msgspec.Struct) -> bytes:
    return msgspec.json.encode(line) + b"\n"


@contextlib.contextmanager
def _naming(number: int) -> Iterator[None]:
    """Have an error about an event name its line."""
    try:
        yield
    except LogError as error:
        what = str(error)
        if isinstance(error, LogDamagedError) and error.what:  # without what to do about a log
            what = f"the event at position {error.position} was altered: {error.what}"
        raise _bad(number, what) from error


def _bad(number: int, what: str) -> ExportError:
    message = f"line {number} of the export is bad: {what}; take an unaltered copy of the export"
    return ExportError(message, line=number)
