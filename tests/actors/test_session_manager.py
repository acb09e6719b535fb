"""Every message to a session manager does what the design's table says."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import EventLog, KeyRing, RotationHistory, SessionKey, SessionManager
from keyturn.domain.errors import (
    AuditTextError,
    ClaimError,
    ExpiryError,
    Refusal,
    TokenRefusedError,
)
from tests.actors.in_memory import call_style, store_url  # noqa: F401 - fixtures
from tests.actors.reading import claims_of
from tests.actors.ways import Way

StartManager = Callable[..., pykka.ActorRef[SessionManager]]


# --- SetupKey ----------------------------------------------------------------------------------


def test_setup_key_replies_with_the_current_session_key(ref: pykka.ActorRef[Any]) -> None:
    key = keyturn.ask(ref, keyturn.SetupKey())

    assert (type(key), key.generation, len(key.secret)) == (SessionKey, 1, 32)


def test_setup_key_changes_nothing_when_there_is_a_key(
    ref: pykka.ActorRef[Any], log: EventLog
) -> None:
    keys = [keyturn.ask(ref, keyturn.SetupKey()) for _ in range(3)]

    assert (keys[0] == keys[1] == keys[2], len(list(RotationHistory(log)))) == (True, 1)


def test_setup_key_replies_with_a_key_that_does_not_show_its_secret(
    ref: pykka.ActorRef[Any],
) -> None:
    key = keyturn.ask(ref, keyturn.SetupKey())

    assert repr(key.secret)[2:-1] not in repr(key)
    assert "secret" not in repr(key)


def test_setup_key_replies_with_the_new_key_after_a_reset(ref: pykka.ActorRef[Any]) -> None:
    before = keyturn.ask(ref, keyturn.SetupKey())

    keyturn.ask(ref, keyturn.ResetKey())

    after = keyturn.ask(ref, keyturn.SetupKey())
    assert (after.generation, after.key_id != before.key_id, after.secret != before.secret) == (
        2,
        True,
        True,
    )


# --- CreateToken and VerifyToken ---------------------------------------------------------------


def test_a_created_token_is_text_that_verifies(manager: Way) -> None:
    token = manager.create_token()

    assert (type(token), manager.verify_token(token)) == (str, True)


def test_g3_anything_that_is_no_good_token_is_false_and_never_an_exception(manager: Way) -> None:
    for nonsense in ["", "a.b.c", "ä", None, 5, b"a.b.c", object(), "a" * 9000]:
        assert manager.verify_token(nonsense) is False, nonsense


def test_g3_an_altered_token_is_refused(manager: Way) -> None:
    token = manager.create_token()
    head, payload, signature = token.split(".")

    forged = ".".join([head, payload[:-1] + ("A" if payload[-1] != "A" else "B"), signature])

    assert not manager.verify_token(forged)


def test_a_token_has_the_subject_and_claims_that_were_given(manager: Way) -> None:
    token = manager.create_token(subject="alice", claims={"role": ["admin", "dev"]})

    claims = claims_of(token)
    assert (claims["sub"], claims["role"]) == ("alice", ["admin", "dev"])


def test_a_token_of_nobody_in_particular_is_the_nodes(
    ref: pykka.ActorRef[Any], key_ring: KeyRing
) -> None:
    claims = claims_of(keyturn.ask(ref, keyturn.CreateToken()))

    assert (claims["iss"], claims["sub"]) == (key_ring.node_id, key_ring.node_id)


def test_every_token_begins_a_session_of_its_own(manager: Way) -> None:
    claims = [claims_of(manager.create_token()) for _ in range(50)]

    assert (len({c["sid"] for c in claims}), len({c["jti"] for c in claims})) == (50, 50)


def test_a_token_expires_after_a_day_unless_told_otherwise(ref: pykka.ActorRef[Any]) -> None:
    claims = claims_of(keyturn.ask(ref, keyturn.CreateToken()))

    assert claims["exp"] - claims["iat"] in (86400, 86401)


def test_a_token_that_never_expires_must_be_asked_for(start_manager: StartManager) -> None:
    ref = start_manager(expiry=None)

    claims = claims_of(keyturn.ask(ref, keyturn.CreateToken()))

    assert "exp" not in claims


def test_a_token_is_good_through_the_second_of_its_expiry_and_no_longer(
    start_manager: StartManager,
) -> None:
    now = 1_000_000.0
    ref = start_manager(clock=lambda: now)
    token = keyturn.ask(ref, keyturn.CreateToken(expiry=10))

    verdicts = []
    for moment in (1_000_010.9, 1_000_011.0):
        now = moment
        verdicts.append(keyturn.ask(ref, keyturn.VerifyToken(token)))

    assert verdicts == [True, False]


BAD_EXPIRIES: list[Any] = [-1, float("nan"), float("inf"), "5", True]
BAD_CLAIMS: list[Any] = [{"exp": 1}, {"a": (1,)}, {"a": float("nan")}, {1: 2}, [1]]
BAD_SUBJECTS: list[Any] = ["", 5, "\ud800"]


def test_an_expiry_that_is_no_number_of_seconds_is_an_error(manager: Way) -> None:
    for expiry in BAD_EXPIRIES:
        with pytest.raises(ExpiryError):
            manager.create_token(expiry=expiry)


def test_a_default_expiry_that_is_none_is_an_error_at_the_start(
    start_manager: StartManager,
) -> None:
    for expiry in BAD_EXPIRIES:
        with pytest.raises(ExpiryError):
            start_manager(expiry=expiry)


def test_a_claim_that_cannot_be_kept_as_it_is_is_an_error(manager: Way) -> None:
    for claims in BAD_CLAIMS:
        with pytest.raises(ClaimError):
            manager.create_token(claims=claims)


def test_a_subject_that_is_no_text_is_an_error(manager: Way) -> None:
    for subject in BAD_SUBJECTS:
        with pytest.raises(ClaimError):
            manager.create_token(subject=subject)


# --- ResetKey ----------------------------------------------------------------------------------


def test_g2_a_reset_refuses_every_earlier_token_at_once(manager: Way) -> None:
    tokens = [manager.create_token() for _ in range(20)]

    manager.reset_key()

    assert not any(manager.verify_token(token) for token in tokens)


def test_a_token_from_after_a_reset_is_good(manager: Way) -> None:
    manager.reset_key()

    assert manager.verify_token(manager.create_token())


def test_a_reset_records_who_and_why(manager: Way, stored_service: keyturn.Service) -> None:
    manager.reset_key("laptop stolen", "alice")

    newest = next(stored_service.history(newest_first=True))
    assert (newest.kind, newest.generation, newest.initiator, newest.reason) == (
        "reset",
        2,
        "alice",
        "laptop stolen",
    )


def test_who_is_recorded_unless_said_is_the_user_at_the_host(
    manager: Way, stored_service: keyturn.Service
) -> None:
    manager.reset_key()

    newest = next(stored_service.history(newest_first=True))
    assert newest.initiator == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def test_a_manager_can_have_an_initiator_of_its_own(
    start_manager: StartManager, log: EventLog
) -> None:
    ref = start_manager(initiator="deploy bot")

    keyturn.ask(ref, keyturn.ResetKey())

    assert {change.initiator for change in RotationHistory(log)} == {"deploy bot"}


def test_nobody_is_recorded_if_that_is_what_was_said(
    manager: Way, stored_service: keyturn.Service
) -> None:
    manager.reset_key(initiator="")

    assert next(stored_service.history(newest_first=True)).initiator == ""


def test_a_reason_that_cannot_be_recorded_resets_nothing(manager: Way) -> None:
    token = manager.create_token()
    reasons: list[Any] = ["x" * 1001, "\ud800", 5]

    for reason in reasons:
        with pytest.raises(AuditTextError):
            manager.reset_key(reason)

    assert manager.verify_token(token)


def test_an_initiator_that_cannot_be_recorded_is_named_as_the_culprit(manager: Way) -> None:
    with pytest.raises(AuditTextError) as caught:
        manager.reset_key(initiator="x" * 256)

    assert caught.value.field == "initiator"


# --- Start with fresh --------------------------------------------------------------------------


def test_a_fresh_start_is_a_reset_whose_reason_says_so(
    start_manager: StartManager, log: EventLog
) -> None:
    start_manager()

    start_manager(fresh=True)

    kinds = [(change.kind, change.reason) for change in RotationHistory(log)]
    assert kinds == [("generated", None), ("reset", "fresh start")]


def test_the_first_start_of_all_may_be_fresh(start_manager: StartManager, log: EventLog) -> None:
    start_manager(fresh=True)

    assert [change.kind for change in RotationHistory(log)] == ["generated"]


# --- InspectToken and RefreshToken have files of their own -------------------------------------


def test_a_refused_refresh_says_why(manager: Way) -> None:
    token = manager.create_token()
    manager.reset_key()

    with pytest.raises(TokenRefusedError) as caught:
        manager.refresh_token(token)

    assert caught.value.reason is Refusal.UNKNOWN_KEY
