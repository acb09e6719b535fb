"""Of any token ever issued it can be said whether it was good at a moment, and who ended it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keyturn
from keyturn import InspectToken, KeyRing, Refusal, Service, TokenReport
from keyturn.aio import AsyncService
from tests.actors.past import HOUR, INSTANT, MINUTE, Past

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def past(tmp_path: Path, key_ring: KeyRing) -> Iterator[Past]:
    past = Past(tmp_path / "data", key_ring, expiry=None)
    with past.service:
        yield past


# --- at a moment -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "refusal"),
    [
        (-HOUR, Refusal.NOT_ISSUED_YET),
        (MINUTE - 1, Refusal.NOT_ISSUED_YET),
        (MINUTE, None),
        (MINUTE + 10, None),
        (MINUTE + 12, Refusal.EXPIRED),
        (HOUR - INSTANT, Refusal.EXPIRED),
        (HOUR, Refusal.REVOKED),
        (1000 * HOUR, Refusal.REVOKED),
    ],
)
def test_a_token_of_a_past_generation_was_good_from_its_issue_until_it_expired(
    past: Past, at: float, refusal: Refusal | None
) -> None:
    token = past.token(MINUTE, expiry=10)
    past.reset(HOUR)
    past.reset(2 * HOUR)

    report = past.inspect(token, at)

    assert (report.valid, report.refusal) == (refusal is None, refusal)


@pytest.mark.parametrize("generation", [1, 2, 3, 4])
def test_a_token_of_any_generation_was_good_until_the_very_end_of_its_key(
    past: Past, generation: int
) -> None:
    tokens = []
    for number in range(4):
        tokens.append(past.token(number * HOUR + MINUTE))
        past.reset((number + 1) * HOUR)

    end = generation * HOUR
    reports = [past.inspect(tokens[generation - 1], at) for at in (end - INSTANT, end)]

    assert [report.refusal for report in reports] == [None, Refusal.REVOKED]
    assert {report.generation for report in reports} == {generation}


def test_before_its_key_was_made_a_token_was_not_issued_though_in_the_same_second(
    past: Past,
) -> None:
    begin = HOUR + 0.5 - past.start.microsecond / 1e6  # in the middle of a second
    past.reset(begin)
    token = past.token(begin + 0.1)

    report = past.inspect(token, begin - INSTANT)

    assert report.refusal is Refusal.NOT_ISSUED_YET


def test_a_session_that_was_too_old_at_the_moment_says_so(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    past = Past(tmp_path / "data", key_ring, expiry=None)
    with past.service:
        token = past.token(0)
        past.reset(HOUR)

    stricter = Past(tmp_path / "data", key_ring, max_lifetime=60)
    with stricter.service:
        refusals = [stricter.inspect(token, at).refusal for at in (59, 62)]

    assert refusals == [None, Refusal.LIFETIME_EXCEEDED]


def test_a_token_that_is_good_now_says_whether_it_was_then(past: Past) -> None:
    past.reset(HOUR)
    token = past.token(2 * HOUR)

    before, after = past.inspect(token, HOUR), past.inspect(token, 3 * HOUR)

    assert (before.refusal, after.refusal) == (Refusal.NOT_ISSUED_YET, None)


@pytest.mark.parametrize("at", [-HOUR, MINUTE, HOUR, 3 * HOUR])
def test_whatever_the_moment_the_report_says_who_ended_the_key_when_and_why(
    past: Past, at: float
) -> None:
    token = past.token(0, subject="alice")
    past.reset(HOUR, "bob", "laptop stolen")
    past.reset(2 * HOUR, "eve", "the next one")

    report = past.inspect(token, at)

    assert (report.revoked_at, report.revoked_by, report.revoked_because) == (
        past.moment(HOUR),
        "bob",
        "laptop stolen",
    )
    assert report.claims is not None
    assert (report.generation, report.claims["sub"]) == (1, "alice")


def test_a_key_that_was_destroyed_was_ended_by_the_destroyer_though_there_is_a_new_one(
    past: Past,
) -> None:
    token = past.token(0)
    past.destroy(HOUR, "dave")
    past.regenerate(2 * HOUR)

    report = past.inspect(token, HOUR)

    assert (report.refusal, report.revoked_at, report.revoked_by, report.revoked_because) == (
        Refusal.REVOKED,
        past.moment(HOUR),
        "dave",
        "the end",
    )


def test_a_moment_in_another_time_zone_is_the_same_moment(past: Past) -> None:
    token = past.token(0)
    past.reset(HOUR)
    moment = past.moment(HOUR - 1).astimezone(timezone(timedelta(hours=9)))

    assert past.service.inspect_token(token, moment).valid


# --- every way, and every input ----------------------------------------------------------------


def test_handle_message_and_async_say_the_same(past: Past) -> None:
    token, moment = past.token(0), past.moment(MINUTE)
    past.reset(HOUR)

    by_handle = past.service.inspect_token(token, moment)
    by_message = keyturn.ask(past.service.manager, InspectToken(token, moment))
    by_async = asyncio.run(AsyncService(past.service).inspect_token(token, moment))

    assert by_handle == by_message == by_async
    assert by_handle.valid


@pytest.mark.parametrize("at", [None, datetime(2024, 1, 1, tzinfo=UTC)])
@shared
@given(
    token=st.text()
    | st.binary()
    | st.none()
    | st.integers()
    | st.floats()
    | st.lists(st.text())
    | st.lists(st.text("abcAB019-_="), min_size=3, max_size=3).map(".".join)
)
def test_an_inspection_never_raises_on_what_is_no_token(
    service: Service, token: object, at: datetime | None
) -> None:
    assert service.inspect_token(token, at) == TokenReport(False, Refusal.MALFORMED)


@shared
@given(place=st.integers(0, 400), character=st.characters())
def test_an_inspection_never_raises_on_an_altered_token(
    service: Service, place: int, character: str
) -> None:
    token = service.create_token()
    altered = token[: place % len(token)] + character + token[place % len(token) + 1 :]

    report = service.inspect_token(altered)

    assert report.valid is (altered == token)


@shared
@given(
    at=st.datetimes(
        timezones=st.sampled_from(
            [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))]
        )
    )
)
def test_an_inspection_never_raises_whatever_the_moment(service: Service, at: datetime) -> None:
    token = service.create_token()

    assert service.inspect_token(token, at).generation == 1
