"""Rows of a log as they lie there, before anything is believed of them."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.domain.chain import altered
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
    id_ = uuid_of(row.originator_id)
    stored = StoredEvent(id_ or row.originator_id, *row[1:])  # type: ignore[arg-type]
    if id_ is None:
        raise altered(stored, BAD_VALUES)
    return validated(stored)
