"""A log that moved meanwhile is a conflict, and what is over takes no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import Service, SessionManager, Transaction
from keyturn.domain.errors import (
    SessionManagerDestroyedError,
    SessionManagerNotRunningError,
    TransactionClosedError,
    TransactionConflictError,
)
from tests.actors.reading import kinds
from tests.actors.test_transaction_of_aggregates import Account
from tests.actors.ways import Way


def test_a_reset_by_somebody_else_meanwhile_is_a_conflict(manager: Way) -> None:
    with pytest.raises(TransactionConflictError), manager.transaction() as tran:
        manager.reset_key(tran=tran)
        manager.reset_key()


def test_nothing_of_a_transaction_in_conflict_is_written(
    manager: Way, stored_service: Service
) -> None:
    with pytest.raises(TransactionConflictError), manager.transaction() as tran:
        manager.reset_key("collected", tran=tran)
        token = manager.create_token(tran=tran)
        manager.reset_key("meanwhile")

    assert [c.reason for c in stored_service.history()] == [None, "meanwhile"]
    assert not manager.verify_token(token)


def test_of_two_transactions_at_once_the_second_to_commit_is_in_conflict(
    manager: Way, stored_service: Service
) -> None:
    with pytest.raises(TransactionConflictError), manager.transaction() as second:
        manager.reset_key("second", tran=second)
        with manager.transaction() as first:
            manager.reset_key("first", tran=first)

    assert [c.reason for c in stored_service.history()] == [None, "first"]


def test_a_reset_by_another_process_meanwhile_is_a_conflict(
    service: Service, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    with pytest.raises(TransactionConflictError), service.transaction() as tran:
        service.reset_key("collected", tran=tran)
        run_python(
            "import sys, keyturn\n"
            "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
            "    service.reset_key('elsewhere')\n",
            tmp_path / "data",
        )

    assert [c.reason for c in service.history()] == [None, "elsewhere"]


def test_a_manager_that_was_destroyed_meanwhile_is_a_conflict(
    manager: Way, stored_service: Service
) -> None:
    ref = SessionManager.start(stored_service.log, _key_ring_of(stored_service))

    with pytest.raises(TransactionConflictError), manager.transaction() as tran:
        manager.reset_key(tran=tran)
        keyturn.ask(ref, keyturn.Stop())
        keyturn.ask(ref, keyturn.Destroy())

    with pytest.raises(SessionManagerDestroyedError):
        manager.create_token()


def _key_ring_of(service: Service) -> Any:
    return service.parts.key_ring


# --- what is over is over ----------------------------------------------------------------------


@pytest.fixture
def closed(manager: Way) -> Transaction:
    with manager.transaction() as tran:
        pass
    return tran


def test_a_transaction_that_is_over_takes_no_more(manager: Way, closed: Transaction) -> None:
    uses: list[Callable[[], object]] = [
        lambda: manager.reset_key(tran=closed),
        lambda: manager.create_token(tran=closed),
        lambda: manager.verify_token("a.b.c", tran=closed),
        lambda: manager.refresh_token("a.b.c", tran=closed),
        lambda: closed.save(Account("alice")),
    ]

    for use in uses:
        with pytest.raises(TransactionClosedError):
            use()


def test_what_is_no_transaction_cannot_be_used_as_one(manager: Way) -> None:
    junk: Any = "a transaction"
    uses: list[Callable[[], object]] = [
        lambda: manager.create_token(tran=junk),
        lambda: manager.verify_token("a.b.c", tran=junk),
        lambda: manager.refresh_token("a.b.c", tran=junk),
    ]

    for use in uses:
        with pytest.raises(TransactionClosedError, match="str is no transaction"):
            use()


def test_a_transaction_says_whether_it_is_open(manager: Way) -> None:
    with manager.transaction() as tran:
        inside = repr(tran)

    assert (inside, repr(tran)) == ("<Transaction open>", "<Transaction closed>")


def test_a_transaction_of_another_manager_is_refused(
    start_manager: Callable[..., pykka.ActorRef[SessionManager]],
) -> None:
    one, other = start_manager(name="one"), start_manager(name="other")

    with keyturn.transaction(one) as tran, pytest.raises(TransactionClosedError, match="another"):
        keyturn.ask(other, keyturn.ResetKey(tran=tran))


def test_a_transaction_needs_a_manager_that_runs(manager: Way) -> None:
    manager.stop()

    with pytest.raises(SessionManagerNotRunningError), manager.transaction():
        pytest.fail("it was opened")


def test_a_transaction_is_not_committed_by_a_manager_that_was_stopped(
    manager: Way, stored_service: Service
) -> None:
    with pytest.raises(SessionManagerNotRunningError), manager.transaction() as tran:
        manager.reset_key(tran=tran)
        manager.stop()

    assert kinds(stored_service) == ["generated"]
