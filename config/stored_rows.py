"""What a row must be to be looked at any further."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from eventsourcing.persistence import StoredEvent

from keyturn.domain.errors import LogDamagedError
from keyturn.domain.event_mapper import unknown_topic

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


def check_topics(
    first_behind: Callable[[str | None], str | None], host_topics: Collection[str]
) -> None:
    """Look at each topic in a log that is not ours once.

    Args:
        first_behind: returns the first of these topics behind one, or of all behind None. A
            store asks an index of such rows alone, so this does not grow with the log.
        host_topics: those that may be there.

    Raises:
        NotAKeyturnLogError: there is another.
    """
    topic = first_behind(None)
    while topic is not None:
        if topic not in host_topics:
            raise unknown_topic(topic)
        topic = first_behind(topic)
