"""Whatever is done to a row of a log, an audit says so, and where, and never raises [G5]."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keyturn import EventLog, FindingKind, KeyRing
from tests.projections.sqlite_log import (
    ID,
    LAST,
    POSITIONS,
    audit_file,
    audit_log,
    execute,
    mark_of,
    opened,
    places,
    record,
)

ALTERED, MISSING, FOREIGN = FindingKind.ALTERED, FindingKind.MISSING, FindingKind.FOREIGN
OTHER_VALUES = [None, 7, -1, 1.5, 1e300, 2**63 - 1, -(2**63), "", "text", b"", b"\xff", b"{}"]
shared_log = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50
)


class Vandal:
    """Alters a log that is open, each time anew from what it was."""

    def __init__(self, log: EventLog, connection: sqlite3.Connection) -> None:
        self.log = log
        self._connection = connection
        self.rows = {
            row[1]: row for row in connection.execute("SELECT * FROM stored_events").fetchall()
        }

    def findings_after(
        self, position: int, column: str, value: object, *, as_text: bool = False
    ) -> list[tuple[FindingKind, int | None]]:
        """Put a value in a column of a row, audit the log, and put the row back."""
        self._connection.execute(
            f"UPDATE stored_events SET {column} = {'CAST(? AS TEXT)' if as_text else '?'} "
            "WHERE originator_version = ?",
            (value, position),
        )
        rowid = position
        try:
            return places(audit_log(self.log))
        finally:
            self._connection.execute(
                "UPDATE stored_events SET (originator_id, originator_version, topic, state) "
                "= (?, ?, ?, ?) WHERE rowid = ?",
                (*self.rows[position], rowid),
            )


@pytest.fixture
def path(tmp_path: Path, key_ring: KeyRing) -> Path:
    """A log with one history of all four kinds."""
    record(tmp_path / "log.db", key_ring)
    return tmp_path / "log.db"


@pytest.fixture
def vandal(path: Path) -> Iterator[Vandal]:
    connection = sqlite3.connect(path, isolation_level=None)
    with opened(path) as log, contextlib.closing(connection):
        connection.execute("PRAGMA synchronous = OFF")
        yield Vandal(log, connection)


def flipped(value: str | bytes, place: int, bit: int) -> bytes:
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[place % len(raw)] ^= 1 << bit
    return bytes(raw)


# --- flipped bits ------------------------------------------------------------------------------


def test_g5_flipped_bits_all_over_a_state_are_found_at_its_position(vandal: Vandal) -> None:
    position = 3  # a rotation: it has all there is
    state = vandal.rows[position][3]

    found = {
        tuple(vandal.findings_after(position, "state", flipped(state, place, place % 8)))
        for place in range(0, len(state), 3)
    }

    assert found == {((ALTERED, position),)}


@shared_log
@given(st.sampled_from(POSITIONS), st.integers(0, 2000), st.integers(0, 7))
def test_g5_any_flipped_bit_of_a_state_is_found_at_its_position(
    vandal: Vandal, position: int, place: int, bit: int
) -> None:
    state = flipped(vandal.rows[position][3], place, bit)

    found = vandal.findings_after(position, "state", state)

    assert found == [(ALTERED, position)]


@pytest.mark.parametrize("position", [1, 4, LAST])
def test_g5_a_flipped_bit_in_any_byte_of_a_topic_is_found_at_its_position(
    vandal: Vandal, position: int
) -> None:
    topic = vandal.rows[position][2]

    found = [
        vandal.findings_after(position, "topic", flipped(topic, place, bit), as_text=True)
        for place in range(len(topic))
        for bit in (place % 8, 5)  # the second one makes other letters of it
    ]

    assert all(f in ([(FOREIGN, position)], [(ALTERED, position)]) for f in found)


@pytest.mark.parametrize("position", [1, 3, LAST])
def test_g5_a_flipped_bit_in_any_byte_of_an_originator_id_is_found_at_its_position(
    vandal: Vandal, position: int
) -> None:
    found = [
        vandal.findings_after(
            position, "originator_id", flipped(ID, place, place % 8), as_text=True
        )
        for place in range(len(ID))
    ]

    assert all((ALTERED, position) in f for f in found)


@pytest.mark.parametrize("position", [1, 3, LAST])
def test_g5_any_flipped_bit_of_a_version_is_found_where_the_row_was_or_stands_now(
    vandal: Vandal, position: int
) -> None:
    versions = [position ^ (1 << bit) for bit in range(63)] + [position - 2**63]
    versions = [version for version in versions if version not in POSITIONS]

    found = {v: vandal.findings_after(position, "originator_version", v) for v in versions}

    was_missed = position == LAST  # that a tail is missing shows only against a witness
    assert all(
        (was_missed or (MISSING, position) in f) and version in dict(map(reversed, f))  # type: ignore[arg-type]
        for version, f in found.items()
    )


def test_g5_a_flipped_bit_in_the_version_of_the_newest_row_is_found_against_the_anchor(
    path: Path,
) -> None:
    mark = mark_of(path)
    execute(path, "UPDATE stored_events SET originator_version = 70 WHERE rowid = ?", LAST)

    report = audit_file(path, marks={"default": mark})

    assert (FindingKind.TRUNCATED, LAST) in places(report)


# --- values of other types ---------------------------------------------------------------------


@pytest.mark.parametrize("value", OTHER_VALUES, ids=repr)
@pytest.mark.parametrize("column", ["originator_id", "topic", "state"])
def test_g5_a_value_that_is_none_of_an_event_is_found_at_its_position(
    vandal: Vandal, column: str, value: object
) -> None:
    found = {p: vandal.findings_after(p, column, value) for p in (1, LAST)}

    assert all(position in {where for _, where in f} for position, f in found.items())


@pytest.mark.parametrize("value", OTHER_VALUES, ids=repr)
def test_g5_a_value_that_is_no_position_is_found(vandal: Vandal, value: object) -> None:
    found = [vandal.findings_after(p, "originator_version", value) for p in POSITIONS]

    assert all(found)


@pytest.mark.parametrize("column", ["originator_id", "originator_version", "topic", "state"])
def test_g5_a_column_without_values_is_found_row_by_row(path: Path, column: str) -> None:
    execute(path, f"UPDATE stored_events SET {column} = NULL")

    assert len(audit_file(path).findings) == len(POSITIONS)


@shared_log
@given(state=st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"signature":"' + b"A" * 86 + b'","node_id":"v\xc3\xa4"}')
@example(b'{"generation":123456789012345678901234567890,"node_id":"v","signature":""}')
@example(b'{"class_version":9}')
def test_g5_any_bytes_for_a_state_are_found(vandal: Vandal, state: bytes) -> None:
    assert vandal.findings_after(2, "state", state) == [(ALTERED, 2)]


@pytest.mark.parametrize("position", POSITIONS)
def test_g5_the_same_event_in_another_spelling_is_found(vandal: Vandal, position: int) -> None:
    spaced = json.dumps(json.loads(vandal.rows[position][3])).encode()

    assert vandal.findings_after(position, "state", spaced) == [(ALTERED, position)]


@pytest.mark.parametrize("position", POSITIONS)
def test_g5_a_name_that_stands_twice_is_found(vandal: Vandal, position: int) -> None:
    state = vandal.rows[position][3].replace(b"{", b'{"reason":"another",', 1)

    assert vandal.findings_after(position, "state", state) == [(ALTERED, position)]


def test_g5_what_was_altered_is_never_a_head(path: Path) -> None:
    execute(path, "UPDATE stored_events SET state = x'00' WHERE rowid = ?", LAST)

    assert audit_file(path).heads["default"].position == LAST - 1
