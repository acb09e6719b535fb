"""What an audit has seen of one manager so far."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from uuid import UUID

from keyturn.domain.key_events import Abandoned, KeyEvent
from keyturn.domain.session_keys import SessionKeys


@dataclass(slots=True)
class History:
    """What was seen of one manager so far: its newest genuine event, and what is not there.

    Attributes:
        event: the newest genuine one.
        keys: the state after it; None where a part is missing that it depends on, and where
            `begun_by` says it all.
        begun_by: the event, if it says all of the state: the fold is made once it is needed.
        first: the position of the first genuine event.
        count: of genuine events from there on.
        purge: the position of the event that says that all before it were removed.
        put_back: the first such event that is there, and how many are.
        gaps: first and last position of each run of events that were not there in time.
        late: positions of events that were written after later ones.
        rollbacks: position of each accepted rollback, by what it abandoned.
        wanted: the events at positions that an anchor or a checkpoint has seen.
    """

    manager: str
    id: UUID
    event: KeyEvent | None = None
    keys: SessionKeys | None = None
    begun_by: KeyEvent | None = None
    first: int = 0
    count: int = 0
    purge: int = 0
    put_back: tuple[int, int] | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    rollbacks: dict[Abandoned, int] = field(default_factory=dict)
    wanted: dict[int, KeyEvent] = field(default_factory=dict)

    @property
    def position(self) -> int:
        return 0 if self.event is None else self.event.originator_version

    def lacks(self, position: int) -> bool:
        """Whether the genuine event of a position up to the newest was not there so far."""
        after = bisect_right(self.gaps, (position, self.position))
        is_in_gap = after > 0 and position <= self.gaps[after - 1][1]
        return is_in_gap and position not in self.late

    def abandoned_at(self, position: int, digest: str) -> int | None:
        """Return where a rollback was accepted that abandoned this event, if one was."""
        return self.rollbacks.get(Abandoned(position, digest))
