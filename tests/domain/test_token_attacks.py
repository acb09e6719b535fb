"""Attacks on tokens: whatever is not letter by letter what was minted is refused (G3)."""

from __future__ import annotations

import base64
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.tokens import MAX_TOKEN_LENGTH, Claims, mint, read_key_id, verify
from tests.domain.builders import (
    NOW,
    base64url,
    forge,
    from_base64url,
    good_claims,
    good_payload,
    key_set,
    sign_text,
    signing_key,
)

KEY = signing_key()
KEYS = key_set(KEY, signing_key(2))
TOKEN = mint(
    KEY, issuer="vnode", subject="alice", began=1, now=NOW, expiry=60, claims={"role": "a>?~"}
)
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")
BASE64URL = string.ascii_letters + string.digits + "-_"


def is_accepted(token: object) -> bool:
    """Whether it is good; any other exception than the promised one is a failure."""
    try:
        verify(token, KEYS, NOW, 1000)
    except TokenRefusedError:
        return False
    return True


def test_what_is_attacked_here_is_a_good_token() -> None:
    assert is_accepted(TOKEN)
    assert is_accepted(forge(KEY, good_payload()))


# --- mutations ---------------------------------------------------------------------------------


def test_g3_a_token_with_any_character_exchanged_is_refused() -> None:
    accepted = [
        (position, character)
        for position in range(len(TOKEN))
        for character in BASE64URL + ".=+/ \n\0\x7fé\ud800"
        if character != TOKEN[position]
        and is_accepted(TOKEN[:position] + character + TOKEN[position + 1 :])
    ]

    assert accepted == []


def test_g3_a_token_with_any_character_left_out_is_refused() -> None:
    accepted = [n for n in range(len(TOKEN)) if is_accepted(TOKEN[:n] + TOKEN[n + 1 :])]

    assert accepted == []


def test_g3_a_token_with_any_character_put_in_is_refused() -> None:
    accepted = [
        (position, character)
        for position in range(len(TOKEN) + 1)
        for character in "A_.= \n\té"
        if is_accepted(TOKEN[:position] + character + TOKEN[position:])
    ]

    assert accepted == []


def test_g3_a_token_cut_short_at_either_end_is_refused() -> None:
    accepted = [
        n for n in range(1, len(TOKEN)) if is_accepted(TOKEN[:n]) or is_accepted(TOKEN[n:])
    ]

    assert accepted == []


def test_g3_a_token_with_any_two_neighbours_exchanged_is_refused() -> None:
    swapped = {
        TOKEN[:n] + TOKEN[n + 1] + TOKEN[n] + TOKEN[n + 2 :] for n in range(len(TOKEN) - 1)
    }

    assert not [token for token in swapped - {TOKEN} if is_accepted(token)]


@given(st.text() | st.text(BASE64URL + ".") | st.text(BASE64URL + ".").map(f"{HEADER}.".__add__))
def test_g3_no_other_text_is_accepted(text: str) -> None:
    assert not is_accepted(text)


@given(st.integers(0, len(TOKEN)), st.integers(0, len(TOKEN)), st.text(BASE64URL, max_size=50))
def test_g3_no_piece_of_a_token_can_be_exchanged(start: int, end: int, piece: str) -> None:
    spliced = TOKEN[:start] + piece + TOKEN[end:]

    assert is_accepted(spliced) == (spliced == TOKEN)


def test_g3_the_parts_of_two_good_tokens_make_no_third() -> None:
    other = mint(
        signing_key(2), issuer="vnode", subject="bob", began=1, now=NOW, expiry=60
    ).split(".")
    ours = TOKEN.split(".")

    mixed = [
        ".".join((ours, other)[choice >> n & 1][n] for n in range(3)) for choice in range(1, 7)
    ]

    assert not [token for token in mixed if is_accepted(token)]


# --- spellings ---------------------------------------------------------------------------------


def tail(text: str) -> str:
    """The same bytes in another spelling: with stray bits in the last character."""
    last = BASE64URL_ORDER.index(text[-1])
    return text[:-1] + BASE64URL_ORDER[last | 1]


BASE64URL_ORDER = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
SPELLINGS = {
    "padding everywhere": f"{HEADER}=.{PAYLOAD}==.{SIGNATURE}=",
    "padding behind": TOKEN + "=",
    "padded payload": f"{HEADER}.{PAYLOAD}=.{SIGNATURE}",
    "standard alphabet": TOKEN.replace("-", "+").replace("_", "/"),
    "stray bits in the signature": f"{HEADER}.{PAYLOAD}.{tail(SIGNATURE)}",
    "a line feed behind": TOKEN + "\n",
    "a space before": " " + TOKEN,
    "a tab around a dot": f"{HEADER}.\t{PAYLOAD}.{SIGNATURE}",
    "a byte order mark": "\ufeff" + TOKEN,
    "a NUL behind": TOKEN + "\0",
    "a Bearer before": f"Bearer {TOKEN}",
    "four parts": f"{TOKEN}.",
    "four full parts": f"{TOKEN}.{SIGNATURE}",
    "a part doubled": f"{HEADER}.{PAYLOAD}.{PAYLOAD}.{SIGNATURE}",
    "two dots": f"{HEADER}..{PAYLOAD}.{SIGNATURE}",
    "no header": f".{PAYLOAD}.{SIGNATURE}",
    "no payload": f"{HEADER}..{SIGNATURE}",
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "two parts": f"{HEADER}.{PAYLOAD}",
    "signature of the header alone": sign_text(KEY, HEADER),
    "signature of no payload": f"{HEADER}.{KEY.signature(b'').decode()}",
    "dots alone": "..",
    "nothing": "",
    "signature in hex": f"{HEADER}.{PAYLOAD}.{from_base64url(SIGNATURE).hex()}",
    "JSON serialization": json.dumps(
        {"protected": HEADER, "payload": PAYLOAD, "signature": SIGNATURE}
    ),
    "full-width dot": TOKEN.replace(".", "\uff0e"),
}


