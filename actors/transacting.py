"""The block in which a transaction with a session manager is open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pykka

from keyturn.actors.asking import ask
from keyturn.actors.messages import BeginTransaction, CommitTransaction
from keyturn.actors.transaction import Transaction


@contextlib.contextmanager
def transaction(manager: pykka.ActorRef[Any]) -> Iterator[Transaction]:
    """Open a transaction with a session manager, and commit it at the end of the block.

    An exception in the block discards it.

    Args:
        manager: the manager's actor.

    Raises:
        TransactionConflictError: the log moved meanwhile, and nothing was written.
    """
    tran = ask(manager, BeginTransaction())
    try:
        yield tran
        ask(manager, CommitTransaction(tran))
    finally:
        tran.close()
