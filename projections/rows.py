"""Rows of a log as they lie there, before anything is believed of them."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.domain.errors import LogDamagedError
from keyturn.domain.key_log import Row
from keyturn.domain.stored_events import BAD_VALUES, validated


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
    id_, position = uuid_of(row.originator_id), row.originator_version
    if id_ is None:
        known = position if type(position) is int else None
        raise LogDamagedError(
            f"the row at position {position!r:.40} was altered: {BAD_VALUES}; put back an "
            "unaltered copy of the log",
            position=known,
            what=BAD_VALUES,
        )
    return validated(StoredEvent(id_, position, row.topic, row.state))  # type: ignore[arg-type]
