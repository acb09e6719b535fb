"""Rows that are missing, moved, or another node's: an audit says which, and where [G5]."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from itertools import combinations
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from keyturn import FindingKind, KeyRing
from keyturn.domain import chain
from tests.projections.sqlite_log import (
    ID,
    LAST,
    POSITIONS,
    audit_file,
    execute,
    places,
    record,
)

ALTERED, MISSING, REORDERED, FOREIGN = (
    FindingKind.ALTERED,
    FindingKind.MISSING,
    FindingKind.REORDERED,
    FindingKind.FOREIGN,
)
PAIRS = list(combinations(POSITIONS, 2))


@pytest.fixture
def path(tmp_path: Path, key_ring: KeyRing) -> Path:
    """A log with one history of all four kinds."""
    record(tmp_path / "log.db", key_ring)
    return tmp_path / "log.db"


def append_signed(path: Path, key_ring: KeyRing, position: int, **changes: object) -> None:
    """Write an event like the newest one, with other fields, under a signature of this node."""
    [(topic, state)] = execute(
        path, "SELECT topic, state FROM stored_events ORDER BY rowid DESC LIMIT 1"
    )
    fields = {**json.loads(state), "node_id": key_ring.node_id, "since": position, **changes}
    digest = chain.digest(topic, UUID(ID), position, fields)
    fields["signature"] = chain.sign(key_ring, UUID(ID), position, digest)
    row = (ID, position, topic, chain.encode_state(fields))
    execute(path, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *row)


# --- missing, reordered ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "findings"),
    [
        ([1], [(MISSING, 1)]),
        ([3], [(MISSING, 3)]),
        ([1, 2], [(MISSING, 1)]),
        ([2, 3, 4], [(MISSING, 2)]),
        ([2, 4], [(MISSING, 2), (MISSING, 4)]),
        ([1, 3, 5], [(MISSING, 1), (MISSING, 3), (MISSING, 5)]),
    ],
)
def test_g5_missing_rows_are_found_with_the_first_position_of_each_run(
    path: Path, gone: list[int], findings: list[tuple[FindingKind, int]]
) -> None:
    for position in gone:
        execute(path, "DELETE FROM stored_events WHERE originator_version = ?", position)

    assert places(audit_file(path)) == findings


def test_g5_a_run_of_missing_rows_says_how_many(path: Path) -> None:
    execute(path, "DELETE FROM stored_events WHERE originator_version IN (2, 3, 4)")

    assert [f.message for f in audit_file(path).findings] == ["3 events are missing"]


@pytest.mark.parametrize("columns", [("state",), ("topic", "state")], ids=len)
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_g5_two_rows_with_their_states_swapped_are_reordered(
    path: Path, one: int, two: int, columns: tuple[str, ...]
) -> None:
    for column in columns:
        both = f"SELECT {column} FROM stored_events WHERE rowid IN (?, ?) ORDER BY rowid"
        [(first,), (second,)] = execute(path, both, one, two)
        for value, rowid in ((second, one), (first, two)):
            execute(path, f"UPDATE stored_events SET {column} = ? WHERE rowid = ?", value, rowid)

    assert places(audit_file(path)) == [(REORDERED, one), (REORDERED, two)]


@pytest.mark.parametrize("position", [2, 3, LAST])
def test_g5_an_event_that_was_copied_over_another_is_found(path: Path, position: int) -> None:
    state = "(SELECT state FROM stored_events WHERE rowid = 5)"
    execute(path, f"UPDATE stored_events SET state = {state} WHERE rowid = ?", position)

    assert [where for _, where in places(audit_file(path))] == [position]


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_g5_two_rows_with_their_versions_swapped_are_reordered(
    path: Path, one: int, two: int
) -> None:
    swap = "UPDATE stored_events SET originator_version = ? WHERE rowid = ?"
    for version, rowid in ((0, one), (one, two), (two, one)):
        execute(path, swap, version, rowid)

    assert places(audit_file(path)) == [(REORDERED, one), (REORDERED, two)]


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_g5_two_rows_in_the_wrong_order_of_writing_are_reordered(
    path: Path, one: int, two: int
) -> None:
    for rowid, instead_of in ((0, one), (one, two), (two, 0)):
        execute(path, "UPDATE stored_events SET rowid = ? WHERE rowid = ?", rowid, instead_of)

    assert places(audit_file(path)) == [(REORDERED, p) for p in range(one, two)]


def test_g5_a_removed_row_is_found_though_those_behind_it_moved_up(path: Path) -> None:
    execute(path, "DELETE FROM stored_events WHERE originator_version = 2")
    for position in range(3, LAST + 1):
        move = "UPDATE stored_events SET originator_version = ? WHERE originator_version = ?"
        execute(path, move, position - 1, position)

    assert {position for _, position in places(audit_file(path))} == set(range(2, LAST))


def test_g5_a_row_that_was_altered_everywhere_else_still_names_its_position(path: Path) -> None:
    execute(path, "UPDATE stored_events SET state = x'7b7d'")

    assert places(audit_file(path)) == [(ALTERED, position) for position in POSITIONS]


# --- foreign -----------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [2, 4, LAST])
def test_g5_a_row_of_another_node_in_the_place_of_ours_is_foreign(
    path: Path, tmp_path: Path, key_ring: KeyRing, position: int
) -> None:
    record(tmp_path / "other.db", KeyRing.ephemeral())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        connection.execute(
            "UPDATE stored_events SET state = (SELECT state FROM other.stored_events AS o "
            "WHERE o.rowid = ?1) WHERE rowid = ?1",
            (position,),
        )

    report = audit_file(path, node_id=key_ring.node_id)

    assert (FOREIGN, position) in places(report)


def test_g5_rows_of_another_node_behind_ours_are_foreign(path: Path, tmp_path: Path) -> None:
    record(tmp_path / "other.db", KeyRing.ephemeral())
    record(tmp_path / "other.db", KeyRing.ephemeral(), kinds=["reset", "reset"])
    for row in execute(tmp_path / "other.db", "SELECT * FROM stored_events WHERE rowid > 6"):
        execute(path, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *row)

    assert places(audit_file(path)) == [(FOREIGN, LAST + 1), (FOREIGN, LAST + 2)]


@pytest.mark.parametrize("topic", ["os:system", "keyturn.KeyForgotten", "", "x" * 10_000, "\0"])
def test_g5_an_alien_topic_is_foreign_wherever_it_stands(path: Path, topic: str) -> None:
    row = (uuid4().hex, 1, topic, b"{}")
    execute(path, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *row)

    assert places(audit_file(path)) == [(FOREIGN, None)]


def test_g5_an_alien_topic_in_a_history_of_ours_is_foreign_at_its_position(path: Path) -> None:
    row = (ID, LAST + 1, "os:system", b"{}")
    execute(path, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *row)

    assert places(audit_file(path)) == [(FOREIGN, LAST + 1)]


# --- signed, and yet not what a Keyturn writes -------------------------------------------------


def test_g5_a_signed_event_at_an_absurd_position_leaves_a_gap(
    path: Path, key_ring: KeyRing
) -> None:
    append_signed(path, key_ring, 2**62)

    assert places(audit_file(path)) == [(MISSING, LAST + 1)]


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "2024-01-01T00:00:00"},
        {"timestamp": "noon"},
        {"generation": "five"},
        {"class_version": 9},
        {"class_version": None},
        {"another": "field"},
        {"reason": ["a", {"b": None}]},
    ],
    ids=str,
)
def test_g5_a_signed_event_with_fields_of_no_event_is_found(
    path: Path, key_ring: KeyRing, changes: dict[str, object]
) -> None:
    append_signed(path, key_ring, LAST + 1, **changes)

    assert places(audit_file(path)) == [(ALTERED, LAST + 1)]


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"previous_digest": "0" * 64}, (ALTERED, LAST + 1)),
        ({"manager": "other"}, (REORDERED, LAST + 1)),
    ],
)
def test_g5_a_signed_event_that_does_not_follow_the_one_before_is_found(
    path: Path, key_ring: KeyRing, changes: dict[str, object], finding: tuple[FindingKind, int]
) -> None:
    append_signed(path, key_ring, LAST + 1, **changes)

    assert places(audit_file(path)) == [finding]


def test_g5_a_signed_event_with_a_generation_that_does_not_follow_is_found(
    path: Path, key_ring: KeyRing
) -> None:
    digest = audit_file(path).heads["default"].digest
    append_signed(path, key_ring, LAST + 1, previous_digest=digest, generation=9)

    assert places(audit_file(path)) == [(ALTERED, LAST + 1)]
