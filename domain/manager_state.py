"""Which managers a log has: each with what its newest event says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from keyturn.domain.errors import ManagerNotFoundError
from keyturn.domain.key_events import KeyEvent, KeysDestroyed

_MAX_NAMES = 10
"""How many names an error lists."""


@dataclass(frozen=True, slots=True)
class ManagerState:
    """One manager of a log, as the log says: no signature was checked for this.

    Attributes:
        name: of the manager.
        generation: of its newest key.
        position: of its newest event.
        changed_at: when that event was recorded.
        is_destroyed: whether its keys were destroyed, so that it has none.
    """

    name: str
    generation: int
    position: int
    changed_at: datetime
    is_destroyed: bool

    @classmethod
    def after(cls, event: KeyEvent) -> Self:
        """Return the state after the newest event of a manager."""
        return cls(
            event.manager,
            event.generation,
            event.originator_version,
            event.timestamp,
            isinstance(event, KeysDestroyed),
        )


def manager_not_found(
    name: str, location: str, managers: Iterable[ManagerState]
) -> ManagerNotFoundError:
    """Return the error for a name that no manager of a log has."""
    names = tuple(manager.name for manager in managers)
    listed = ", ".join(repr(each) for each in names[:_MAX_NAMES])
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    there_are = f"there are {listed}{more}" if names else "it has none"
    return ManagerNotFoundError(
        f"the log {location} has no manager {name!r}: {there_are}; a new one is made with "
        "`keyturn --name NAME init`, or with create=True",
        name=name,
        managers=names,
    )
