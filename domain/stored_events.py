"""How our events become rows and rows become events, and which rows are refused.

eventsourcing imports whatever a stored topic names. Here our own topics are resolved and, of a
host that keeps aggregates in the same log, those it named; nothing else. The digest of an event
is taken from what is stored, before an old class version is brought up to date.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, TypeVar, cast, get_type_hints
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent, Transcoder

from keyturn.domain import chain
from keyturn.domain.errors import (
    ForeignLogError,
    LogVersionError,
    NotAKeyturnLogError,
    SettingsError,
)
from keyturn.domain.key_events import CLASS_VERSION, NEW_IN_VERSION_2, KeyEvent, fields_of
from keyturn.domain.key_log import Row
from keyturn.domain.session_keys import EVENT_CLASSES, manager_id

AnyStored = TypeVar("AnyStored", bound=StoredEvent)

BAD_VALUES: Final = "its values have other types"
_OUR_TOPICS: Final = "keyturn."


class KeyEventMapper(Mapper[UUID]):
    """Maps key events with their signatures checked, and a host's own events as ever."""

    def __init__(self, transcoder: Transcoder, host_topics: Collection[str] = ()) -> None:
        super().__init__(transcoder)
        self._host_topics = check_host_topics(host_topics)

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Return the row for an event."""
        if isinstance(domain_event, KeyEvent):
            return StoredEvent(
                originator_id=domain_event.originator_id,
                originator_version=domain_event.originator_version,
                topic=type(domain_event).TOPIC,
                state=chain.encode_state(fields_of(domain_event)),
            )
        return super().to_stored_event(domain_event)

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """Return the event of a row; one of ours only if its signature is genuine.

        Raises:
            NotAKeyturnLogError: the topic is neither ours nor the host's.
            LogDamagedError: the row was altered.
            LogVersionError: a newer Keyturn wrote it.
        """
        if stored_event.topic in EVENT_CLASSES:
            return cast(DomainEventProtocol[UUID], read_genuine(stored_event))
        if stored_event.topic in self._host_topics:
            return super().to_domain_event(stored_event)
        raise unknown_topic(stored_event.topic)


def check_host_topics(topics: Iterable[str]) -> frozenset[str]:
    """Return the topics of a host's own events, if none of them is one of ours.

    What is a host's is passed over by exports and audits: ours never is.

    Raises:
        SettingsError: one of them is Keyturn's own.
    """
    checked = frozenset(topics)
    for topic in sorted(checked):
        if topic.startswith(_OUR_TOPICS):
            raise SettingsError(
                f"the topic {topic!r:.100} is Keyturn's own: name only topics of the host's "
                "own events",
                key="host_topics",
                source="the arguments",
            )
    return checked


def unknown_topic(topic: str) -> NotAKeyturnLogError:
    """Return the error for a row whose topic must not be resolved."""
    return NotAKeyturnLogError(
        f"the log holds an event of the topic {topic!r:.100}, which is not Keyturn's: name the "
        "host's own aggregate classes when opening it, or remove what does not belong there"
    )


def validated(row: AnyStored) -> AnyStored:
    """Return a row whose values have the types of an event's; a store may hold others.

    Raises:
        LogDamagedError: they have not.
    """
    types = type(row.originator_version), type(row.topic), type(row.state)
    if types != (int, str, bytes):
        raise chain.altered(row, BAD_VALUES)
    return row


@lru_cache(maxsize=1024)  # a log has few ids, each in many rows
def uuid_of(value: object) -> UUID | None:
    """Return the id that a column holds as eventsourcing writes it, else None."""
    try:
        uuid = UUID(hex=value) if isinstance(value, str) else None
    except ValueError:
        return None
    return uuid if uuid is not None and uuid.hex == value else None


def stored_of(row: Row) -> StoredEvent:
    """Return a row as eventsourcing has it.

    Raises:
        LogDamagedError: its values are not those of an event; `position` says where, if known.
    """
    id_ = uuid_of(row.originator_id)
    stored = StoredEvent(id_ or row.originator_id, *row[1:])  # type: ignore[arg-type]
    if id_ is None:
        raise chain.altered(stored, BAD_VALUES)
    return validated(stored)


def read_event(stored: StoredEvent) -> KeyEvent:
    """Return the event of a row without looking at its signature: for showing, not for trust.

    Raises:
        NotAKeyturnLogError: the topic is not ours.
        LogDamagedError: the row is not one that Keyturn writes.
        LogVersionError: a newer Keyturn wrote it.
    """
    if stored.topic not in EVENT_CLASSES:
        raise unknown_topic(stored.topic)
    fields = chain.decode_state(stored)
    id_, position = _id(stored), stored.originator_version
    digest = chain.digest(stored.topic, id_, position, fields)
    event_class = EVENT_CLASSES[stored.topic]
    values = msgspec.structs.asdict(_values(stored, event_class, fields, digest))
    event = object.__new__(event_class)
    vars(event).update(values, originator_id=id_, originator_version=position, digest=digest)
    return event


def read_genuine(stored: StoredEvent, node_id: str | None = None) -> KeyEvent:
    """Return the event of a row that the node it names has signed: see `read_event`.

    Args:
        stored: the row.
        node_id: the node that must have signed it; None: whichever it names.

    Raises:
        LogDamagedError: it was altered since it was signed.
        ForeignLogError: another node signed it.
    """
    event = read_event(stored)
    check_genuine(event, node_id)
    return event


def check_genuine(event: KeyEvent, node_id: str | None = None) -> None:
    """Raise what `read_genuine` raises for an event that was read already."""
    if event.originator_id != manager_id(event.manager):
        raise chain.altered(event, "it stands in a stream that is not its manager's")
    if not event.is_genuine:
        raise chain.altered(event, "its signature is wrong")
    if node_id is not None and event.node_id != node_id:
        raise ForeignLogError(
            f"the event at position {event.originator_version} of manager {event.manager!r} was "
            f"signed by another node, {event.node_id}: somebody else writes to this log; put "
            "the right log back",
            expected=node_id,
            found=event.node_id,
        )


def _values(
    stored: StoredEvent, event_class: type[KeyEvent], fields: dict[str, object], digest: str
) -> msgspec.Struct:
    version = fields.pop("class_version", 1)
    if type(version) is not int or version < 1:
        raise chain.altered(stored, "its class version is not a number from 1 on")
    if version > CLASS_VERSION:
        node_id, signature = str(fields.get("node_id")), str(fields.get("signature"))
        position = stored.originator_version
        if not chain.is_signed(node_id, _id(stored), position, digest, signature):
            raise chain.altered(stored, "its signature is wrong")  # so nothing newer wrote it
        raise LogVersionError(
            f"the event at position {position} has version {version} of {stored.topic}, this "
            f"Keyturn reads {CLASS_VERSION}: install a newer Keyturn",
            position=position,
        )
    schema = _SCHEMAS[event_class]
    if version == 1:
        fields["since"] = stored.originator_version
        new = NEW_IN_VERSION_2.items()
        fields |= {name: value for name, value in new if name in schema.__struct_fields__}
    try:
        return msgspec.convert(fields, schema)
    except msgspec.ValidationError as error:
        raise chain.altered(stored, f"{error}") from None


def _schema(event_class: type[KeyEvent]) -> type[msgspec.Struct]:
    """Return a struct of the event's fields, by which their types are checked."""
    hints = get_type_hints(event_class)
    hints["timestamp"] = Annotated[datetime, msgspec.Meta(tz=True)]
    in_state = [
        (field.name, hints[field.name])
        for field in dataclasses.fields(event_class)
        if field.name not in ("originator_id", "originator_version")
    ]
    schema = msgspec.defstruct(event_class.__name__, in_state, forbid_unknown_fields=True)
    msgspec.json.Decoder(schema)  # has it look its types up now: a test may put others there
    return schema


_SCHEMAS = {event_class: _schema(event_class) for event_class in EVENT_CLASSES.values()}


def _id(stored: StoredEvent) -> UUID:
    id_ = stored.originator_id
    return id_ if isinstance(id_, UUID) else UUID(id_)
