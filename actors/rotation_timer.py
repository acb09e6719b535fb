"""Has one manager's key rotated when its policy says so, and tells when an overlap ends."""

from __future__ import annotations

import math
from collections.abc import Callable

from keyturn.actors.key_writer import KeyWriter, new_secret
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.messages import Change, OverlapEnded
from keyturn.actors.ticker import Ticker
from keyturn.config.clock import lasting_clock, time_of_event
from keyturn.domain import rotation
from keyturn.domain.errors import KeyturnError
from keyturn.domain.head import Head
from keyturn.domain.rotation import KeyAge
from keyturn.domain.session_keys import SessionKeys

_AGAIN = 1.0
"""Seconds after which a manager that was told of the end of an overlap is looked at once more."""


class RotateIfDue(Change[None], frozen=True):
    """Rotate the key if the policy says so by now, and tell which overlaps have ended.

    The ticker tells a manager this.
    """


class RotationTimer:
    """The policy of one manager at work, and the ends of overlaps.

    The ticker's thread only looks whether it is time. Whether the key is due is decided by the
    log, in the actor's thread: another process may have been faster.

    Args:
        parts: of the manager.
        writer: writes the rotation.
        ticker: calls again and again while the manager runs; None: nobody does.
        tell: sends a message to the manager's actor.
    """

    def __init__(
        self,
        parts: ManagerParts,
        writer: KeyWriter,
        ticker: Ticker | None,
        tell: Callable[[object], None],
    ) -> None:
        clock = parts.clock
        self._clock = clock
        self._name = parts.name
        self._subscriptions = parts.subscriptions
        self._policy = parts.options.rotation
        self._writer = writer
        self._key_ring = parts.key_ring
        self._age = KeyAge(lambda: time_of_event(clock), lasting_clock(clock))
        self._ticker = ticker
        self._lifecycle = parts.lifecycle
        self._tell = tell
        self._logger = parts.logger
        self._is_told = False

    def stop(self) -> None:
        """Look no more."""
        if self._ticker is not None:
            self._ticker.remove(self._tick)

    def see(self, head: Head) -> None:
        """Note the current key and which others are good until when; look from now on."""
        self._age.see(head.keys)
        known, now = self._subscriptions.overlaps, self._clock()
        running = {
            key.key_id: (key.generation, key.good_until.timestamp()) for key in head.keys.retiring
        }
        for key_id in known.keys() - running.keys():
            if known[key_id][1] > now:  # a reset ended it, and subscribers were told of that
                del known[key_id]
        known |= {key_id: end for key_id, end in running.items() if end[1] > now}
        is_needed = self._policy is not None or known
        if self._ticker is not None and self._lifecycle.is_running and is_needed:
            self._ticker.add(self._tick)

    def look(self) -> None:
        """Do what it is time for, in the actor's thread."""
        self._is_told = False
        overlaps, now = self._subscriptions.overlaps, self._clock()
        for key_id, (generation, good_until) in list(overlaps.items()):
            if good_until <= now:
                del overlaps[key_id]
                self._subscriptions.publish(OverlapEnded(self._name, generation, key_id))
        self._rotate_if_due()

    def _rotate_if_due(self) -> None:
        """Rotate the key if it is due; an error of log or key ring is only logged.

        Of several processes that find it due one writes; the others find a new key then.
        """
        policy = self._policy
        if policy is None:
            return

        def change(keys: SessionKeys) -> None:
            self._age.see(keys)
            if not keys.is_destroyed and self._age.seconds() >= policy.every:
                by = self._writer.by(rotation.INITIATOR, policy.reason)
                keys.rotate(new_secret(), self._key_ring, by, overlap=policy.overlap)

        try:
            self._writer.write(change)
        except KeyturnError as error:
            self._logger.warning(
                "the key could not be rotated when it was due; it is tried again",
                error=type(error).__name__,
                detail=str(error),
            )

    def _tick(self) -> float:
        ends = [end for _, end in self._subscriptions.overlaps.copy().values()]
        left, again = min(ends, default=math.inf) - self._clock(), _AGAIN
        if self._policy is not None:
            again = self._policy.every
            left = min(left, again - self._age.seconds())
        if left > 0:
            return left
        if not self._is_told:  # else it waits its turn, or for the log
            self._is_told = True
            self._tell(RotateIfDue())
        return again