@pytest.mark.parametrize("token", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_g3_another_spelling_of_a_good_token_is_refused(token: str) -> None:
    assert not is_accepted(token)


@pytest.mark.parametrize("spelling", sorted(SPELLINGS.keys() - {"no payload"}))
def test_another_spelling_of_a_token_has_no_key_id(spelling: str) -> None:
    assert read_key_id(SPELLINGS[spelling]) is None


def test_the_spellings_are_others_than_the_tokens_own() -> None:
    assert TOKEN not in SPELLINGS.values()


@pytest.mark.parametrize("payload", [PAYLOAD + "=", PAYLOAD + "A", PAYLOAD + ".", "", "."])
def test_g3_a_payload_in_another_spelling_is_refused_even_if_signed(payload: str) -> None:
    assert not is_accepted(sign_text(KEY, f"{HEADER}.{payload}"))


def test_g3_stray_bits_in_a_payload_are_refused_even_if_signed() -> None:
    sizes = set()
    for pad in range(3):
        payload = base64url(good_payload(pad="x" * pad))
        if len(payload) % 4:  # bits are left over
            sizes.add(len(payload) % 4)
            assert not is_accepted(sign_text(KEY, f"{HEADER}.{tail(payload)}"))

    assert sizes == {2, 3}


def test_g3_the_standard_alphabet_in_a_payload_is_refused_even_if_signed() -> None:
    payload = base64url(good_payload(a="~?>~?>~?>"))
    standard = base64.b64encode(from_base64url(payload)).decode().rstrip("=")

    assert standard != payload
    assert not is_accepted(sign_text(KEY, f"{HEADER}.{standard}"))


# --- sizes and types ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [MAX_TOKEN_LENGTH + 1, 10_000, 5_000_000])
def test_g3_a_token_of_over_8_kib_is_refused_even_if_signed(length: int) -> None:
    size = (length - len(HEADER) - 45) * 3 // 4 - len(good_payload(pad=""))
    token = forge(KEY, good_payload(pad="x" * (size + 3)))

    assert len(token) > MAX_TOKEN_LENGTH
    assert not is_accepted(token)


class HostileText(str):
    """A good token that raises whenever it is looked at."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("looked at")

    __eq__ = __len__ = __hash__ = __str__ = __contains__ = __getitem__ = _refuse
    encode = isascii = partition = split = _refuse  # type: ignore[assignment]


class HostileObject:
    """An object that raises whenever it is looked at."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("looked at")

    __eq__ = __len__ = __hash__ = __bool__ = __iter__ = __getattr__ = _refuse


class Subclass(str):
    """Text of a class of its own, which could change from look to look."""


NEARLY_TOKENS = {
    "bytes": TOKEN.encode(),
    "a bytearray": bytearray(TOKEN.encode()),
    "a memoryview": memoryview(TOKEN.encode()),
    "a subclass of text": Subclass(TOKEN),
    "hostile text": HostileText(TOKEN),
    "a hostile object": HostileObject(),
    "a list": [TOKEN],
    "its parts": TOKEN.split("."),
    "a tuple": (TOKEN,),
    "a mapping": {TOKEN: 1},
    "an iterator": iter(TOKEN),
    "a function": lambda: TOKEN,
    "a class": str,
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
}


@pytest.mark.parametrize("value", NEARLY_TOKENS.values(), ids=NEARLY_TOKENS.keys())
def test_g3_what_is_nearly_a_token_is_refused_and_nothing_else_is_raised(value: object) -> None:
    assert not is_accepted(value)


values = st.recursive(
    st.one_of(
        *(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.complex_numbers(),
            st.binary(),
        ),
        *(st.text(), st.characters(codec=None), st.dates(), st.uuids(), st.decimals()),
    ),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(values)
def test_g3_whatever_is_no_token_is_refused_and_nothing_else_is_raised(value: object) -> None:
    assert not is_accepted(value)


def test_g3_a_refusal_never_shows_the_token() -> None:
    for token in (TOKEN[:-1], TOKEN + "=", f"{HEADER}.{PAYLOAD}.{'A' * 43}"):
        with pytest.raises(TokenRefusedError) as caught:
            verify(token, KEYS, NOW)

        shown = f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__}"
        assert not [part for part in (PAYLOAD, SIGNATURE) if part in shown]


def test_good_claims_are_what_mint_writes() -> None:
    """The payloads in these tests are refused for what is wrong in them, and nothing else."""
    minted: Claims = verify(TOKEN, KEYS, NOW)

    assert set(good_claims()) == set(minted) - {"role"}
