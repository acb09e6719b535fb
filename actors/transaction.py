"""Transactions: several changes that take effect together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from keyturn.domain.errors import TransactionClosedError
from keyturn.domain.head import key_set_of

if TYPE_CHECKING:
    from eventsourcing.domain import Aggregate

    from keyturn.domain.head import Head
    from keyturn.domain.key_ring import KeyRingLike
    from keyturn.domain.session_keys import SessionKeys
    from keyturn.domain.tokens import KeySet


class Transaction:
    """Collects changes of one manager's keys and sessions, and a host's own aggregates.

    Tokens created or verified with it see its new state; everybody else sees the old one until
    it is committed. Get one from `Service.transaction`, and use it in one thread at a time.
    """

    def __init__(self, owner: object, head: Head) -> None:
        self._owner = owner
        self._is_open = True
        self._aggregates: list[Aggregate] = []
        self._base = head.position
        self.keys: SessionKeys = head.keys.draft()
        self.key_set: KeySet = head.key_set

    def __repr__(self) -> str:
        return f"<Transaction {'open' if self._is_open else 'closed'}>"

    @property
    def aggregates(self) -> list[Aggregate]:
        """The host's own aggregates that are to be saved in the same commit."""
        return list(self._aggregates)

    def save(self, *aggregates: Aggregate) -> None:
        """Have the pending events of a host's own aggregates saved in the same commit."""
        self.require_open(self._owner)
        self._aggregates.extend(aggregates)

    def carry_out(self, command: Callable[[SessionKeys], None], key_ring: KeyRingLike) -> None:
        """Carry out a command on the keys, and have tokens see its effect.

        Args:
            command: changes the keys.
            key_ring: unseals them.
        """
        command(self.keys)
        key_set = key_set_of(self.keys, key_ring, self.key_set)
        if self.keys.key_position <= self._base:
            # The key is not the transaction's own, so its tokens are good without a commit:
            # for them the session begins where the transaction did.
            key_set = replace(key_set, position=self._base)
        self.key_set = key_set

    def close(self) -> None:
        """Take no more; what was not committed is discarded."""
        self._is_open = False

    def require_open(self, owner: object) -> None:
        """Raise unless it is open and of this manager."""
        if owner is not self._owner:
            raise TransactionClosedError("this transaction is of another manager: use its own")
        if not self._is_open:
            raise TransactionClosedError("this transaction is over: begin another one")


def keys_seen(tran: Transaction | None, owner: object) -> KeySet | None:
    """Return the keys as a transaction sees them; None without one."""
    if tran is None:
        return None
    if not isinstance(tran, Transaction):
        raise TransactionClosedError(f"{type(tran).__name__} is no transaction: begin one")
    tran.require_open(owner)
    return tran.key_set
