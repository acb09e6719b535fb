"""What this process does with one manager, counted.

Tokens are counted in whatever thread uses them, where it must cost next to nothing.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keyturn.domain.errors import Refusal
from keyturn.domain.head import Head
from keyturn.domain.key_events import (
    KeyEvent,
    KeyReset,
    KeyRotated,
    SessionEnded,
    SubjectSessionsEnded,
)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one manager in this process, since it was opened here.

    Attributes:
        created: how many tokens were minted, each of a new session.
        accepted: how often a token was verified or authenticated, and was good.
        refused: how often a token was not good, by the reason; refreshes count here, too.
        refreshed: how many tokens were exchanged for new ones.
        sessions_ended: how many ends of sessions this process recorded: one for a subject.
        resets: how many resets it recorded.
        rotations: how many rotations it recorded, those of the policy included.
        retries: how often it wrote again because another process was faster.
        seconds_since_heard: how old what it knows of the log may be: 0 if the store is asked
            before each use.
        position: of the newest event that it has read.
        ended_sessions: how many ends of sessions must be remembered there.
    """

    created: int
    accepted: int
    refused: Mapping[Refusal, int]
    refreshed: int
    sessions_ended: int
    resets: int
    rotations: int
    retries: int
    seconds_since_heard: float
    position: int
    ended_sessions: int


class Tally:
    """A number that any thread may add to, without a lock and without losing anything.

    Attributes:
        add: adds one; in CPython nothing can come between the parts of this call.
    """

    __slots__ = ("_lock", "_looks", "_more", "add")

    def __init__(self) -> None:
        self.add: Callable[[], int] = itertools.count().__next__
        self._lock = threading.Lock()
        self._looks = 0
        self._more = 0

    def add_many(self, number: int) -> None:
        """Add a number."""
        with self._lock:
            self._more += number

    def total(self) -> int:
        """Return the number. To look at it adds one, so looks are counted, too."""
        with self._lock:
            total = self.add() - self._looks + self._more
            self._looks += 1
        return total


class Activity:
    """What was done with one manager here.

    Attributes:
        retries: how often a write had to be tried again; the actor counts.
        last_written: the events of the newest change that this process itself recorded.
    """

    def __init__(self) -> None:
        self.created = Tally()
        self.accepted = Tally()
        self.refreshed = Tally()
        self.refused = {reason: Tally() for reason in Refusal}
        self.retries = 0
        self.last_written: Sequence[KeyEvent] = ()
        self._written: Counter[type[KeyEvent]] = Counter()

    def note(self, events: Sequence[KeyEvent]) -> None:
        """Count what was recorded (in the thread of the actor, which alone writes)."""
        self._written.update(map(type, events))
        self.last_written = events

    def metrics(self, head: Head, seconds_since_heard: float) -> Metrics:
        """Return the figures of this moment."""
        written = self._written
        return Metrics(
            created=self.created.total(),
            accepted=self.accepted.total(),
            refused={reason: tally.total() for reason, tally in self.refused.items()},
            refreshed=self.refreshed.total(),
            sessions_ended=written[SessionEnded] + written[SubjectSessionsEnded],
            resets=written[KeyReset],
            rotations=written[KeyRotated],
            retries=self.retries,
            seconds_since_heard=seconds_since_heard,
            position=head.position,
            ended_sessions=len(head.keys.ended),
        )
