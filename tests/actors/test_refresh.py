"""A refresh goes on with the session, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import Service
from keyturn.domain.errors import ExpiryError, Refusal, TokenRefusedError
from tests.actors.reading import claims_of
from tests.actors.ways import WAYS, Way


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_manager(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Iterator[Callable[..., Way]]:
    """Open a service with a clock, to be called in one of the ways."""
    opened: list[Service] = []

    def open_manager(**settings: Any) -> Way:
        service = keyturn.open(path=tmp_path, password=None, clock=clock, **settings)
        opened.append(service)
        way: Way = WAYS[getattr(request, "param", "handle")](service)
        return way

    yield open_manager
    for service in opened:
        service.close()


every_way = pytest.mark.parametrize("open_manager", sorted(WAYS), indirect=True)


@every_way
def test_a_refreshed_token_is_good(open_manager: Callable[..., Way]) -> None:
    manager = open_manager()

    token = manager.refresh_token(manager.create_token())

    assert manager.verify_token(token)


@every_way
def test_a_refresh_moves_the_expiry_on(open_manager: Callable[..., Way], clock: Clock) -> None:
    manager = open_manager(expiry=60)
    token = manager.create_token()

    for _ in range(5):
        clock.now += 50
        token = manager.refresh_token(token)

    assert claims_of(token)["exp"] == clock.now + 60


@every_way
def test_a_refresh_can_be_for_longer_or_shorter(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager(expiry=60)

    token = manager.refresh_token(manager.create_token(), expiry=5)

    assert claims_of(token)["exp"] == clock.now + 5


@every_way
def test_a_refresh_keeps_session_subject_and_claims(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager()
    token = manager.create_token(subject="alice", claims={"role": "dev", "n": [1, {"a": None}]})

    clock.now += 100
    refreshed = manager.refresh_token(token)

    before, after = claims_of(token), claims_of(refreshed)
    kept = set(before) - {"iat", "exp", "jti"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


@every_way
def test_a_refresh_changes_what_is_the_tokens_own(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager()
    token = manager.create_token()

    clock.now += 100
    refreshed = manager.refresh_token(token)

    before, after = claims_of(token), claims_of(refreshed)
    assert (before["jti"] != after["jti"], after["iat"] - before["iat"]) == (True, 100)


@every_way
def test_an_expired_token_cannot_be_refreshed(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager(expiry=10)
    token = manager.create_token()
    clock.now += 11

    with pytest.raises(TokenRefusedError) as caught:
        manager.refresh_token(token)

    assert caught.value.reason is Refusal.EXPIRED


@every_way
def test_a_bad_expiry_is_an_error_of_the_refresh(open_manager: Callable[..., Way]) -> None:
    manager = open_manager()
    token = manager.create_token()

    with pytest.raises(ExpiryError):
        manager.refresh_token(token, expiry=-1)


# --- max_lifetime ------------------------------------------------------------------------------


def test_a_refresh_never_outlives_the_session(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager(expiry=60, max_lifetime=100)
    token = manager.create_token()

    clock.now += 55
    token = manager.refresh_token(token)

    claims = claims_of(token)
    assert claims["exp"] == claims["auth_time"] + 100


def test_a_session_ends_with_its_lifetime_however_often_it_is_refreshed(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager(expiry=60, max_lifetime=100)
    token, refreshes = manager.create_token(), 0

    with pytest.raises(TokenRefusedError):
        while refreshes < 1000:
            clock.now += 1
            token = manager.refresh_token(token)
            refreshes += 1

    assert refreshes == 100


def test_a_lifetime_holds_for_tokens_that_never_expire(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager(expiry=None, max_lifetime=100)
    token = manager.create_token()

    clock.now += 101

    assert not manager.verify_token(token)


def test_a_lifetime_that_was_set_later_ends_sessions_that_began_before_it(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    token = open_manager(expiry=None).create_token()
    manager = open_manager(max_lifetime=100)

    clock.now += 101
    with pytest.raises(TokenRefusedError) as caught:
        manager.refresh_token(token)

    assert caught.value.reason is Refusal.LIFETIME_EXCEEDED


def test_an_expiry_longer_than_the_lifetime_is_cut(
    open_manager: Callable[..., Way], clock: Clock
) -> None:
    manager = open_manager(max_lifetime=100)

    claims = claims_of(manager.create_token(expiry=10_000))

    assert claims["exp"] == clock.now + 100
