"""The specification, clause by clause: `SessionManager`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest
import structlog

import keyturn
from keyturn import (
    CreateToken,
    Destroy,
    EventLog,
    KeyRing,
    ResetKey,
    RotationHistory,
    SessionKey,
    SessionManager,
    SetupKey,
    Start,
    Stop,
    VerifyToken,
    ask,
    transaction,
)
from keyturn.domain.errors import SessionManagerNotRunningError

Ref = pykka.ActorRef[SessionManager]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """A real log in a SQLite file."""
    log = keyturn.open_event_log(f"sqlite:///{tmp_path}/keyturn.db")
    yield log
    pykka.ActorRegistry.stop_all()
    log.close()


@pytest.fixture
def manager(log: EventLog, key_ring: KeyRing) -> Ref:
    return SessionManager.start(log, key_ring)


def lifetime_of(manager: Ref, token: str) -> int:
    claims = ask(manager, keyturn.InspectToken(token)).claims
    assert claims is not None
    lifetime: int = claims["exp"] - claims["iat"]
    return lifetime


def test_create_session_manager_starts_one_on_a_database_and_a_key_ring(
    log: EventLog, key_ring: KeyRing
) -> None:
    manager = SessionManager.start(log, key_ring)

    assert ask(manager, VerifyToken(ask(manager, CreateToken())))


def test_create_session_manager_takes_an_expiry_for_its_tokens(
    log: EventLog, key_ring: KeyRing
) -> None:
    manager = SessionManager.start(log, key_ring, expiry=3600)

    assert lifetime_of(manager, ask(manager, CreateToken())) == 3600


def test_create_session_manager_takes_a_logger(log: EventLog, key_ring: KeyRing) -> None:
    with structlog.testing.capture_logs() as lines:
        SessionManager.start(log, key_ring, logger=structlog.get_logger())

    assert [line["kind"] for line in lines] == ["generated"]


def test_create_session_manager_without_fresh_keeps_the_sessions_of_before(
    log: EventLog, key_ring: KeyRing, manager: Ref
) -> None:
    token = ask(manager, CreateToken())
    manager.stop()

    assert ask(SessionManager.start(log, key_ring), VerifyToken(token))


def test_create_session_manager_with_fresh_starts_fresh(
    log: EventLog, key_ring: KeyRing, manager: Ref
) -> None:
    token = ask(manager, CreateToken())
    manager.stop()

    assert not ask(SessionManager.start(log, key_ring, fresh=True), VerifyToken(token))


def test_start_sets_up_the_session_key(manager: Ref) -> None:
    ask(manager, Stop())

    ask(manager, Start())

    assert ask(manager, SetupKey()).generation == 1


def test_start_with_fresh_clears_the_existing_session_data(manager: Ref) -> None:
    token = ask(manager, CreateToken())
    ask(manager, Stop())

    ask(manager, Start(fresh=True))

    assert not ask(manager, VerifyToken(token))


def test_stop_stops_the_manager_cleanly(manager: Ref) -> None:
    token = ask(manager, CreateToken())

    ask(manager, Stop())

    with pytest.raises(SessionManagerNotRunningError):
        ask(manager, CreateToken())
    ask(manager, Start())
    assert ask(manager, VerifyToken(token))


def test_destroy_ends_all_sessions_of_the_manager(
    log: EventLog, key_ring: KeyRing, manager: Ref
) -> None:
    token = ask(manager, CreateToken())
    ask(manager, Stop())

    ask(manager, Destroy())

    assert not ask(SessionManager.start(log, key_ring), VerifyToken(token))


def test_destroy_with_purge_clears_all_its_data_from_the_database(
    log: EventLog, manager: Ref
) -> None:
    ask(manager, ResetKey())
    ask(manager, Stop())

    ask(manager, Destroy(purge=True))

    # One event is left, which says so: or else rows that come back could not be told.
    assert [(change.position, change.kind) for change in RotationHistory(log)] == [
        (3, "destroyed")
    ]
    assert [row.topic for row in log.rows()] == ["keyturn.KeysDestroyed"]


def test_reset_key_makes_a_new_session_key(manager: Ref) -> None:
    before = ask(manager, SetupKey())

    ask(manager, ResetKey())

    after = ask(manager, SetupKey())
    assert after.secret != before.secret
    assert after.generation == before.generation + 1


def test_reset_key_in_a_transaction_takes_effect_with_it(manager: Ref) -> None:
    token = ask(manager, CreateToken())

    with transaction(manager) as tran:
        ask(manager, ResetKey(tran=tran))
        assert ask(manager, VerifyToken(token))

    assert not ask(manager, VerifyToken(token))


def test_create_token_creates_a_new_session_token_each_time(manager: Ref) -> None:
    first, second = (ask(manager, CreateToken()) for _ in range(2))

    assert first != second
    assert ask(manager, VerifyToken(first))
    assert ask(manager, VerifyToken(second))


def test_create_token_takes_a_custom_expiry(manager: Ref) -> None:
    token = ask(manager, CreateToken(expiry=1800))

    assert lifetime_of(manager, token) == 1800


def test_create_token_in_a_transaction_sees_its_key(manager: Ref) -> None:
    with transaction(manager) as tran:
        ask(manager, ResetKey(tran=tran))
        token = ask(manager, CreateToken(1800, tran=tran))

    assert ask(manager, VerifyToken(token))


def test_verify_token_replies_true_for_a_valid_token(manager: Ref) -> None:
    assert ask(manager, VerifyToken(ask(manager, CreateToken()))) is True


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", None, 5, b"token", object()])
def test_verify_token_replies_false_for_everything_else(manager: Ref, token: object) -> None:
    assert ask(manager, VerifyToken(token)) is False


def test_verify_token_in_a_transaction_sees_its_key(manager: Ref) -> None:
    token = ask(manager, CreateToken())

    with transaction(manager) as tran:
        ask(manager, ResetKey(tran=tran))

        assert ask(manager, VerifyToken(token, tran)) is False
        assert ask(manager, VerifyToken(token)) is True


def test_setup_key_makes_sure_that_there_is_a_key_and_replies_with_it(manager: Ref) -> None:
    key = ask(manager, SetupKey())

    assert isinstance(key, SessionKey)
    assert len(key.secret) == 32
    assert ask(manager, SetupKey()) == key
