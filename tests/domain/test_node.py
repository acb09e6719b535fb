"""Node ids: one spelling for each public key, and no other text is one."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn.domain.errors import NodeIdError
from keyturn.domain.node import decode_node_id, encode_node_id

keys = st.binary(min_size=32, max_size=32)
ALPHABET = string.digits + string.ascii_lowercase[:22]


@given(keys)
def test_every_public_key_comes_back_from_its_node_id(key: bytes) -> None:
    node_id = encode_node_id(key)

    assert decode_node_id(node_id) == key


@given(keys)
def test_a_node_id_is_v_and_52_characters_of_base32hex(key: bytes) -> None:
    node_id = encode_node_id(key)

    assert len(node_id) == 53
    assert node_id[0] == "v"
    assert set(node_id[1:]) <= set(ALPHABET)


@given(st.binary(max_size=80).filter(lambda key: len(key) != 32))
def test_a_key_of_another_length_has_no_node_id(key: bytes) -> None:
    with pytest.raises(NodeIdError):
        encode_node_id(key)


@given(st.text(max_size=80) | st.text(ALPHABET, min_size=52, max_size=52).map("v".__add__))
def test_any_text_is_either_the_one_spelling_of_a_key_or_refused(text: str) -> None:
    try:
        key = decode_node_id(text)
    except NodeIdError:
        return

    assert encode_node_id(key) == text


@given(keys, st.integers(0, 52), st.sampled_from(ALPHABET + string.ascii_uppercase + "w=-é \0"))
def test_an_altered_node_id_is_never_that_of_the_same_key(
    key: bytes, position: int, character: str
) -> None:
    node_id = encode_node_id(key)
    altered = node_id[:position] + character + node_id[position + 1 :]
    assume(altered != node_id)

    try:
        found = decode_node_id(altered)
    except NodeIdError:
        return

    assert found != key


@given(keys)
def test_upper_case_is_refused(key: bytes) -> None:
    node_id = encode_node_id(key)
    upper = "v" + node_id[1:].upper()
    assume(upper != node_id)

    with pytest.raises(NodeIdError):
        decode_node_id(upper)


@given(keys, st.integers(1, 15))
def test_stray_bits_in_the_last_character_are_refused(key: bytes, bits: int) -> None:
    node_id = encode_node_id(key)
    last = ALPHABET[ALPHABET.index(node_id[-1]) | bits]

    with pytest.raises(NodeIdError):
        decode_node_id(node_id[:-1] + last)


@given(keys, st.integers(0, 52))
def test_a_node_id_cut_short_is_refused(key: bytes, length: int) -> None:
    with pytest.raises(NodeIdError):
        decode_node_id(encode_node_id(key)[:length])


@given(keys, st.text(min_size=1, max_size=9))
def test_text_behind_a_node_id_is_refused(key: bytes, more: str) -> None:
    with pytest.raises(NodeIdError):
        decode_node_id(encode_node_id(key) + more)


@given(st.none() | st.integers() | st.floats() | keys | st.lists(st.text()))
def test_what_is_not_text_is_refused(value: object) -> None:
    with pytest.raises(NodeIdError):
        decode_node_id(value)  # type: ignore[arg-type]


def test_characters_that_only_look_like_digits_are_refused() -> None:
    with pytest.raises(NodeIdError):
        decode_node_id("v" + "٣" * 52)


def test_the_node_id_of_the_key_of_zeros_is_what_it_has_always_been() -> None:
    assert encode_node_id(bytes(32)) == "v" + "0" * 52
