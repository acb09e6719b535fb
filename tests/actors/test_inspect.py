"""An inspection says all that is known of a token, good or not."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import Refusal, Service, SessionManager, TokenReport
from tests.actors.in_memory import call_style, store_url  # noqa: F401 - fixtures
from tests.actors.reading import claims_of
from tests.actors.ways import Way


def encode(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def test_a_good_token_is_reported_with_its_generation_and_claims(manager: Way) -> None:
    manager.reset_key()
    token = manager.create_token(subject="alice")

    report = manager.inspect_token(token)

    assert (report.valid, report.refusal, report.generation) == (True, None, 2)
    assert report.claims == claims_of(token)


def test_a_good_token_is_reported_with_its_key_id(manager: Way, stored_service: Service) -> None:
    report = manager.inspect_token(manager.create_token())

    assert report.key_id == next(stored_service.history()).key_id


def test_a_good_token_was_revoked_by_nobody(manager: Way) -> None:
    report = manager.inspect_token(manager.create_token())

    assert (report.revoked_at, report.revoked_by, report.revoked_because) == (None, None, None)


def test_what_is_no_token_is_malformed(manager: Way) -> None:
    for nonsense in ["", "a.b.c", None, 5, b"x", "ä.ö.ü", "a" * 9000]:
        assert manager.inspect_token(nonsense) == TokenReport(False, Refusal.MALFORMED)


def test_a_token_of_a_key_that_never_was_is_of_an_unknown_key(
    manager: Way,
) -> None:
    with keyturn.open(store="memory:") as stranger:
        token = stranger.create_token()
        key_id = stranger.inspect_token(token).key_id

    report = manager.inspect_token(token)

    assert report == TokenReport(False, Refusal.UNKNOWN_KEY, key_id=key_id)


def test_a_token_of_another_manager_of_the_log_is_of_an_unknown_key(
    start_manager: Callable[..., pykka.ActorRef[SessionManager]],
) -> None:
    token = keyturn.ask(start_manager(name="other"), keyturn.CreateToken())

    report = keyturn.ask(start_manager(), keyturn.InspectToken(token))

    assert (report.valid, report.refusal) == (False, Refusal.UNKNOWN_KEY)


@pytest.mark.parametrize("when", ["current", "past"])
def test_a_forged_signature_is_reported_without_a_word_of_its_claims(
    manager: Way, when: str
) -> None:
    token = manager.create_token()
    forged = token[:-43] + ("A" if token[-43] != "A" else "B") + token[-42:]
    if when == "past":
        manager.reset_key()

    report = manager.inspect_token(forged)

    assert (report.valid, report.refusal, report.claims, report.generation) == (
        False,
        Refusal.BAD_SIGNATURE,
        None,
        None,
    )


def test_a_token_signed_by_our_key_that_we_never_write_is_malformed(
    manager: Way, stored_service: Service
) -> None:
    header = manager.create_token().split(".")[0]
    key = keyturn.ask(stored_service.manager, keyturn.SetupKey())
    signing_input = f"{header}.{encode({'sub': 'alice'})}"
    mac = hmac.digest(key.secret, signing_input.encode(), hashlib.sha256)

    report = manager.inspect_token(f"{signing_input}.{encode(mac)}")

    assert (report.valid, report.refusal, report.claims) == (False, Refusal.MALFORMED, None)


def test_an_expired_token_is_reported_with_its_claims(tmp_path: Path) -> None:
    now = 1_000_000.0
    with keyturn.open(path=tmp_path, password=None, clock=lambda: now) as service:
        token = service.create_token(expiry=10)
        now += 20

        report = service.inspect_token(token)

    assert (report.valid, report.refusal, report.generation) == (False, Refusal.EXPIRED, 1)
    assert report.claims == claims_of(token)


def test_a_token_of_a_session_that_is_too_old_says_so(tmp_path: Path) -> None:
    now = 1_000_000.0
    with keyturn.open(path=tmp_path, password=None, expiry=None, clock=lambda: now) as service:
        token = service.create_token()
    with keyturn.open(
        path=tmp_path, password=None, max_lifetime=60, clock=lambda: now
    ) as service:
        now += 100

        report = service.inspect_token(token)

    assert report.refusal is Refusal.LIFETIME_EXCEEDED


# --- revoked -----------------------------------------------------------------------------------


def test_a_revoked_token_is_reported_with_who_and_why(manager: Way) -> None:
    token = manager.create_token()
    manager.reset_key("laptop stolen", "alice")
    manager.reset_key("the next one", "bob")

    report = manager.inspect_token(token)

    assert (report.refusal, report.revoked_by, report.revoked_because) == (
        Refusal.REVOKED,
        "alice",
        "laptop stolen",
    )


def test_a_revoked_token_is_reported_with_when(manager: Way) -> None:
    token = manager.create_token()
    before = datetime.now(UTC)
    manager.reset_key()

    report = manager.inspect_token(token)

    assert report.revoked_at is not None
    assert before <= report.revoked_at <= before + timedelta(minutes=1)


def test_a_revoked_token_is_reported_with_its_generation_key_id_and_claims(manager: Way) -> None:
    manager.reset_key()
    token = manager.create_token(claims={"role": "dev"})
    key_id = manager.inspect_token(token).key_id
    for _ in range(3):
        manager.reset_key()

    report = manager.inspect_token(token)

    assert (report.valid, report.generation, report.key_id) == (False, 2, key_id)
    assert report.claims == claims_of(token)


def test_a_token_whose_keys_were_destroyed_elsewhere_is_revoked_by_the_destroyer(
    service: Service, tmp_path: Path
) -> None:
    token = service.create_token()
    with keyturn.open(path=tmp_path / "data", password=None, initiator="alice") as elsewhere:
        elsewhere.stop()
        elsewhere.destroy()

    report = service.inspect_token(token)

    assert (report.refusal, report.revoked_by) == (Refusal.REVOKED, "alice")


@pytest.mark.parametrize("position", range(1, 6))
def test_a_token_of_any_generation_is_found(manager: Way, position: int) -> None:
    tokens: list[Any] = []
    for number in range(6):
        tokens.append(manager.create_token())
        manager.reset_key(f"reset {number}")

    report = manager.inspect_token(tokens[position - 1])

    assert (report.generation, report.revoked_because) == (position, f"reset {position - 1}")
