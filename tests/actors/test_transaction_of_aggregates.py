"""A host's own aggregates are saved with a change of keys, or neither is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.domain import Aggregate, event

import keyturn
from keyturn import Service
from keyturn.domain.errors import (
    TransactionConflictError,
)
from tests.actors.reading import kinds


class Account(Aggregate):
    """A host's own aggregate."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.is_locked = False

    @event("Locked")
    def lock(self) -> None:
        self.is_locked = True


@pytest.fixture
def hosting(store_url: str, tmp_path: Path) -> Iterator[Service]:
    """A service whose log keeps the host's aggregates too."""
    with keyturn.open(
        path=tmp_path / "data", store=store_url, password=None, aggregates=[Account]
    ) as service:
        yield service


def test_a_hosts_aggregate_is_saved_in_the_same_commit(hosting: Service) -> None:
    account = Account("alice")

    with hosting.transaction() as tran:
        hosting.reset_key("locked out", tran=tran)
        account.lock()
        tran.save(account)

    stored: Account = hosting.log.repository.get(account.id)
    assert (stored.is_locked, kinds(hosting)) == (True, ["generated", "reset"])


def test_a_hosts_aggregate_can_be_saved_without_a_reset(hosting: Service) -> None:
    account = Account("alice")

    with hosting.transaction() as tran:
        tran.save(account)

    assert account.id in hosting.log.repository


def test_neither_is_saved_when_the_key_was_reset_meanwhile(hosting: Service) -> None:
    account = Account("alice")

    with pytest.raises(TransactionConflictError), hosting.transaction() as tran:
        hosting.reset_key("collected", tran=tran)
        tran.save(account)
        hosting.reset_key("meanwhile")

    assert account.id not in hosting.log.repository
    assert [c.reason for c in hosting.history()] == [None, "meanwhile"]


def test_neither_is_saved_when_the_aggregate_was_changed_meanwhile(hosting: Service) -> None:
    account = Account("alice")
    hosting.log.save(account)
    theirs: Account = hosting.log.repository.get(account.id)
    theirs.lock()

    with pytest.raises(TransactionConflictError), hosting.transaction() as tran:
        hosting.reset_key(tran=tran)
        account.lock()
        tran.save(account)
        hosting.log.save(theirs)

    assert kinds(hosting) == ["generated"]


def test_neither_is_saved_when_an_exception_ends_the_block(hosting: Service) -> None:
    account = Account("alice")

    with pytest.raises(ZeroDivisionError), hosting.transaction() as tran:
        hosting.reset_key(tran=tran)
        tran.save(account)
        raise ZeroDivisionError

    assert (account.id in hosting.log.repository, kinds(hosting)) == (False, ["generated"])


def test_a_commit_that_was_in_conflict_can_be_run_again(hosting: Service) -> None:
    account = Account("alice")
    with pytest.raises(TransactionConflictError), hosting.transaction() as tran:
        hosting.reset_key(tran=tran)
        tran.save(account)
        hosting.reset_key()

    with hosting.transaction() as again:
        hosting.reset_key(tran=again)
        again.save(account)

    assert account.id in hosting.log.repository
