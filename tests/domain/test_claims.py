"""Claims and subjects of a host: what JSON would change or lose is refused by name."""

from __future__ import annotations

import enum
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.domain.claims import RESERVED_CLAIMS, check_claims, check_subject
from keyturn.domain.errors import ClaimError


class Text(str):
    """Text of a class of its own."""


class Colour(enum.IntEnum):
    """A number of a class of its own."""

    RED = 1


@pytest.mark.parametrize("name", sorted(RESERVED_CLAIMS))
def test_the_claims_that_we_write_ourselves_are_refused_by_name(name: str) -> None:
    with pytest.raises(ClaimError, match=repr(name)) as caught:
        check_claims({"role": "admin", name: "mine"})

    assert caught.value.claim == name


@pytest.mark.parametrize(
    "value",
    [
        *((1, 2), {1, 2}, b"bytes", object(), 1j, Text("x"), Colour.RED, math.nan, math.inf),
        *("\ud800", {1: "a"}, {"\udfff": 1}, {None: 1}, {True: 1}, [[(1,)]], {"a": {"b": b""}}),
        *(2**64, -(2**63) - 1, 10**5000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_claim_that_json_would_change_or_lose_is_refused_by_name(value: object) -> None:
    with pytest.raises(ClaimError) as caught:
        check_claims({"fine": 1, "bad": value})

    assert caught.value.claim == "bad"


def test_a_claim_that_holds_itself_is_refused() -> None:
    claim: list[object] = []
    claim.append(claim)

    with pytest.raises(ClaimError, match="nested too deeply"):
        check_claims({"bad": claim})


@pytest.mark.parametrize("name", [1, None, b"role", ("a",), "\ud800"])
def test_a_name_that_json_would_change_is_refused(name: object) -> None:
    with pytest.raises(ClaimError):
        check_claims({name: 1})


@pytest.mark.parametrize("claims", [[], "role", 7, [("role", "admin")], {"role"}])
def test_claims_that_are_no_mapping_are_refused(claims: object) -> None:
    with pytest.raises(ClaimError):
        check_claims(claims)


def test_claims_are_copied() -> None:
    claims = {"role": "user"}

    checked = check_claims(claims)
    claims["role"] = "admin"

    assert checked == {"role": "user"}


def test_no_claims_are_no_claims() -> None:
    assert check_claims(None) is None


@given(st.text(min_size=1))
def test_text_is_a_subject(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize("subject", ["", None, 7, b"alice", "\ud800", Text("alice")])
def test_what_is_not_text_is_no_subject(subject: object) -> None:
    with pytest.raises(ClaimError) as caught:
        check_subject(subject)

    assert caught.value.claim == "sub"
