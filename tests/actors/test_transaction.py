"""Transactions: what they collect takes effect together, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import keyturn
from keyturn import Service
from keyturn.domain.errors import (
    AuditTextError,
    Refusal,
    TokenRefusedError,
)
from tests.actors.reading import kinds
from tests.actors.ways import Way

# --- what a transaction sees -------------------------------------------------------------------


def test_a_token_created_with_a_transaction_is_under_its_new_key(manager: Way) -> None:
    with manager.transaction() as tran:
        manager.reset_key(tran=tran)
        token = manager.create_token(tran=tran)

        assert manager.verify_token(token, tran=tran)


def test_everybody_else_refuses_a_token_of_an_open_transaction(manager: Way) -> None:
    with manager.transaction() as tran:
        manager.reset_key(tran=tran)
        token = manager.create_token(tran=tran)

        assert not manager.verify_token(token)


def test_an_older_token_is_refused_with_the_transaction_and_good_without(manager: Way) -> None:
    token = manager.create_token()

    with manager.transaction() as tran:
        manager.reset_key(tran=tran)

        verdicts = manager.verify_token(token, tran=tran), manager.verify_token(token)

    assert verdicts == (False, True)


def test_a_transaction_without_a_reset_sees_the_current_key(manager: Way) -> None:
    token = manager.create_token()

    with manager.transaction() as tran:
        assert manager.verify_token(token, tran=tran)
        assert manager.verify_token(manager.create_token(tran=tran))


def test_a_refresh_with_a_transaction_does_not_carry_a_token_over_its_reset(manager: Way) -> None:
    token = manager.create_token()

    with manager.transaction() as tran:
        manager.reset_key(tran=tran)
        with pytest.raises(TokenRefusedError) as caught:
            manager.refresh_token(token, tran=tran)

    assert caught.value.reason is Refusal.UNKNOWN_KEY


def test_a_refresh_with_a_transaction_stays_under_its_new_key(manager: Way) -> None:
    with manager.transaction() as tran:
        manager.reset_key(tran=tran)
        token = manager.refresh_token(manager.create_token(tran=tran), tran=tran)

    assert manager.verify_token(token)


# --- commit ------------------------------------------------------------------------------------


def test_after_the_commit_everybody_accepts_its_tokens_and_no_older_one(manager: Way) -> None:
    older = manager.create_token()

    with manager.transaction() as tran:
        manager.reset_key(tran=tran)
        newer = manager.create_token(tran=tran)

    assert (manager.verify_token(older), manager.verify_token(newer)) == (False, True)


def test_nothing_is_recorded_before_the_commit(manager: Way, stored_service: Service) -> None:
    with manager.transaction() as tran:
        manager.reset_key(tran=tran)

        assert kinds(stored_service) == ["generated"]


def test_the_commit_records_who_and_why(manager: Way, stored_service: Service) -> None:
    with manager.transaction() as tran:
        manager.reset_key("stolen", "alice", tran=tran)

    newest = next(stored_service.history(newest_first=True))
    assert (newest.initiator, newest.reason) == ("alice", "stolen")


def test_several_resets_of_a_transaction_are_recorded_one_by_one(
    manager: Way, stored_service: Service
) -> None:
    with manager.transaction() as tran:
        for number in range(3):
            manager.reset_key(f"{number}", tran=tran)

    assert [c.reason for c in stored_service.history()] == [None, "0", "1", "2"]


def test_several_resets_of_a_transaction_are_one_change_of_the_log(
    manager: Way, stored_service: Service
) -> None:
    seen = set()
    with manager.transaction() as tran:
        for _ in range(3):
            manager.reset_key(tran=tran)
            seen.add(len(list(stored_service.history())))

    assert seen == {1}
    assert [c.generation for c in stored_service.history()] == [1, 2, 3, 4]


def test_an_empty_transaction_changes_nothing(manager: Way, stored_service: Service) -> None:
    token = manager.create_token()

    with manager.transaction():
        pass

    assert (manager.verify_token(token), kinds(stored_service)) == (True, ["generated"])


def test_a_reset_after_a_commit_goes_on_from_it(manager: Way, stored_service: Service) -> None:
    with manager.transaction() as tran:
        manager.reset_key(tran=tran)

    manager.reset_key()

    assert [c.generation for c in stored_service.history()] == [1, 2, 3]


def test_g5_a_commit_moves_the_anchor(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        (entry,) = tmp_path.glob("anchor.json.d/*.json")
        before = entry.read_text()
        with service.transaction() as tran:
            service.reset_key(tran=tran)

        after = entry.read_text()

    assert ('"position":1' in before, '"position":2' in after) == (True, True)


# --- discard -----------------------------------------------------------------------------------


def test_an_exception_discards_all_of_it(manager: Way, stored_service: Service) -> None:
    older = manager.create_token()

    with pytest.raises(ZeroDivisionError), manager.transaction() as tran:
        manager.reset_key(tran=tran)
        newer = manager.create_token(tran=tran)
        raise ZeroDivisionError

    assert (manager.verify_token(older), manager.verify_token(newer)) == (True, False)
    assert kinds(stored_service) == ["generated"]


def test_a_reset_that_cannot_be_recorded_leaves_the_rest_of_the_transaction(
    manager: Way, stored_service: Service
) -> None:
    with manager.transaction() as tran:
        manager.reset_key("good", tran=tran)
        with pytest.raises(AuditTextError):
            manager.reset_key("x" * 1001, tran=tran)

    assert [c.reason for c in stored_service.history()] == [None, "good"]
