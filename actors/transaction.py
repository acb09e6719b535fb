"""Transactions: several changes that take effect together or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keyturn.actors.asking import ask
from keyturn.actors.messages import BeginTransaction, CommitTransaction
from keyturn.domain.errors import TransactionClosedError

if TYPE_CHECKING:
    import pykka
    from eventsourcing.domain import Aggregate

    from keyturn.domain.session_keys import SessionKeys
    from keyturn.domain.tokens import KeySet


class Transaction:
    """Collects resets of one manager's key, and a host's own aggregates.

    Tokens created or verified with it see its new key; everybody else sees the old one until
    it is committed. Get one from `transaction`, and use it in one thread at a time.
    """

    def __init__(self, owner: object, keys: SessionKeys) -> None:
        self._owner = owner
        self._open = True
        self._aggregates: list[Aggregate] = []
        self.working_keys = keys
        self.key_set: KeySet | None = None

    def __repr__(self) -> str:
        return f"<Transaction {'open' if self._open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def aggregates(self) -> list[Aggregate]:
        """The host's own aggregates that are to be saved in the same commit."""
        return list(self._aggregates)

    def save(self, *aggregates: Aggregate) -> None:
        """Have the pending events of a host's own aggregates saved in the same commit."""
        self.require_open(self._owner)
        self._aggregates.extend(aggregates)

    def close(self) -> None:
        """Take no more; what was not committed is discarded."""
        self._open = False

    def require_open(self, owner: object) -> None:
        """Raise unless it is open and of this manager."""
        if owner is not self._owner:
            raise TransactionClosedError("this transaction is of another manager: use its own")
        if not self._open:
            raise TransactionClosedError("this transaction is over: begin another one")


@contextlib.contextmanager
def transaction(manager: pykka.ActorRef[Any]) -> Iterator[Transaction]:
    """Open a transaction with a session manager, and commit it at the end of the block.

    An exception in the block discards it.

    Raises:
        TransactionConflictError: the log moved meanwhile, and nothing was written.
    """
    tran = ask(manager, BeginTransaction())
    try:
        yield tran
        ask(manager, CommitTransaction(tran))
    finally:
        tran.close()
