"""The chain rule: one encoding for an event, a signature that nothing can be moved under, and
what may follow what.
"""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain import chain
from keyturn.domain.chain import START, Break, Link, break_between
from keyturn.domain.errors import LogDamagedError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_ring import is_signed_by
from keyturn.domain.session_keys import SessionKeys
from tests.domain import golden
from tests.domain.builders import from_base64url, new_keys, origin, secret

RING = KeyRing.ephemeral()
ID = golden.MANAGER_ID


def states_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, object]]:
    """States whose names and texts are these."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
    return st.dictionaries(texts, values, max_size=5)


fields = states_of(st.text(max_size=9))
unescaped = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\\x7f'), max_size=9
)
"""Text that every JSON library writes as it is."""
positions = st.integers(1, 2**31)
some = settings(max_examples=25)
"""States take their time to be made up."""
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


def row(state: bytes) -> StoredEvent:
    return StoredEvent(ID, 1, "keyturn.KeyReset", state)


# --- encoding ----------------------------------------------------------------------------------


@some
@given(fields)
def test_what_was_encoded_is_decoded(state: dict[str, object]) -> None:
    assert chain.decode_state(row(chain.encode_state(state))) == state


@some
@given(fields)
def test_the_order_of_the_names_makes_no_difference(state: dict[str, object]) -> None:
    reversed_state = dict(reversed(state.items()))

    assert chain.encode_state(reversed_state) == chain.encode_state(state)


@some
@given(states_of(unescaped))
def test_the_encoding_is_what_any_json_library_writes_sorted_and_compact(
    state: dict[str, object],
) -> None:
    theirs = json.dumps(state, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert chain.encode_state(state).decode("utf-8") == theirs


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
        chain.decode_state(row(state))


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_g5_any_bytes_are_canonical_json_or_damage(state: bytes) -> None:
    try:
        decoded = chain.decode_state(row(state))
    except LogDamagedError:
        return

    assert chain.encode_state(decoded) == state


# --- digests -----------------------------------------------------------------------------------


@some
@given(fields, positions)
def test_the_digest_is_sha_256_over_the_documented_text(
    state: dict[str, object], position: int
) -> None:
    state.pop("signature", None)
    members = {"originator_id": ID.hex, "originator_version": position, "state": state}
    text = chain.encode_state({**members, "topic": "keyturn.KeyReset"})

    digest = chain.digest("keyturn.KeyReset", ID, position, state)

    assert digest == hashlib.sha256(b"keyturn event digest v1\0" + text).hexdigest()


@some
@given(fields, st.text())
def test_the_signature_is_no_part_of_the_digest(state: dict[str, object], signature: str) -> None:
    unsigned = {name: value for name, value in state.items() if name != "signature"}
    signed = {**unsigned, "signature": signature}

    assert chain.digest("topic", ID, 1, signed) == chain.digest("topic", ID, 1, unsigned)


rows = st.tuples(st.text(max_size=9), st.uuids(), positions, fields)


@some
@given(rows, rows)
def test_two_events_have_the_same_digest_only_if_they_are_the_same(
    one: tuple[str, UUID, int, dict[str, object]],
    other: tuple[str, UUID, int, dict[str, object]],
) -> None:
    one[3].pop("signature", None)
    other[3].pop("signature", None)

    same = chain.encode_state(one[3]) == chain.encode_state(other[3])

    equal_digests = chain.digest(*one) == chain.digest(*other)
    assert equal_digests == (one[:3] == other[:3] and same)


# --- signatures --------------------------------------------------------------------------------


@given(positions, digests)
def test_a_statement_is_signed_by_its_node(position: int, digest: str) -> None:
    signature = chain.sign(RING, ID, position, digest)

    assert chain.is_signed(RING.node_id, ID, position, digest, signature)


@given(positions, digests, st.integers(1, 100), digests)
def test_a_signature_stands_under_one_statement_only(
    position: int, digest: str, further: int, other: str
) -> None:
    assume(other != digest)
    signature = chain.sign(RING, ID, position, digest)

    believed = [
        chain.is_signed(RING.node_id, UUID(int=7), position, digest, signature),
        chain.is_signed(RING.node_id, ID, position + further, digest, signature),
        chain.is_signed(RING.node_id, ID, position, other, signature),
        chain.is_signed(golden.NODE_ID, ID, position, digest, signature),
    ]

    assert not any(believed)


@given(st.text(max_size=90))
def test_other_text_is_no_signature(signature: str) -> None:
    assert not chain.is_signed(RING.node_id, ID, 1, "0" * 64, signature)


@given(st.text(max_size=60))
def test_nothing_is_signed_by_what_is_no_node(node_id: str) -> None:
    signature = chain.sign(RING, ID, 1, "0" * 64)

    assert not chain.is_signed(node_id, ID, 1, "0" * 64, signature)


@pytest.mark.parametrize("more", ["=", "==", "\n", " ", ".", "A", "\0", "é"])
def test_a_signature_has_one_spelling(more: str) -> None:
    signature = chain.sign(RING, ID, 1, "0" * 64)

    assert not chain.is_signed(RING.node_id, ID, 1, "0" * 64, signature + more)


def test_stray_bits_in_a_signature_are_refused() -> None:
    signature = chain.sign(RING, ID, 1, "0" * 64)
    last = {"A": "B", "Q": "R", "g": "h", "w": "x"}[signature[-1]]

    assert not chain.is_signed(RING.node_id, ID, 1, "0" * 64, signature[:-1] + last)


def test_a_signature_under_bare_bytes_is_not_one_under_a_statement() -> None:
    """A key ring that signs for others too must not be led to sign an event."""
    statement = json.dumps([ID.hex, 1, "0" * 64], separators=(",", ":")).encode()

    signature = chain.sign(RING, ID, 1, "0" * 64)

    assert not is_signed_by(RING.node_id, from_base64url(signature), statement)


@pytest.mark.parametrize(
    ("stored", "digest"), list(zip(golden.ROWS, golden.DIGESTS, strict=True))
)
def test_g7_the_events_of_version_0_1_have_the_digests_they_had(
    stored: StoredEvent, digest: str
) -> None:
    fields = json.loads(stored.state)

    found = chain.digest(stored.topic, ID, stored.originator_version, fields)

    assert found == digest


# --- what follows what -------------------------------------------------------------------------


def long_history() -> list[KeyEvent]:
    """Every kind of event, a purge apart."""
    keys = new_keys(RING)
    keys.end_session("s1", RING, origin(1))
    keys.rotate(secret(2), RING, origin(2), overlap=60)
    keys.end_sessions("alice", RING, origin(3))
    keys.reset(secret(3), RING, origin(4))
    keys.destroy(RING, origin(5))
    keys.regenerate(secret(4), RING, origin(6))
    return list(keys.collect_events())  # type: ignore[arg-type]


def purge_after(number: int) -> KeyEvent:
    """The purge of a history of so many events."""
    keys = SessionKeys.fold(long_history()[:number])
    keys.destroy(RING, origin(9), purge=True)
    (event,) = keys.collect_events()
    return event  # type: ignore[return-value]


def first_break(events: list[KeyEvent]) -> tuple[int, Break] | None:
    """The number of the first event that does not follow, and in what."""
    end = START
    for number, event in enumerate(events):
        if (found := break_between(end, event)) is not None:
            return number, found
        end = event.link
    return None


def test_each_event_of_a_history_follows_the_one_before() -> None:
    assert first_break(long_history()) is None


@pytest.mark.parametrize("missing", range(6))
def test_g5_after_a_missing_event_the_next_does_not_follow(missing: int) -> None:
    events = long_history()

    assert first_break(events[:missing] + events[missing + 1 :]) == (missing, Break.POSITION)


@pytest.mark.parametrize("place", range(6))
def test_g5_two_events_that_were_exchanged_do_not_follow(place: int) -> None:
    events = long_history()
    events[place], events[place + 1] = events[place + 1], events[place]

    assert first_break(events) == (place, Break.POSITION)


def test_g5_an_event_does_not_follow_one_that_was_replaced() -> None:
    events, others = long_history(), long_history()

    assert first_break([*events[:3], *others[3:]]) == (3, Break.DIGEST)


@pytest.mark.parametrize("generation", [0, 1, 2, 5])
@pytest.mark.parametrize("number", range(1, 7))
def test_g5_only_a_new_key_raises_the_generation_and_by_one(number: int, generation: int) -> None:
    event, end = long_history()[number], long_history()[number - 1].link
    end = Link(end.position, event.previous_digest, generation)

    found = break_between(end, event)

    follows = event.generation == generation + (event.kind in {"generated", "reset", "rotated"})
    assert found is (None if follows else Break.GENERATION)


@pytest.mark.parametrize("number", [1, 4, 6, 7])
def test_a_purge_begins_a_history_wherever_it_stands(number: int) -> None:
    purge = purge_after(number)
    keys = SessionKeys.fold([purge])
    keys.regenerate(secret(7), RING, origin(10))

    assert (purge.originator_version, purge.since) == (number + 1, number + 1)
    assert first_break([purge, *keys.collect_events()]) is None


def test_g5_a_purge_does_not_follow_events_that_it_says_were_removed() -> None:
    assert first_break([*long_history(), purge_after(7)]) == (7, Break.PURGE)
