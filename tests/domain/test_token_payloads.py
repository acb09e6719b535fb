"""Payloads that are signed with the right key and still not what `mint` writes (G3)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.domain.errors import Refusal, TokenRefusedError
from keyturn.domain.tokens import verify
from tests.domain.builders import NOW, forge, good_claims, good_payload, key_set, signing_key

KEY = signing_key()
KEYS = key_set(KEY)
GOOD = good_payload()
EXP = good_claims()["exp"]


def refusal_of(payload: bytes) -> Refusal | None:
    """Why a token with this payload is refused; None if it is not."""
    try:
        verify(forge(KEY, payload), KEYS, NOW, 1000)
    except TokenRefusedError as error:
        return error.reason
    return None


def with_exp(text: str) -> bytes:
    """The payload with another text where the number of `exp` stands."""
    return GOOD.replace(b'"exp":%d' % EXP, b'"exp":' + text.encode("utf-8", "surrogatepass"))


def and_more(text: bytes) -> bytes:
    """The payload with more members behind the others."""
    return GOOD[:-1] + b"," + text + b"}"


def test_the_payload_that_the_others_differ_from_is_good() -> None:
    assert refusal_of(GOOD) is None
    assert refusal_of(and_more(b'"role":"admin"')) is None
    assert refusal_of(with_exp(str(EXP))) is None


NOT_CANONICAL = {
    "exp twice": and_more(b'"exp":99999999999'),
    "exp twice, the same": and_more(b'"exp":%d' % EXP),
    "sub twice, once escaped": and_more(b'"s\\u0075b":"root"'),
    "a host's claim twice": and_more(b'"role":"user","role":"admin"'),
    "a name twice further in": and_more(b'"a":{"b":1,"b":2}'),
    "a space behind": GOOD + b" ",
    "a space before": b" " + GOOD,
    "a space inside": GOOD.replace(b":", b": ", 1),
    "a line feed": GOOD.replace(b",", b",\n", 1),
    "a NUL behind": GOOD + b"\0",
    "a comma too many": GOOD[:-1] + b",}",
    "two objects": GOOD + GOOD,
    "a comment": GOOD[:-1] + b"/**/}",
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16-LE": GOOD.decode().encode("utf-16-le"),
    "UTF-16-BE": GOOD.decode().encode("utf-16-be"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "UTF-32-BE": GOOD.decode().encode("utf-32-be"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "Latin-1": and_more('"a":"é"'.encode("latin-1")),
    "overlong UTF-8": and_more(b'"a":"\xc0\xaf"'),
    "a surrogate in UTF-8": and_more(b'"a":"\xed\xa0\x80"'),
    "an escaped letter": GOOD.replace(b"alice", b"\\u0061lice"),
    "an escaped slash": and_more(b'"a":"\\/"'),
    "an escaped é": and_more(b'"a":"\\u00e9"'),
    "a lone surrogate": and_more(b'"a":"\\ud800"'),
    "an escaped pair": and_more(b'"a":"\\ud83d\\ude00"'),
    "a raw control character": and_more(b'"a":"\n"'),
    "single quotes": GOOD.replace(b'"', b"'"),
    "NaN": and_more(b'"a":NaN'),
    "Infinity": and_more(b'"a":-Infinity'),
    "1e3": and_more(b'"a":1e3'),
    "1E400": and_more(b'"a":1E400'),
    "1.50": and_more(b'"a":1.50'),
    "-0": and_more(b'"a":-0'),
    "007": and_more(b'"a":007'),
    "+7": and_more(b'"a":+7'),
    "0x7": and_more(b'"a":0x7'),
    "cut short": GOOD[:-1],
    "empty": b"",
    "deep lists": b"[" * 5000,
    "deep objects": b'{"a":' * 1000,
}


@pytest.mark.parametrize("payload", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_g3_a_payload_that_is_not_canonical_is_refused(payload: bytes) -> None:
    assert refusal_of(payload) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [b"null", b"true", b"1", b'"text"', b"[]", b"[" + GOOD + b"]", b"{}", b'{"exp":9999999999}'],
)
def test_g3_a_payload_that_is_not_an_object_of_our_claims_is_refused(payload: bytes) -> None:
    assert refusal_of(payload) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "exp",
    [
        *("null", "true", "false", f'"{EXP}"', f"{EXP}.0", f"{EXP}.5", f"{EXP}e0", "1e999"),
        *("[]", f"[{EXP}]", "{}", "-0", f"0{EXP}", f"+{EXP}", "NaN", "Infinity", '""', "٣", ""),
    ],
)
def test_g3_an_exp_that_is_not_a_whole_number_is_refused(exp: str) -> None:
    assert refusal_of(with_exp(exp)) is Refusal.MALFORMED


@pytest.mark.parametrize("digits", [4300, 4301, 5000, 5900])
def test_g3_an_exp_of_thousands_of_digits_does_no_harm(digits: int) -> None:
    payload = with_exp("9" * digits)

    assert refusal_of(payload) in (None, Refusal.MALFORMED)


@pytest.mark.parametrize("exp", ["0", "-1", "1", "-9223372036854775809", "-" + "9" * 4000])
def test_g3_an_exp_of_long_ago_is_over(exp: str) -> None:
    assert refusal_of(with_exp(exp)) is Refusal.EXPIRED


@pytest.mark.parametrize("claim", ["iss", "sub", "iat", "jti", "sid", "auth_time"])
def test_g3_a_token_that_lacks_a_claim_is_refused(claim: str) -> None:
    assert refusal_of(good_payload(**{claim: ...})) is Refusal.MALFORMED


@pytest.mark.parametrize("claim", ["iat", "auth_time", "exp"])
@pytest.mark.parametrize("value", [None, True, "1", 1.0, [], {}, [1]], ids=repr)
def test_g3_a_time_that_is_not_a_whole_number_is_refused(claim: str, value: object) -> None:
    assert refusal_of(good_payload(**{claim: value})) is Refusal.MALFORMED


@pytest.mark.parametrize("claim", ["iss", "sub", "jti", "sid"])
@pytest.mark.parametrize("value", [None, True, 1, 1.5, [], {}, ["alice"]], ids=repr)
def test_g3_an_id_that_is_not_text_is_refused(claim: str, value: object) -> None:
    assert refusal_of(good_payload(**{claim: value})) is Refusal.MALFORMED


@given(st.binary(max_size=200))
def test_g3_no_other_bytes_are_a_payload_even_if_signed(payload: bytes) -> None:
    assert refusal_of(payload) is Refusal.MALFORMED


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_g3_a_signed_payload_with_an_altered_byte_raises_nothing_unforeseen(
    position: int, difference: int
) -> None:
    altered = bytearray(GOOD)
    altered[position] ^= difference

    refusal = refusal_of(bytes(altered))

    if refusal is None:  # it is another good payload: one that `mint` could write
        assert json.loads(bytes(altered)).keys() >= {"iss", "sub", "iat", "jti", "sid"}


def test_g3_a_payload_that_is_nested_very_deeply_raises_nothing_else() -> None:
    payload = and_more(b'"a":' + b"[" * 2500 + b"]" * 2500)

    # How deep is too deep is up to the Python.
    assert refusal_of(payload) in (None, Refusal.MALFORMED)
