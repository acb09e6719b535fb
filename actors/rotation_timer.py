"""Has one manager's key rotated when its policy says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keyturn.actors.key_writer import KeyWriter
from keyturn.actors.messages import Message
from keyturn.actors.ticker import Ticker
from keyturn.config.clock import Clock, lasting_clock, time_of_event
from keyturn.config.logging import Logger
from keyturn.domain.errors import KeyturnError, SessionManagerNotRunningError
from keyturn.domain.rotation import KeyAge, RotationPolicy
from keyturn.domain.session_keys import SessionKeys


@dataclass(frozen=True, slots=True)
class RotateIfDue(Message[None]):
    """Rotate the key if the policy says so by now: what the ticker tells a manager."""


class Rotator:
    """The policy of one manager at work; without a policy it does nothing.

    The ticker's thread only looks how old the key is. Whether it is due is decided by the log,
    in the actor's thread: another process may have been faster.

    Args:
        policy: when, if ever.
        keys: writes the rotation.
        clock: the manager's.
        ticker: calls again and again while the manager runs; None: nobody does.
        tell: sends a message to the manager's actor.
        logger: of what could not be done, which nobody waits for.
    """

    def __init__(
        self,
        policy: RotationPolicy | None,
        keys: KeyWriter,
        *,
        clock: Clock,
        ticker: Ticker | None,
        tell: Callable[[RotateIfDue], None],
        logger: Logger,
    ) -> None:
        self._policy = policy
        self._keys = keys
        self._age = KeyAge(lambda: time_of_event(clock), lasting_clock(clock))
        self._ticker = None if policy is None else ticker
        self._tell = tell
        self._logger = logger
        self._is_told = False

    def start(self) -> None:
        """Look at the age of the key from now on."""
        if self._ticker is not None:
            self._ticker.add(self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._ticker is not None:
            self._ticker.remove(self._tick)

    def see(self, keys: SessionKeys) -> None:
        """Note what the current key is, from whoever has read it."""
        self._age.see(keys)

    def rotate_if_due(self) -> None:
        """Rotate the key if it is due; an error of log or key ring is only logged."""
        if self._policy is None:
            return
        try:
            self._keys.rotate_if_due(self._policy, self._age)
        except SessionManagerNotRunningError:
            pass  # or destroyed; one that is started again is looked at again
        except KeyturnError as error:
            self._logger.warning(
                "the key could not be rotated when it was due; it is tried again",
                error=type(error).__name__,
                detail=str(error),
            )
        finally:
            self._is_told = False

    def _tick(self) -> float:
        assert self._policy is not None
        left = self._policy.every - self._age.seconds()
        if left > 0:
            return left
        if not self._is_told:  # else it waits its turn, or for the log
            self._is_told = True
            self._tell(RotateIfDue())
        return self._policy.every
