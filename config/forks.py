"""What becomes of open stores in a child that was made with `fork`: they are its parent's.

A connection that two processes use loses rows, so the child never touches those it got.
"""

from __future__ import annotations

import os
import weakref
from typing import NoReturn, Protocol

from keyturn.domain.errors import LogClosedError


class Forkable(Protocol):
    """Something that a child of this process must leave alone."""

    def abandon_after_fork(self) -> None: ...


_open: weakref.WeakSet[Forkable] = weakref.WeakSet()
_abandoned: list[object] = []


def guard(store: Forkable) -> None:
    """Have this store abandoned in every child that is forked from now on."""
    _open.add(store)


def no_longer_guard(store: Forkable) -> None:
    """Forget a store that was closed."""
    _open.discard(store)


def keep_for_ever(*things: object) -> None:
    """Never close what belongs to the parent, not even as garbage."""
    _abandoned.extend(things)


def refuse_after_fork(location: str) -> NoReturn:
    """Raise the error for who uses a log that was opened before a fork."""
    message = f"{location} was opened before a fork: open it again in this process"
    raise LogClosedError(message, location=location)


def _abandon_all() -> None:
    for store in list(_open):
        store.abandon_after_fork()


os.register_at_fork(after_in_child=_abandon_all)
