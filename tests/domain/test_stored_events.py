"""The mapper: what is not exactly what was signed never becomes an event."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain import chain
from keyturn.domain.errors import ForeignLogError, LogDamagedError, LogVersionError
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys
from keyturn.domain.stored_events import read_event, read_genuine
from tests.domain import golden
from tests.domain.builders import mapper, old_rows, signed_row, with_state

MAPPER = mapper()
NEW_ROWS = tuple({row.topic: row for row in reversed(old_rows("v2.jsonl"))}.values())
"""One event of each kind of schema 2."""
ROWS = (*golden.ROWS, *NEW_ROWS)


def name_of(row: StoredEvent) -> str:
    return f"{row.topic}-{json.loads(row.state).get('class_version', 1)}"


each_row = pytest.mark.parametrize("row", ROWS, ids=name_of)
each_new_row = pytest.mark.parametrize("row", NEW_ROWS, ids=name_of)
each_golden_row = pytest.mark.parametrize("row", golden.ROWS, ids=name_of)
rows = st.sampled_from(ROWS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def altered_row(row: StoredEvent, **changes: object) -> StoredEvent:
    fields = {**json.loads(row.state), **changes}
    fields = {name: value for name, value in fields.items() if value is not ...}
    return with_state(row, chain.encode_state(fields))


# --- there and back ----------------------------------------------------------------------------


@each_new_row
def test_events_become_events_and_the_same_rows_again(row: StoredEvent) -> None:
    mapped = MAPPER.to_domain_event(row)

    assert MAPPER.to_stored_event(mapped) == row


def test_there_is_a_row_of_each_kind() -> None:
    assert {row.topic for row in NEW_ROWS} == set(EVENT_CLASSES)


@each_golden_row
def test_g7_the_events_of_version_0_1_are_their_own_since_and_say_nothing_else_of_what_is_new(
    row: StoredEvent,
) -> None:
    new = vars(MAPPER.to_domain_event(row)).keys() - json.loads(row.state).keys()
    mapped: Any = MAPPER.to_domain_event(row)

    found = {name: getattr(mapped, name) for name in new}

    of_its_kind: dict[str, dict[str, object]] = {
        "keyturn.KeyGenerated": {"abandoned": None},
        "keyturn.KeyReset": {"abandoned": None},
        "keyturn.KeyRotated": {},
        "keyturn.KeysDestroyed": {"purged": False},
    }
    assert found == {
        "originator_id": golden.MANAGER_ID,
        "originator_version": row.originator_version,
        "digest": golden.DIGESTS[row.originator_version - 1],
        "since": row.originator_version,
        "recorded_by": None,
        **of_its_kind[row.topic],
    }


def test_g7_the_events_of_version_0_1_say_what_they_said() -> None:
    mapped: Any = [MAPPER.to_domain_event(row) for row in golden.ROWS]

    noon = datetime(2025, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert [
        (e.kind, e.generation, e.initiator, e.reason, e.timestamp - noon) for e in mapped
    ] == [
        ("generated", 1, "alice@laptop", None, timedelta(0)),
        ("rotated", 2, "bob@server", "monthly", timedelta(minutes=1)),
        ("reset", 3, "Zoë", "laptop “stolen” \n", timedelta(minutes=2)),
        ("destroyed", 3, "alice@laptop", "the end", timedelta(minutes=3)),
    ]


def test_g7_the_keys_of_version_0_1_are_unsealed() -> None:
    for row, secret in zip(golden.ROWS, golden.SECRETS, strict=False):
        mapped: Any = MAPPER.to_domain_event(row)

        assert SessionKeys.fold([mapped]).unseal(golden.KEY_RING) == secret


@each_golden_row
def test_g7_the_digest_of_an_event_of_version_0_1_is_that_of_what_is_stored(
    row: StoredEvent,
) -> None:
    mapped: Any = MAPPER.to_domain_event(row)

    assert mapped.digest == golden.DIGESTS[row.originator_version - 1]
    assert mapped.is_genuine


@pytest.mark.parametrize("name", ["v1.jsonl", "v2.jsonl"])
def test_each_event_carries_the_digest_that_the_one_before_it_has_as_it_is_stored(
    name: str,
) -> None:
    mapped: list[Any] = [MAPPER.to_domain_event(row) for row in old_rows(name)]

    assert [e.previous_digest for e in mapped[1:]] == [e.digest for e in mapped[:-1]]


@each_golden_row
def test_g7_the_events_of_version_0_1_are_signed_by_their_node(row: StoredEvent) -> None:
    genuine = read_genuine(row, golden.NODE_ID)

    assert vars(genuine) == vars(read_event(row))


@each_row
def test_g5_a_genuine_event_of_another_node_is_refused(row: StoredEvent) -> None:
    other = KeyRing.ephemeral().node_id

    with pytest.raises(ForeignLogError) as caught:
        read_genuine(row, other)

    assert (caught.value.expected, caught.value.found) == (other, golden.NODE_ID)


@each_row
def test_an_id_that_is_text_is_the_same_id(row: StoredEvent) -> None:
    as_text = replace(row, originator_id=str(golden.MANAGER_ID))

    assert vars(read_genuine(as_text)) == vars(read_genuine(row))


@each_row
def test_an_event_can_be_read_without_its_signature(row: StoredEvent) -> None:
    assert vars(read_event(row)) == vars(MAPPER.to_domain_event(row))


def test_the_topics_are_those_of_version_0_1_and_two_more() -> None:
    assert set(EVENT_CLASSES) == {
        "keyturn.KeyGenerated",
        "keyturn.KeyReset",
        "keyturn.KeyRotated",
        "keyturn.KeysDestroyed",
        "keyturn.SessionEnded",
        "keyturn.SubjectSessionsEnded",
    }


# --- alterations -------------------------------------------------------------------------------


@each_row
def test_g5_an_event_with_a_bit_of_any_byte_flipped_is_refused(row: StoredEvent) -> None:
    for position in range(len(row.state)):
        state = bytearray(row.state)
        state[position] ^= 1 << position % 8
        with pytest.raises(LogDamagedError):
            MAPPER.to_domain_event(with_state(row, bytes(state)))


@pytest.mark.parametrize("row", [ROWS[0], ROWS[-1]], ids=name_of)
def test_g5_an_event_cut_short_anywhere_is_refused(row: StoredEvent) -> None:
    for length in range(len(row.state)):
        with pytest.raises(LogDamagedError):
            MAPPER.to_domain_event(with_state(row, row.state[:length]))


@given(rows, json_values, st.data())
def test_g5_an_event_with_another_value_in_any_field_is_refused(
    row: StoredEvent, value: object, data: st.DataObject
) -> None:
    fields = json.loads(row.state)
    name = data.draw(st.sampled_from(sorted(fields)))
    assume(json.dumps(fields[name]) != json.dumps(value))

    with pytest.raises(LogDamagedError) as caught:
        MAPPER.to_domain_event(altered_row(row, **{name: value}))

    assert caught.value.position == row.originator_version


@given(rows, st.text(max_size=9), json_values)
def test_g5_an_event_with_a_field_more_is_refused(
    row: StoredEvent, name: str, value: object
) -> None:
    assume(name not in json.loads(row.state))

    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(altered_row(row, **{name: value}))


@each_row
def test_g5_an_event_that_lacks_a_field_is_refused(row: StoredEvent) -> None:
    for name in json.loads(row.state):
        with pytest.raises(LogDamagedError):
            MAPPER.to_domain_event(altered_row(row, **{name: ...}))


@each_row
def test_g5_an_event_under_another_of_our_topics_is_refused(row: StoredEvent) -> None:
    for topic in set(EVENT_CLASSES) - {row.topic}:
        with pytest.raises(LogDamagedError):
            MAPPER.to_domain_event(replace(row, topic=topic))


@each_row
@pytest.mark.parametrize("position", [-1, 0, 5, 2**40])
def test_g5_an_event_moved_to_another_position_is_refused(
    row: StoredEvent, position: int
) -> None:
    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(replace(row, originator_version=position))


@each_row
def test_g5_an_event_moved_to_another_manager_is_refused(row: StoredEvent) -> None:
    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(replace(row, originator_id=uuid4()))


@each_row
def test_g5_an_event_with_the_signature_of_another_is_refused(row: StoredEvent) -> None:
    for other in ROWS:
        if other is not row:
            signature = json.loads(other.state)["signature"]
            with pytest.raises(LogDamagedError):
                MAPPER.to_domain_event(altered_row(row, signature=signature))


@each_row
@pytest.mark.parametrize("indent", [None, 2], ids=["spaces", "lines"])
def test_g5_an_event_with_white_space_is_refused(row: StoredEvent, indent: int | None) -> None:
    state = json.dumps(json.loads(row.state), indent=indent, ensure_ascii=False).encode()

    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(with_state(row, state))


@each_row
def test_g5_an_event_with_its_names_in_another_order_is_refused(row: StoredEvent) -> None:
    fields = dict(reversed(json.loads(row.state).items()))
    state = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()

    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(with_state(row, state))


@each_row
def test_g5_an_event_with_a_name_twice_is_refused(row: StoredEvent) -> None:
    state = row.state.replace(b'"generation":', b'"generation":9,"generation":', 1)

    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(with_state(row, state))


@each_golden_row
def test_even_a_signed_event_of_schema_2_has_the_fields_of_schema_2(row: StoredEvent) -> None:
    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(signed_row(golden.KEY_RING, row, class_version=2))


@each_new_row
@pytest.mark.parametrize("name", ["since", "recorded_by"])
def test_even_a_signed_event_of_schema_2_lacks_no_field_of_it(
    row: StoredEvent, name: str
) -> None:
    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(signed_row(golden.KEY_RING, row, **{name: ...}))


@each_row
@pytest.mark.parametrize(
    "changes", [{"more": 1}, {"generation": "1"}, {"timestamp": "noon"}], ids=str
)
def test_even_a_signed_event_has_the_fields_of_its_kind(
    row: StoredEvent, changes: dict[str, object]
) -> None:
    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(signed_row(golden.KEY_RING, row, **changes))


@pytest.mark.parametrize("missing", ["signature", "node_id"])
@pytest.mark.parametrize("instead", [..., None, 7, ["v"], {}])
@each_row
def test_g5_an_event_without_signature_or_node_is_damage(
    row: StoredEvent, missing: str, instead: object
) -> None:
    with pytest.raises(LogDamagedError):
        read_genuine(altered_row(row, **{missing: instead}))


# --- versions ----------------------------------------------------------------------------------


@each_row
@pytest.mark.parametrize("version", [3, 10**6])
def test_an_event_of_a_newer_version_says_so(row: StoredEvent, version: int) -> None:
    newer = signed_row(golden.KEY_RING, row, class_version=version, more="unknown yet")

    with pytest.raises(LogVersionError, match="install a newer Keyturn") as caught:
        MAPPER.to_domain_event(newer)

    assert caught.value.position == row.originator_version


@each_row
@pytest.mark.parametrize("version", [2, 3, 10**6])
def test_g5_a_version_that_was_not_signed_is_damage_and_not_news(
    row: StoredEvent, version: int
) -> None:
    with pytest.raises(LogDamagedError) as caught:
        MAPPER.to_domain_event(altered_row(row, class_version=version, more="unknown yet"))

    assert not isinstance(caught.value, LogVersionError)


@pytest.mark.parametrize("row", golden.ROWS[:1], ids=name_of)
@given(version=json_values.filter(lambda value: not (type(value) is int and value == 1)))
def test_g5_no_version_makes_reading_fail_in_another_way(
    row: StoredEvent, version: object
) -> None:
    with pytest.raises(LogDamagedError):
        read_event(altered_row(row, class_version=version))


@given(rows, json_values, st.data())
def test_g5_reading_an_altered_event_gives_an_event_or_damage(
    row: StoredEvent, value: object, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(json.loads(row.state))))

    try:
        found = read_event(altered_row(row, **{name: value}))
    except LogDamagedError:
        return

    assert len(found.digest) == 64
