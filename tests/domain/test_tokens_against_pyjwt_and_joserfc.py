"""Two other libraries as oracles: they read our tokens, we read theirs, and ours is stricter."""

from __future__ import annotations

import json
from typing import Any

import joserfc.jwk
import joserfc.jwt
import jwt
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.domain.claims import RESERVED_CLAIMS, Claims
from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.key_ring import key_id_of
from keyturn.domain.tokens import mint, verify
from tests.domain.builders import (
    NOW,
    forge,
    from_base64url,
    good_claims,
    good_payload,
    key_set,
    secret,
    signing_key,
)

SECRET = secret(7)
KEY = signing_key(7)
KEYS = key_set(KEY)
HEADER = {"alg": "HS256", "kid": key_id_of(SECRET), "typ": "JWT"}
NOT_BY_TIME = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}

ascii_text = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | ascii_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_text, inner, max_size=4),
    max_leaves=8,
)
ascii_claims = st.dictionaries(
    ascii_text.filter(lambda name: name not in RESERVED_CLAIMS), json_values, max_size=4
)
any_claims = st.dictionaries(
    st.text(max_size=9).filter(lambda name: name not in RESERVED_CLAIMS),
    json_values | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)


def by_pyjwt(token: str) -> Claims:
    return jwt.decode(token, SECRET, algorithms=["HS256"], options=NOT_BY_TIME)  # type: ignore[arg-type]


def by_joserfc(token: str) -> Claims:
    key = joserfc.jwk.OctKey.import_key(SECRET)
    return joserfc.jwt.decode(token, key, algorithms=["HS256"]).claims


def by_us(token: str) -> Claims | None:
    try:
        return verify(token, KEYS, NOW)
    except TokenRefusedError:
        return None


@pytest.mark.parametrize("decode", [by_pyjwt, by_joserfc])
@settings(max_examples=30)
@given(claims=any_claims, expiry=st.none() | st.integers(0, 10**9))
def test_our_tokens_are_read_by_others_with_the_same_claims(
    decode: Any, claims: Claims, expiry: int | None
) -> None:
    token = mint(
        KEY, issuer="vnode", subject="alice", began=1, now=NOW, expiry=expiry, claims=claims
    )

    assert decode(token) == verify(token, KEYS, NOW)


def test_our_header_is_read_by_others() -> None:
    token = mint(KEY, issuer="vnode", subject="alice", began=1, now=NOW, expiry=60)

    assert jwt.get_unverified_header(token) == HEADER


def test_others_refuse_our_tokens_under_another_key() -> None:
    token = mint(signing_key(8), issuer="vnode", subject="alice", began=1, now=NOW, expiry=60)

    with pytest.raises(jwt.InvalidSignatureError):
        by_pyjwt(token)


@settings(max_examples=30)
@given(ascii_claims)
def test_a_token_of_pyjwt_is_accepted_if_it_is_written_as_ours_are(claims: Claims) -> None:
    all_claims = {**good_claims(), **claims}

    token = jwt.encode(
        all_claims, SECRET, "HS256", headers={"kid": HEADER["kid"]}, sort_headers=True
    )

    assert by_us(token) == all_claims


@settings(max_examples=30)
@given(ascii_claims)
def test_a_token_of_joserfc_is_accepted_if_it_is_written_as_ours_are(claims: Claims) -> None:
    all_claims = {**good_claims(), **claims}
    key = joserfc.jwk.OctKey.import_key(SECRET)

    token = joserfc.jwt.encode(HEADER, all_claims, key, default_type=None)

    assert by_us(token) == all_claims


def test_a_token_of_pyjwt_is_refused_if_its_header_is_in_another_order() -> None:
    token = jwt.encode(
        good_claims(), SECRET, "HS256", headers={"kid": HEADER["kid"]}, sort_headers=False
    )
    header = json.loads(from_base64url(token.partition(".")[0]))
    assert list(header) == ["typ", "alg", "kid"]

    assert by_us(token) is None


def test_a_token_of_pyjwt_with_escapes_is_refused() -> None:
    """JSON has several spellings of a text that is not ASCII: ours is UTF-8."""
    token = jwt.encode(
        good_claims(role="é"), SECRET, "HS256", headers={"kid": HEADER["kid"]}, sort_headers=True
    )

    assert by_us(token) is None


# --- ours is stricter: what it accepts, others accept, and read alike --------------------------

TOKEN = mint(
    KEY, issuer="vnode", subject="alice", began=1, now=NOW, expiry=60, claims={"role": "é>?"}
)
SPELLINGS = st.sampled_from(
    ["exp", "sub", "é", "\\u0061", "a", "1", "1.0", "1e3", " ", '"', ",", ":"]
)


def agree(token: str) -> bool:
    """Whether we refuse the token, or PyJWT reads the same in it."""
    ours = by_us(token)
    return ours is None or msgspec.json.encode(by_pyjwt(token)) == msgspec.json.encode(ours)


@given(st.data())
def test_g3_whatever_we_accept_of_mutated_tokens_pyjwt_accepts(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TOKEN)))
    end = data.draw(st.integers(start, min(len(TOKEN), start + 3)))
    piece = data.draw(st.text("AQgwabc019-_.=+/ \n", max_size=3))

    assert agree(TOKEN[:start] + piece + TOKEN[end:])


@given(st.data())
def test_g3_whatever_we_accept_of_signed_payloads_pyjwt_reads_alike(data: st.DataObject) -> None:
    payload = good_payload(role="admin")
    start = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(start, min(len(payload), start + 6)))
    piece = data.draw(SPELLINGS | st.text(max_size=4)).encode()

    assert agree(forge(KEY, payload[:start] + piece + payload[end:]))


@settings(max_examples=30)
@given(any_claims)
def test_g3_whatever_we_accept_of_any_claims_pyjwt_reads_alike(claims: Claims) -> None:
    assert agree(forge(KEY, msgspec.json.encode({**good_claims(), **claims})))
