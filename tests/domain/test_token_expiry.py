"""Expiry and lifetime: a token is good to the end of its last second, and not longer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn.domain.claims import Claims, check_expiry
from keyturn.domain.errors import ExpiryError, Refusal, TokenRefusedError
from keyturn.domain.tokens import Session, mint, verify
from tests.domain.builders import NOW, forge, from_base64url, good_payload, key_set, signing_key

KEY = signing_key()
KEYS = key_set(KEY)


def token_of(**arguments: Any) -> str:
    defaults: dict[str, Any] = {
        "issuer": "vnode",
        "subject": "alice",
        "began": 3,
        "now": NOW,
        "expiry": 60,
    }
    return mint(KEY, **{**defaults, **arguments})


def claims_of(**arguments: Any) -> Claims:
    return verify(token_of(**arguments), KEYS, NOW)


def refusal_of(token: object, now: float, max_lifetime: float | None = None) -> Refusal:
    with pytest.raises(TokenRefusedError) as caught:
        verify(token, KEYS, now, max_lifetime)
    return caught.value.reason


# --- expiry ------------------------------------------------------------------------------------

times = st.floats(0, 4e9)


@given(times, st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
def test_a_token_is_good_through_the_second_that_exp_names(
    now: float, expiry: float, part: float
) -> None:
    token = token_of(now=now, expiry=expiry)
    exp = int(now + expiry)
    assume(exp + part < exp + 1)

    assert verify(token, KEYS, exp + part)["exp"] == exp


@given(times, st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_token_is_refused_once_that_second_is_over(
    now: float, expiry: float, later: float
) -> None:
    token = token_of(now=now, expiry=expiry)

    assert refusal_of(token, int(now + expiry) + 1 + later) is Refusal.EXPIRED


def test_a_token_of_expiry_0_lives_out_its_second() -> None:
    token = token_of(now=NOW, expiry=0)

    assert verify(token, KEYS, NOW + 0.7)
    assert refusal_of(token, NOW + 1.1) is Refusal.EXPIRED


@pytest.mark.parametrize("expiry", [2.0**53, 1e18, 1e100, 1.7e308, 2**1000])
def test_a_huge_but_finite_expiry_works(expiry: float) -> None:
    checked = check_expiry(expiry)

    assert verify(token_of(expiry=checked), KEYS, NOW + 1e9)["exp"] >= 2**53


@given(st.integers(0, 2**60) | st.floats(0, allow_nan=False, allow_infinity=False))
def test_a_number_of_seconds_is_an_expiry(expiry: float) -> None:
    assert check_expiry(expiry) == float(expiry)


def test_none_is_an_expiry_that_never_comes() -> None:
    assert check_expiry(None) is None


@pytest.mark.parametrize(
    "expiry",
    [
        *(True, False, math.nan, math.inf, -math.inf, -1, -0.001, -(10**400), 10**400),
        *("60", "", b"60", [], {}, object(), 1j),
    ],
    ids=lambda expiry: type(expiry).__name__,
)
def test_what_is_not_a_number_of_seconds_is_no_expiry(expiry: object) -> None:
    with pytest.raises(ExpiryError):
        check_expiry(expiry)


# --- the lifetime of a session -----------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**6))
def test_no_refresh_takes_a_session_beyond_its_lifetime(
    age: int, lifetime: int, expiry: int | None
) -> None:
    session = Session("s" * 22, int(NOW), 1, "alice", {}, expiry=60)
    now = NOW + age

    token = token_of(now=now, expiry=expiry, max_lifetime=lifetime, session=session)

    exp = json.loads(from_base64url(token.split(".")[1]))["exp"]
    latest = int(NOW) + lifetime
    assert exp == (latest if expiry is None else min(latest, int(now + expiry)))


def test_an_expiry_shorter_than_the_lifetime_stays_as_it_is() -> None:
    assert claims_of(expiry=60, max_lifetime=100)["exp"] == int(NOW + 60)


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_session_is_good_through_the_last_second_of_its_lifetime(
    lifetime: int, part: float
) -> None:
    token = token_of(expiry=None)
    now = int(NOW) + lifetime + part
    assume(now < int(NOW) + lifetime + 1)

    assert verify(token, KEYS, now, lifetime)


@given(st.integers(0, 10**6), st.floats(0, 10**6))
def test_a_session_that_is_too_old_is_refused_whatever_its_token_says(
    lifetime: int, later: float
) -> None:
    token = token_of(expiry=None)

    refusal = refusal_of(token, int(NOW) + lifetime + 1 + later, lifetime)

    assert refusal is Refusal.LIFETIME_EXCEEDED


@pytest.mark.parametrize("digits", [20, 310, 4000])
@pytest.mark.parametrize("lifetime", [None, 3600, 3600.5])
def test_g3_no_beginning_of_a_session_is_too_much_for_the_arithmetic(
    digits: int, lifetime: float | None
) -> None:
    token = forge(KEY, good_payload(auth_time=10**digits))

    assert refusal_of(token, NOW, lifetime) is Refusal.MALFORMED
