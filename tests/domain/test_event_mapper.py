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

from keyturn.domain import provenance
from keyturn.domain.errors import LogDamagedError, LogVersionError
from keyturn.domain.event_mapper import read_event
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys
from tests.domain import golden
from tests.domain.builders import mapper, signed_row, with_state

MAPPER = mapper()
each_row = pytest.mark.parametrize("row", golden.ROWS, ids=lambda row: row.topic)
rows = st.sampled_from(golden.ROWS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def altered_row(row: StoredEvent, **changes: object) -> StoredEvent:
    fields = {**json.loads(row.state), **changes}
    fields = {name: value for name, value in fields.items() if value is not ...}
    return with_state(row, provenance.encode_state(fields))


# --- there and back ----------------------------------------------------------------------------


@each_row
def test_g7_the_events_of_version_0_1_become_events_and_the_same_rows_again(
    row: StoredEvent,
) -> None:
    mapped = MAPPER.to_domain_event(row)

    assert MAPPER.to_stored_event(mapped) == row


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

        assert SessionKeys.resume(mapped).unseal(golden.KEY_RING) == secret


@each_row
def test_an_event_knows_its_digest(row: StoredEvent) -> None:
    mapped: Any = MAPPER.to_domain_event(row)

    assert mapped.digest == golden.DIGESTS[row.originator_version - 1]


@each_row
def test_an_event_can_be_read_without_its_signature(row: StoredEvent) -> None:
    assert vars(read_event(row)) == vars(MAPPER.to_domain_event(row))


def test_the_topics_are_those_of_version_0_1() -> None:
    assert tuple(EVENT_CLASSES) == (
        "keyturn.KeyGenerated",
        "keyturn.KeyReset",
        "keyturn.KeyRotated",
        "keyturn.KeysDestroyed",
    )


# --- alterations -------------------------------------------------------------------------------


@each_row
def test_g5_an_event_with_any_bit_flipped_is_refused(row: StoredEvent) -> None:
    for position in range(len(row.state)):
        for bit in range(8):
            state = bytearray(row.state)
            state[position] ^= 1 << bit
            with pytest.raises(LogDamagedError):
                MAPPER.to_domain_event(with_state(row, bytes(state)))


@each_row
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
    for other in golden.ROWS:
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


@each_row
@pytest.mark.parametrize(
    "changes", [{"more": 1}, {"generation": "1"}, {"timestamp": "noon"}], ids=str
)
def test_even_a_signed_event_has_the_fields_of_its_kind(
    row: StoredEvent, changes: dict[str, object]
) -> None:
    with pytest.raises(LogDamagedError):
        MAPPER.to_domain_event(signed_row(golden.KEY_RING, row, **changes))


# --- versions ----------------------------------------------------------------------------------


@each_row
@pytest.mark.parametrize("version", [2, 3, 10**6])
def test_an_event_of_a_newer_version_says_so(row: StoredEvent, version: int) -> None:
    newer = signed_row(golden.KEY_RING, row, class_version=version, more="unknown yet")

    with pytest.raises(LogVersionError, match="install a newer Keyturn") as caught:
        MAPPER.to_domain_event(newer)

    assert caught.value.position == row.originator_version


@each_row
def test_g5_a_version_that_was_not_signed_is_damage_and_not_news(row: StoredEvent) -> None:
    with pytest.raises(LogDamagedError) as caught:
        MAPPER.to_domain_event(altered_row(row, class_version=2))

    assert not isinstance(caught.value, LogVersionError)


@each_row
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
