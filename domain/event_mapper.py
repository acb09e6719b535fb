"""How our events become rows and rows become events, and which rows are refused.

eventsourcing imports whatever a stored topic names. This mapper resolves our own topics and,
of a host that keeps aggregates in the same log, those it named; nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import cache
from typing import cast, get_type_hints
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent, Transcoder

from keyturn.domain import provenance
from keyturn.domain.errors import LogVersionError, NotAKeyturnLogError
from keyturn.domain.session_keys import (
    EVENT_CLASSES,
    SessionKeys,
    fields_of,
    topic_of,
)


class KeyEventMapper(Mapper[UUID]):
    """Maps key events with their signatures checked, and a host's own events as ever."""

    def __init__(self, transcoder: Transcoder, host_topics: Collection[str] = ()) -> None:
        super().__init__(transcoder)
        self._host_topics = frozenset(host_topics)

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Return the row for an event."""
        if isinstance(domain_event, SessionKeys.Event):
            return StoredEvent(
                originator_id=domain_event.originator_id,
                originator_version=domain_event.originator_version,
                topic=topic_of(domain_event),
                state=provenance.encode_state(fields_of(domain_event)),
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
            fields = provenance.verify(stored_event)
            return cast(DomainEventProtocol[UUID], _event(stored_event, fields))
        if stored_event.topic in self._host_topics:
            return super().to_domain_event(stored_event)
        raise unknown_topic(stored_event.topic)


def unknown_topic(topic: str) -> NotAKeyturnLogError:
    """Return the error for a row whose topic must not be resolved."""
    return NotAKeyturnLogError(
        f"the log holds an event of the topic {topic!r:.100}, which is not Keyturn's: name the "
        "host's own aggregate classes when opening it, or remove what does not belong there"
    )


def read_event(stored: StoredEvent) -> SessionKeys.Event:
    """Return the event of a row without looking at its signature: for showing, not for trust.

    Raises: what `KeyEventMapper.to_domain_event` raises, save for a wrong signature.
    """
    if stored.topic not in EVENT_CLASSES:
        raise unknown_topic(stored.topic)
    return _event(stored, provenance.decode_state(stored))


def _event(stored: StoredEvent, fields: dict[str, object]) -> SessionKeys.Event:
    event_class = EVENT_CLASSES[stored.topic]
    version = fields.pop("class_version", 1)
    class_version = getattr(event_class, "class_version", 1)
    if type(version) is not int or version < 1:
        raise provenance.altered(stored, "its class version is not a number from 1 on")
    if version > class_version:
        raise LogVersionError(
            f"the event at position {stored.originator_version} has version {version} of "
            f"{stored.topic}, this Keyturn reads {class_version}: install a newer Keyturn",
            position=stored.originator_version,
        )
    for older in range(version, class_version):
        getattr(event_class, f"upcast_v{older}_v{older + 1}")(fields)
    try:
        values = msgspec.convert(fields, _schema(event_class))
    except msgspec.ValidationError as error:
        raise provenance.altered(stored, f"{error}") from None
    event = object.__new__(event_class)
    id_ = stored.originator_id
    event.__dict__.update(
        msgspec.structs.asdict(values),
        originator_id=id_ if isinstance(id_, UUID) else UUID(id_),
        originator_version=stored.originator_version,
    )
    return event


@cache
def _schema(event_class: type[SessionKeys.Event]) -> type[msgspec.Struct]:
    """Return a struct of the event's fields, by which their types are checked."""
    hints = get_type_hints(event_class)
    in_state = [
        (field.name, hints[field.name])
        for field in dataclasses.fields(event_class)
        if field.name not in ("originator_id", "originator_version")
    ]
    return msgspec.defstruct(event_class.__name__, in_state, forbid_unknown_fields=True)
