"""Whose a token is: only of a good one, and with the reason otherwise; and how long it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import keyturn
from keyturn import Authenticated, Refusal, Service, TokenRefusedError
from keyturn.domain.errors import BatchError, DurationError, ExpiryError
from keyturn.testing import ManualClock
from keyturn.testing.clocked_service import ClockedService
from keyturn.testing.workbench import open_service
from tests.actors.ways import ALL_WAYS, Way

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def clocked() -> Iterator[ClockedService]:
    """A service in memory, at noon."""
    service = open_service(clock=ManualClock(NOON.timestamp()))
    yield service
    service.close()


@pytest.fixture(params=sorted(ALL_WAYS))
def way(request: pytest.FixtureRequest, clocked: Service) -> Way:
    """A manager called in each way."""
    made: Way = ALL_WAYS[request.param](clocked)
    return made


def refusal_of(way: Way, token: object, **arguments: Any) -> Refusal:
    with pytest.raises(TokenRefusedError) as raised:
        way.authenticate(token, **arguments)
    assert not isinstance(token, str) or not token or token not in str(raised.value)
    return raised.value.reason


class TestGoodTokens:
    def test_it_says_whose_token_it_is(self, manager: Way) -> None:
        token = manager.create_token(60, "alice", {"role": "admin"})

        who = manager.authenticate(token)

        assert isinstance(who, Authenticated)
        assert (who.subject, who.claims, who.generation) == ("alice", {"role": "admin"}, 1)
        assert who.expires_at == who.issued_at + timedelta(seconds=60)
        assert who.began_at == who.issued_at
        assert manager.inspect_token(token).claims == who.token_claims

    def test_a_refreshed_token_is_of_the_same_session_and_a_token_of_its_own(
        self, way: Way, clocked: ClockedService
    ) -> None:
        token = way.create_token(60, "alice", {"role": "admin"})
        clocked.clock.advance(30)
        way.rotate_key(3600)

        before, after = (way.authenticate(t) for t in (token, way.refresh_token(token)))

        assert (before.began_at, before.issued_at) == (NOON, NOON)
        assert (after.began_at, after.issued_at) == (NOON, NOON + timedelta(seconds=30))
        assert (after.sid, after.subject, after.claims) == (before.sid, "alice", before.claims)
        assert after.token_id != before.token_id
        assert (before.generation, after.generation) == (1, 2)

    def test_it_cannot_be_changed_and_holds_keyturns_claims_apart_from_the_hosts(
        self, way: Way
    ) -> None:
        who = way.authenticate(way.create_token(claims={"a": 1}))

        with pytest.raises(AttributeError):
            who.generation = 2  # type: ignore[misc]
        assert who.claims == {"a": 1}

    @pytest.mark.parametrize(
        ("expiry", "end"),
        [
            (1e10, datetime(2342, 4, 22, 5, 46, 40, tzinfo=UTC)),
            (1e15, datetime.max),
            (1e300, datetime.max),
        ],
    )
    def test_an_expiry_beyond_the_calendar_is_its_end(
        self, way: Way, expiry: float, end: datetime
    ) -> None:
        who = way.authenticate(way.create_token(expiry=expiry))

        assert who.expires_at == end.replace(tzinfo=UTC)

    def test_many_are_told_in_order(self, manager: Way) -> None:
        alice, bob = (manager.create_token(subject=subject) for subject in ("alice", "bob"))

        first, second, third = manager.authenticate_tokens([alice, "x", bob])

        assert isinstance(first, Authenticated)
        assert isinstance(second, TokenRefusedError)
        assert isinstance(third, Authenticated)
        assert (first.subject, second.reason, third.subject) == (
            "alice",
            Refusal.MALFORMED,
            "bob",
        )

    def test_many_that_are_none_is_an_error(self, way: Way) -> None:
        for tokens in ("abc", 5, ["x"] * 10_001):
            with pytest.raises(BatchError):
                way.authenticate_tokens(tokens)  # type: ignore[arg-type]


class TestBadTokens:
    @pytest.mark.parametrize("token", [None, 5, b"bytes", "", "a.b.c", "x" * 10_000, ["t"], "é"])
    def test_what_is_no_token_is_refused(self, way: Way, token: object) -> None:
        assert refusal_of(way, token) is Refusal.MALFORMED

    def test_each_reason_is_told(self, way: Way, clocked: ClockedService) -> None:
        token, short = way.create_token(expiry=1000), way.create_token(expiry=1)
        ended = way.create_token()
        way.end_session(token=ended)
        with keyturn.open(store="memory:", password=None) as other:
            foreign = other.create_token()
        forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
        clocked.clock.advance(2)

        assert way.authenticate(token)
        assert refusal_of(way, short) is Refusal.EXPIRED
        assert refusal_of(way, ended) is Refusal.SESSION_ENDED
        assert refusal_of(way, foreign) is Refusal.UNKNOWN_KEY
        assert refusal_of(way, forged) is Refusal.BAD_SIGNATURE
        way.rotate_key(10)
        clocked.clock.advance(10)
        assert refusal_of(way, token) is Refusal.REVOKED

    def test_an_error_that_is_returned_keeps_no_frame(self, clocked: Service) -> None:
        [kept] = clocked.authenticate_tokens(["secret.secret.secret"])

        assert isinstance(kept, TokenRefusedError)
        assert kept.__traceback__ is None

    def test_it_agrees_with_verify_in_the_event_loop(self, clocked: Service) -> None:
        token, ended = clocked.create_token(), clocked.create_token()
        clocked.end_session(token=ended)

        async def verdicts() -> list[bool]:
            service = keyturn.AsyncService(clocked)
            return [await service.verify_token(t) for t in (token, ended, "x", None)]

        assert asyncio.run(verdicts()) == [True, False, False, False]


class TestMaxAge:
    def test_a_session_that_began_too_long_ago_is_refused_with_a_reason_of_its_own(
        self, way: Way, clocked: ClockedService
    ) -> None:
        token = way.create_token(expiry=1000)
        clocked.clock.advance(60)
        token = way.refresh_token(token)  # which does not make the session younger

        assert way.authenticate(token, max_age=60)
        clocked.clock.advance(1)
        assert refusal_of(way, token, max_age=60) is Refusal.TOO_LONG_AGO
        assert way.authenticate(token)
        assert way.verify_token(token)
        [reply] = way.authenticate_tokens([token], 60)
        assert isinstance(reply, TokenRefusedError)
        assert reply.reason is Refusal.TOO_LONG_AGO

    def test_a_token_that_is_not_good_is_refused_for_that(self, way: Way) -> None:
        assert refusal_of(way, "x", max_age=60) is Refusal.MALFORMED

    @pytest.mark.parametrize("max_age", [-1, "60", True, float("nan"), float("inf"), 10**400])
    def test_what_is_no_number_of_seconds_is_an_error(self, way: Way, max_age: Any) -> None:
        for token in (way.create_token(), "x"):
            with pytest.raises(DurationError, match="max_age"):
                way.authenticate(token, max_age)
            with pytest.raises(DurationError, match="max_age"):
                way.authenticate_tokens([token], max_age)


class TestTransactions:
    def test_it_sees_what_a_transaction_does(self, way: Way) -> None:
        token = way.create_token(subject="alice")

        with way.transaction() as tran:
            way.end_session(token=token, tran=tran)
            assert refusal_of(way, token, tran=tran) is Refusal.SESSION_ENDED
            assert way.authenticate(token).subject == "alice"


class TestHowLongARefreshedTokenLives:
    def lifetime(self, way: Way, token: str) -> timedelta | None:
        who = way.authenticate(token)
        return None if who.expires_at is None else who.expires_at - who.issued_at

    def test_as_long_as_the_old_one_was_to_live(self, way: Way, clocked: ClockedService) -> None:
        token = way.create_token(expiry=60)
        for _ in range(3):
            clocked.clock.advance(59.5)
            token = way.refresh_token(token)
            assert self.lifetime(way, token) == timedelta(seconds=60)

    def test_one_that_is_asked_for_counts_and_then_goes_on(self, way: Way) -> None:
        token = way.refresh_token(way.create_token(expiry=60), 90)

        assert self.lifetime(way, token) == timedelta(seconds=90)
        assert self.lifetime(way, way.refresh_token(token)) == timedelta(seconds=90)

    def test_never_longer_than_the_session_may_last(self) -> None:
        clock = ManualClock(NOON.timestamp())
        service = open_service(max_lifetime=100, clock=clock)
        token = service.create_token(expiry=60)
        clock.advance(60)

        token = service.refresh_token(token)

        assert service.authenticate(token).expires_at == NOON + timedelta(seconds=100)
        clock.advance(41)
        with pytest.raises(TokenRefusedError):
            service.refresh_token(token)
        service.close()

    def test_one_without_an_end_stays_without(self) -> None:
        service = open_service(expiry=None)
        token = service.create_token()

        assert service.authenticate(service.refresh_token(token)).expires_at is None
        assert service.authenticate(service.refresh_token(token, 60)).expires_at is not None
        service.close()

    def test_none_is_the_default_of_the_manager_when_a_token_is_created(self, way: Way) -> None:
        assert self.lifetime(way, way.create_token(expiry=None)) == timedelta(days=1)

    @pytest.mark.parametrize("expiry", [-1, "60", True, float("nan"), float("inf")])
    def test_no_error_says_that_none_would_be_for_ever(self, way: Way, expiry: Any) -> None:
        token = way.create_token()
        for call in (lambda: way.create_token(expiry), lambda: way.refresh_token(token, expiry)):
            with pytest.raises(ExpiryError) as raised:
                call()
            assert "None" not in str(raised.value)
            assert "ever" not in str(raised.value)
