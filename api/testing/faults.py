"""What goes wrong with a service under test, when a test says so.

The store is a real one. What goes wrong happens at its door (see `faulty_store`): a call that
raises what SQLite or the network raises, or takes its time, a commit whose reply is lost, another
process that was quicker. All that follows, up to what the host is told, is Keyturn's own code.
"""

from __future__ import annotations

import errno
import functools
import sqlite3
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from keyturn.testing.events import EventSpec, check_events

Elsewhere = Callable[..., object]
"""Has events happen, as another process that shares the log would."""


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing that goes wrong, from now on: to the end of its `with` block, or `end()`.

    Attributes:
        faults: where it counts.
        error: makes what each call raises; None: nothing is raised.
        reads: whether it is of readings, too, and not only of writings.
        seconds: that each call takes longer.
        is_deaf: whether commits of others are not heard of.
    """

    faults: Faults
    error: Callable[[], Exception] | None = None
    reads: bool = False
    seconds: float = 0.0
    is_deaf: bool = False

    def strike(self) -> None:
        """Let a call go wrong."""
        if self.seconds:
            time.sleep(self.seconds)
        if self.error is not None:
            raise self.error()

    def end(self) -> None:
        """Let all be well again."""
        self.faults.lasting = tuple(f for f in self.faults.lasting if f is not self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()


class Faults:
    """What can go wrong: `with service.faults.down(): …`.

    What the first six do lasts from the call to the end of the `with` block, or to `mend`. What
    the last three do happens once; that it never did is an error when the service is closed.
    """

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        self.lasting: tuple[Fault, ...] = ()
        self._elsewhere = elsewhere
        self._once: dict[str, Callable[[], object]] = {}
        self._handles: weakref.WeakSet[Any] = weakref.WeakSet()

    # --- what lasts ---

    def down(self) -> Fault:
        """Nothing can be read or written. So no token is made or checked: `StaleKeyError`.

        As with a PostgreSQL that has been gone for longer than `max_staleness`.
        """
        return self._begin(Fault(self, _refused, reads=True))

    def full(self) -> Fault:
        """The disk is full: nothing can be written, all can be read."""
        return self._begin(Fault(self, functools.partial(_sqlite, sqlite3.SQLITE_FULL)))

    def read_only(self) -> Fault:
        """Nothing may be written, all can be read."""
        return self._begin(Fault(self, functools.partial(_sqlite, sqlite3.SQLITE_READONLY)))

    def locked(self) -> Fault:
        """Another process keeps all others from writing: an error whose `is_busy` is true."""
        return self._begin(Fault(self, functools.partial(_sqlite, sqlite3.SQLITE_BUSY)))

    def slow(self, seconds: float) -> Fault:
        """Each reading and each commit takes so many seconds longer, of real time."""
        return self._begin(Fault(self, reads=True, seconds=seconds))

    def stale(self) -> Fault:
        """What others commit is not heard of, as with PostgreSQL for up to `max_staleness`."""
        return self._begin(Fault(self, is_deaf=True))

    def mend(self) -> None:
        """End all that lasts."""
        self.lasting = ()

    # --- what happens once ---

    def unknown_commit(self, *, kept: bool) -> None:
        """Lose the reply to the next commit, and the connection with it.

        The change raises `LogUnavailableError` with `recorded=None`: nobody can tell.

        Args:
            kept: whether the change is in the log all the same.
        """
        self._once["unknown_commit"] = lambda: kept

    def before_commit(self, *events: EventSpec) -> None:
        """Have another process do this just before the next commit: it was quicker."""
        self._once["before_commit"] = self._other_process(events)

    def before(self, method: str, *events: EventSpec) -> None:
        """Have another process do this just before the next call of a method of the service.

        That is: between two lines of the host.

        Args:
            method: its name, such as `"refresh_token"`.
            events: what the other process does.

        Raises:
            TypeError: the service has no such method.
        """
        for handle in self._handles:
            if not callable(getattr(handle, method, None)):
                raise TypeError(f"{type(handle).__name__} has no method {method!r}")
        name = f"before({method!r})"
        calls = [(handle, getattr(handle, method)) for handle in self._handles]
        self._once[name] = self._other_process(events)

        def interrupted(call: Callable[..., object], *args: Any, **kwargs: Any) -> object:
            for handle, _ in calls:
                vars(handle).pop(method, None)
            self.happen(name)
            return call(*args, **kwargs)

        for handle, call in calls:
            vars(handle)[method] = functools.wraps(call)(functools.partial(interrupted, call))

    # --- for the service and its store ---

    def elsewhere(self, *events: EventSpec) -> None:
        """Have another process do this, at once."""
        if self._elsewhere is None:
            raise ValueError("no other process shares this log: open it with open_service")
        self._elsewhere(*events)

    def attach(self, handle: object) -> None:
        """Take part in the calls of a handle: see `before`."""
        self._handles.add(handle)

    def happen(self, name: str) -> object:
        """Do what was to happen once, if it has not yet; return what it returns, or None."""
        action = self._once.pop(name, None)
        return None if action is None else action()

    @property
    def is_down(self) -> bool:
        return any(fault.reads and fault.error for fault in self.lasting)

    @property
    def is_deaf(self) -> bool:
        return any(fault.is_deaf for fault in self.lasting)

    def strike(self, *, writing: bool) -> None:
        """Let a call of the store go wrong, if it is to."""
        for fault in self.lasting:
            if writing or fault.reads:
                fault.strike()

    def check_all_happened(self) -> None:
        """Raise `AssertionError` if what was to happen once did not."""
        left, self._once = list(self._once), {}
        if left:
            raise AssertionError(
                f"faults.{', faults.'.join(left)}: it never happened, the host did not get there"
            )

    def _begin(self, fault: Fault) -> Fault:
        self.lasting = (*self.lasting, fault)
        return fault

    def _other_process(self, events: tuple[EventSpec, ...]) -> Callable[[], object]:
        check_events(events)
        if not events:
            raise TypeError("say what the other process does: an event, such as Reset()")
        return lambda: self.elsewhere(*events)


def _refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")


def _sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("a fault of the test")
    error.sqlite_errorcode = code
    return error
