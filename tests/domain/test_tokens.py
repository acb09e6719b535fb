"""Tokens: what is minted is good until its time is over, and says what it was told to."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.domain.claims import RESERVED_CLAIMS, Claims, check_claims
from keyturn.domain.ended_sessions import EndedSessions
from keyturn.domain.errors import ClaimError, Refusal, TokenRefusedError
from keyturn.domain.tokens import (
    MAX_TOKEN_LENGTH,
    KeySet,
    Session,
    SessionKey,
    SigningKey,
    mint,
    read_key_id,
    session_of,
    verify,
)
from tests.domain import golden
from tests.domain.builders import NOW, from_base64url, key_set, signing_key

KEY = signing_key()
KEYS = key_set(KEY)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
names = st.text(max_size=20).filter(lambda name: name not in RESERVED_CLAIMS)
host_claims = st.dictionaries(names, json_values, max_size=5)


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


# --- minting -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(host_claims)
def test_what_a_host_puts_into_a_token_comes_out_of_it(claims: Claims) -> None:
    found = claims_of(claims=check_claims(claims))

    own = {name: value for name, value in found.items() if name not in RESERVED_CLAIMS}
    assert json.dumps(own) == json.dumps(claims)  # 1, 1.0 and True are not the same here


def test_a_token_says_who_for_whom_when_and_until_when() -> None:
    claims = claims_of(issuer="vnode", subject="alice", expiry=60)

    assert (claims["iss"], claims["sub"]) == ("vnode", "alice")
    assert (claims["iat"], claims["auth_time"]) == (int(NOW), int(NOW))
    assert (claims["exp"], claims["keyturn_pos"]) == (int(NOW + 60), 3)


def test_a_token_has_exactly_the_documented_header() -> None:
    header = token_of().partition(".")[0]

    assert from_base64url(header) == (
        b'{"alg":"HS256","kid":"' + KEY.key_id.encode() + b'","typ":"JWT"}'
    )


def test_a_token_is_three_parts_of_base64url() -> None:
    token = token_of(claims={"role": "ünï"})

    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]{43}", token, re.ASCII)


def test_no_two_tokens_have_the_same_id_or_session() -> None:
    tokens = [claims_of() for _ in range(200)]

    assert len({claims["jti"] for claims in tokens} | {claims["sid"] for claims in tokens}) == 400


def test_a_token_without_expiry_has_no_exp_and_is_good_for_ever() -> None:
    claims = verify(token_of(expiry=None), KEYS, now=1e300)

    assert "exp" not in claims


def test_a_refreshed_token_is_of_the_same_session() -> None:
    first = claims_of(subject="alice", claims={"role": "admin"})
    session = session_of(first)

    again = verify(
        token_of(
            now=NOW + 50, began=9, session=session, subject=session.subject, claims=session.claims
        ),
        KEYS,
        NOW + 50,
    )

    kept = ("sid", "auth_time", "keyturn_pos", "sub", "role")
    assert [again[name] for name in kept] == [first[name] for name in kept]
    assert again["jti"] != first["jti"]


def test_a_session_is_what_a_refresh_keeps() -> None:
    claims = claims_of(subject="alice", claims={"role": "admin"})

    session = session_of(claims)

    assert session == Session(claims["sid"], int(NOW), 3, "alice", {"role": "admin"}, expiry=60)


@given(st.integers(7000, 8500))
def test_a_token_of_over_8_kib_is_not_minted(size: int) -> None:
    try:
        token = token_of(claims={"pad": "x" * (size * 3 // 4)})
    except ClaimError:
        assert size > MAX_TOKEN_LENGTH - 600
    else:
        assert len(token) <= MAX_TOKEN_LENGTH
        assert verify(token, KEYS, NOW)


def test_the_longest_token_has_exactly_8_kib_and_is_good() -> None:
    lengths = []
    for pad in range(5000, 8192):
        try:
            token = token_of(claims={"pad": "x" * pad})
        except ClaimError:
            break
        lengths.append(len(token))

    assert lengths[-1] in range(MAX_TOKEN_LENGTH - 1, MAX_TOKEN_LENGTH + 1)
    assert verify(token, KEYS, NOW)


# --- keys --------------------------------------------------------------------------------------


def test_g3_a_token_of_a_key_that_is_not_accepted_is_refused() -> None:
    assert refusal_of(mint_with(signing_key(2)), NOW) is Refusal.UNKNOWN_KEY


def mint_with(key: SigningKey) -> str:
    return mint(key, issuer="vnode", subject="alice", began=1, now=NOW, expiry=60)


def key_set_with_overlap(old: SigningKey, new: SigningKey, good_until: float) -> KeySet:
    accepted = {new.header: (new, None), old.header: (old, good_until)}
    return KeySet(new, accepted, EndedSessions(), 3)


def test_without_keys_no_token_is_good() -> None:
    with pytest.raises(TokenRefusedError):
        verify(token_of(), KeySet(None, {}, EndedSessions(), 3), NOW)


@given(st.floats(1, 59))
def test_a_key_in_overlap_is_accepted_until_its_overlap_ends(overlap: float) -> None:
    old, new = signing_key(1), signing_key(2)
    keys = key_set_with_overlap(old, new, NOW + overlap)
    token = mint_with(old)

    assert verify(token, keys, math.nextafter(NOW + overlap, 0))
    with pytest.raises(TokenRefusedError) as caught:
        verify(token, keys, NOW + overlap)
    assert caught.value.reason is Refusal.REVOKED


def test_a_token_of_a_key_in_overlap_still_expires() -> None:
    old = signing_key(1)
    keys = key_set_with_overlap(old, signing_key(2), NOW + 1000)

    with pytest.raises(TokenRefusedError) as caught:
        verify(mint_with(old), keys, NOW + 100)

    assert caught.value.reason is Refusal.EXPIRED


def test_the_key_id_of_a_token_can_be_read() -> None:
    assert read_key_id(token_of()) == KEY.key_id


@given(st.none() | st.integers() | st.binary() | st.text())
def test_what_is_no_token_has_no_key_id(value: object) -> None:
    assert read_key_id(value) is None


def test_no_repr_shows_a_secret() -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key = SessionKey(1, "kid", secret)
    signing = SigningKey(key)

    shown = repr([key, signing, key_set(signing)])

    assert secret.decode() not in shown
    assert secret.hex() not in shown


def test_g7_the_token_of_version_0_1_is_accepted() -> None:
    key = SigningKey(SessionKey(1, "hx8dT_SPR9shY9eN", golden.SECRETS[0]))

    claims = verify(golden.TOKEN, key_set(key), 1_735_732_800.25)

    assert claims["sub"] == golden.NODE_ID
    assert claims["ünï"] == [1, 2.5, None, True, {"a": "b"}]
