"""What becomes of open stores when the process forks: in the child they are its parent's.

A connection that two processes use loses rows, so the child never touches those it got. With
SQLite that is not enough. It believes that a forked child holds the locks of its parent, which
it does not: in the child, connections to the same file, new ones too, then read and write
without locks, and whoever closes the file last elsewhere removes the write-ahead log that they
write to. So before a fork SQLite's connections are closed, and opened again in the parent at
their next use. Where that cannot be, because one of them is in use, the child is told not to
open the file.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import NoReturn, Protocol

from keyturn.domain.errors import LogClosedError

_PATIENCE = 10.0
"""Seconds that a fork waits for threads that use SQLite."""


class Forkable(Protocol):
    """Something that a child of this process must leave alone."""

    def before_fork(self) -> None:
        """Let go of what a child must not even have."""

    def go_on_after_fork(self) -> None:
        """Called in the parent."""

    def abandon_after_fork(self) -> None:
        """Called in the child: use and close nothing that is the parent's."""


class _Gate:
    """Many threads may be in at a time, or none while a process forks."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._of_this_thread = threading.local()
        self._uses = 0
        self._forks = 0
        self._forking_thread: int | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        own = self._own()
        with self._condition:
            # The thread that forks comes here when it collects garbage meanwhile.
            if not own and self._forking_thread != threading.get_ident():
                self._condition.wait_for(lambda: not self._forks)
            self._uses += 1
        self._of_this_thread.uses = own + 1
        try:
            yield
        finally:
            self._of_this_thread.uses = own
            with self._condition:
                self._uses -= 1
                if self._forks:
                    self._condition.notify_all()

    def shut(self) -> bool:
        """Wait until no other thread is in, let nobody in, and return whether none is."""
        self._condition.acquire()
        self._forks += 1
        is_quiet = self._condition.wait_for(lambda: self._uses == self._own(), _PATIENCE)
        self._forking_thread = threading.get_ident()
        return is_quiet

    def open(self) -> None:
        self._forking_thread = None
        self._forks -= 1
        self._condition.notify_all()
        self._condition.release()

    def renew(self) -> None:
        """Begin again in a child: threads that were in, or waiting, are not here."""
        self._condition = threading.Condition()
        self._uses = self._own()
        self._forks = 0
        self._forking_thread = None

    def _own(self) -> int:
        return getattr(self._of_this_thread, "uses", 0)


_gate = _Gate()
_open: weakref.WeakSet[Forkable] = weakref.WeakSet()
_abandoned: list[object] = []


def using_sqlite() -> contextlib.AbstractContextManager[None]:
    """Keep forks waiting for the length of the block, and wait for one that is under way.

    Any other lock is taken within the block, or else a fork may wait for it for ever.
    """
    return _gate.use()


def guard(store: Forkable) -> None:
    """Have this store told of every fork from now on."""
    _open.add(store)


def no_longer_guard(store: Forkable) -> None:
    """Forget a store that has no connections any more."""
    _open.discard(store)


def keep_for_ever(*things: object) -> None:
    """Never close what belongs to the parent, not even as garbage."""
    _abandoned.extend(things)


def refuse_after_fork(location: str) -> NoReturn:
    """Raise the error for who uses a log that was opened before a fork."""
    message = f"{location} was opened before a fork: open it again in this process"
    raise LogClosedError(message, location=location)


def _before() -> None:
    if _gate.shut():
        for store in list(_open):
            store.before_fork()


def _in_parent() -> None:
    for store in list(_open):
        store.go_on_after_fork()
    _gate.open()


def _in_child() -> None:
    _gate.renew()
    for store in list(_open):
        store.abandon_after_fork()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
