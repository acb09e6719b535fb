"""What this process does with one manager, counted.

Tokens are counted in whatever thread uses them, where it must cost next to nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
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


class Activity:
    """What was done with one manager here.

    Any thread adds to the first three, without a lock: in CPython no other thread gets its turn
    within `+=`, as long as what is added is a number by then and no call.

    Attributes:
        created: how many tokens were minted.
        accepted: how often one was found good.
        refreshed: how many were exchanged.
        retries: how often a write had to be tried again; the actor counts.
        last_written: the events of the newest change that this process itself recorded.
    """

    def __init__(self) -> None:
        self.created = 0
        self.accepted = 0
        self.refreshed = 0
        self.retries = 0
        self.last_written: Sequence[KeyEvent] = ()
        self._refused = Counter[Refusal]()
        self._refusing = threading.Lock()
        self._written = Counter[type[KeyEvent]]()

    def note_refusal(self, reason: Refusal) -> None:
        """Count a token that was not good."""
        with self._refusing:
            self._refused[reason] += 1

    def note(self, events: Sequence[KeyEvent]) -> None:
        """Count what was recorded (in the thread of the actor, which alone writes)."""
        self._written.update(map(type, events))
        self.last_written = events

    def metrics(self, head: Head, seconds_since_heard: float) -> Metrics:
        """Return the figures of this moment."""
        written = self._written
        return Metrics(
            created=self.created,
            accepted=self.accepted,
            refused={reason: self._refused[reason] for reason in Refusal},
            refreshed=self.refreshed,
            sessions_ended=written[SessionEnded] + written[SubjectSessionsEnded],
            resets=written[KeyReset],
            rotations=written[KeyRotated],
            retries=self.retries,
            seconds_since_heard=seconds_since_heard,
            position=head.position,
            ended_sessions=len(head.keys.ended),
        )
