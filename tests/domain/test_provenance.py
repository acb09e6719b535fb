"""Provenance: one encoding for an event, and a signature that nothing can be moved under."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain import provenance
from keyturn.domain.errors import LogDamagedError
from keyturn.domain.key_ring import is_signed_by
from tests.domain import golden
from tests.domain.builders import from_base64url, with_state

RING = KeyRing.ephemeral()
ID = golden.MANAGER_ID

fields = st.dictionaries(
    st.text(max_size=9),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    ),
    max_size=5,
)
positions = st.integers(1, 2**31)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


def row(state: bytes) -> StoredEvent:
    return StoredEvent(ID, 1, "keyturn.KeyReset", state)


# --- encoding ----------------------------------------------------------------------------------


@given(fields)
def test_what_was_encoded_is_decoded(state: dict[str, object]) -> None:
    assert provenance.decode_state(row(provenance.encode_state(state))) == state


@given(fields)
def test_the_order_of_the_names_makes_no_difference(state: dict[str, object]) -> None:
    reversed_state = dict(reversed(state.items()))

    assert provenance.encode_state(reversed_state) == provenance.encode_state(state)


@given(fields)
def test_the_encoding_is_what_any_json_library_writes_sorted_and_compact(
    state: dict[str, object],
) -> None:
    plain = json.dumps(state, ensure_ascii=False)
    assume("\\" not in plain and "\x7f" not in plain)
    theirs = json.dumps(state, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert provenance.encode_state(state).decode("utf-8") == theirs


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b'{"a":1} ',
        b' {"a":1}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":1}{"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a":{"c":1,"b":2}}',
        b'{"a":1,}',
        b'{"a":1e3}',
        b'{"a":1.50}',
        b'{"a":01}',
        b'{"a":-0}',
        b'{"a":NaN}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"\\u0061":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b"{" + b'"a":{' * 100_000,
        b"[" * 1_000_000,
        b'{"a":' + b"9" * 100_000 + b"}",
    ],
    ids=lambda state: repr(state[:20]),
)
def test_g5_a_state_that_is_not_canonical_json_is_damage(state: bytes) -> None:
    with pytest.raises(LogDamagedError, match="not canonical JSON"):
        provenance.decode_state(row(state))


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_g5_any_bytes_are_canonical_json_or_damage(state: bytes) -> None:
    try:
        decoded = provenance.decode_state(row(state))
    except LogDamagedError:
        return

    assert provenance.encode_state(decoded) == state


# --- digests -----------------------------------------------------------------------------------


@given(fields, positions)
def test_the_digest_is_sha_256_over_the_documented_text(
    state: dict[str, object], position: int
) -> None:
    state.pop("signature", None)
    members = {"originator_id": ID.hex, "originator_version": position, "state": state}
    text = provenance.encode_state({**members, "topic": "keyturn.KeyReset"})

    digest = provenance.digest("keyturn.KeyReset", ID, position, state)

    assert digest == hashlib.sha256(b"keyturn event digest v1\0" + text).hexdigest()


@given(fields, st.text())
def test_the_signature_is_no_part_of_the_digest(state: dict[str, object], signature: str) -> None:
    unsigned = {name: value for name, value in state.items() if name != "signature"}
    signed = {**unsigned, "signature": signature}

    assert provenance.digest("topic", ID, 1, signed) == provenance.digest(
        "topic", ID, 1, unsigned
    )


rows = st.tuples(st.text(max_size=9), st.uuids(), positions, fields)


@given(rows, rows)
def test_two_events_have_the_same_digest_only_if_they_are_the_same(
    one: tuple[str, UUID, int, dict[str, object]],
    other: tuple[str, UUID, int, dict[str, object]],
) -> None:
    one[3].pop("signature", None)
    other[3].pop("signature", None)

    same = provenance.encode_state(one[3]) == provenance.encode_state(other[3])

    equal_digests = provenance.digest(*one) == provenance.digest(*other)
    assert equal_digests == (one[:3] == other[:3] and same)


# --- signatures --------------------------------------------------------------------------------


@given(positions, digests)
def test_a_statement_is_signed_by_its_node(position: int, digest: str) -> None:
    signature = provenance.sign(RING, ID, position, digest)

    assert provenance.is_signed(RING.node_id, ID, position, digest, signature)


@given(positions, digests, st.integers(1, 100), digests)
def test_a_signature_stands_under_one_statement_only(
    position: int, digest: str, further: int, other: str
) -> None:
    assume(other != digest)
    signature = provenance.sign(RING, ID, position, digest)

    believed = [
        provenance.is_signed(RING.node_id, UUID(int=7), position, digest, signature),
        provenance.is_signed(RING.node_id, ID, position + further, digest, signature),
        provenance.is_signed(RING.node_id, ID, position, other, signature),
        provenance.is_signed(golden.NODE_ID, ID, position, digest, signature),
    ]

    assert not any(believed)


@given(st.text(max_size=90))
def test_other_text_is_no_signature(signature: str) -> None:
    assert not provenance.is_signed(RING.node_id, ID, 1, "0" * 64, signature)


@given(st.text(max_size=60))
def test_nothing_is_signed_by_what_is_no_node(node_id: str) -> None:
    signature = provenance.sign(RING, ID, 1, "0" * 64)

    assert not provenance.is_signed(node_id, ID, 1, "0" * 64, signature)


@pytest.mark.parametrize("more", ["=", "==", "\n", " ", ".", "A", "\0", "é"])
def test_a_signature_has_one_spelling(more: str) -> None:
    signature = provenance.sign(RING, ID, 1, "0" * 64)

    assert not provenance.is_signed(RING.node_id, ID, 1, "0" * 64, signature + more)


def test_stray_bits_in_a_signature_are_refused() -> None:
    signature = provenance.sign(RING, ID, 1, "0" * 64)
    last = {"A": "B", "Q": "R", "g": "h", "w": "x"}[signature[-1]]

    assert not provenance.is_signed(RING.node_id, ID, 1, "0" * 64, signature[:-1] + last)


def test_a_signature_under_bare_bytes_is_not_one_under_a_statement() -> None:
    """A key ring that signs for others too must not be led to sign an event."""
    statement = json.dumps([ID.hex, 1, "0" * 64], separators=(",", ":")).encode()

    signature = provenance.sign(RING, ID, 1, "0" * 64)

    assert not is_signed_by(RING.node_id, from_base64url(signature), statement)


@pytest.mark.parametrize("missing", ["signature", "node_id"])
@pytest.mark.parametrize("instead", [..., None, 7, ["v"], {}])
def test_g5_an_event_without_signature_or_node_is_damage(missing: str, instead: object) -> None:
    stored = golden.ROWS[0]
    state = {**json.loads(stored.state), missing: instead}
    state = {name: value for name, value in state.items() if value is not ...}

    with pytest.raises(LogDamagedError, match="not signed"):
        provenance.verify(with_state(stored, provenance.encode_state(state)))


@pytest.mark.parametrize("stored", golden.ROWS, ids=lambda stored: stored.topic)
def test_g7_the_events_of_version_0_1_are_signed_by_their_node(stored: StoredEvent) -> None:
    assert provenance.verify(stored) == json.loads(stored.state)


@pytest.mark.parametrize(
    ("stored", "digest"), list(zip(golden.ROWS, golden.DIGESTS, strict=True))
)
def test_g7_the_events_of_version_0_1_have_the_digests_they_had(
    stored: StoredEvent, digest: str
) -> None:
    fields = json.loads(stored.state)

    found = provenance.digest(stored.topic, ID, stored.originator_version, fields)

    assert found == digest


def test_an_id_that_is_text_is_the_same_id() -> None:
    stored = golden.ROWS[0]
    as_text = StoredEvent(str(ID), 1, stored.topic, stored.state)

    assert provenance.verify(as_text) == provenance.verify(stored)
