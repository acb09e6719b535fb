"""What a row must be to be looked at any further."""

from __future__ import annotations

from typing import TypeVar

from eventsourcing.persistence import StoredEvent

from keyturn.domain.errors import LogDamagedError

AnyStored = TypeVar("AnyStored", bound=StoredEvent)


def sound(row: AnyStored) -> AnyStored:
    """Return a row whose values have the types of an event's; a store may hold others.

    Raises:
        LogDamagedError: they have not.
    """
    types = type(row.originator_version), type(row.topic), type(row.state)
    if types != (int, str, bytes):
        raise LogDamagedError(
            f"the row at position {row.originator_version!r:.40} of {row.originator_id} was "
            "altered: its values have other types; put back an unaltered copy of the log"
        )
    return row
