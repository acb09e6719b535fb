"""Running, stopped, destroyed: said once, used by both actors.

Created running. Start when running and stop when stopped do nothing. Work needs running,
destroy needs stopped, and destroyed is for good.
"""

from __future__ import annotations

import enum

from keyturn.domain.errors import DestroyedError, NotRunningError, RunningError


class Status(enum.Enum):
    """What an actor of ours can be."""

    RUNNING = "running"
    STOPPED = "stopped"
    DESTROYED = "destroyed"
    CLOSED = "closed"  # with the service that it belonged to


_RUNNING = Status.RUNNING  # in Python 3.11 it takes longer to find this than to compare it


class Lifecycle:
    """The status of one actor, read from any thread."""

    def __init__(
        self,
        what: str,
        running: type[RunningError],
        not_running: type[NotRunningError],
        destroyed: type[DestroyedError],
    ) -> None:
        self._what = what
        self._running_error = running
        self._not_running_error = not_running
        self._destroyed_error = destroyed
        self.status = Status.RUNNING

    @property
    def is_running(self) -> bool:
        return self.status is Status.RUNNING

    def require_running(self) -> None:
        """Raise the …NotRunningError unless running."""
        if self.status is not _RUNNING:
            message = f"{self._what} is {self.status.value}: "
            hint = "start it first" if self.status is Status.STOPPED else "open a new one"
            raise self._not_running_error(message + hint)

    def require_not_destroyed(self) -> None:
        """Raise the …DestroyedError if it was destroyed."""
        if self.status is Status.DESTROYED:
            raise self._destroyed_error(f"{self._what} was destroyed: open a new one")

    def should_start(self, *, with_arguments: bool) -> bool:
        """Return whether a start has work to do; raise if it cannot be done."""
        self.require_not_destroyed()
        if self.status is Status.RUNNING and with_arguments:
            raise self._running_error(
                f"{self._what} is running, and would not heed the arguments of this start: "
                "stop it first"
            )
        return self.status is Status.STOPPED

    def should_destroy(self) -> bool:
        """Return whether a destroy has work to do; raise the …RunningError when running."""
        if self.status is Status.RUNNING:
            raise self._running_error(f"{self._what} is running: stop it before destroying it")
        return self.status is Status.STOPPED
