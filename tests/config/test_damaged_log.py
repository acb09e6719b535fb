"""A change, removal or reordering of events is refused, with one of our errors [G5]."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn.domain.errors import (
    LogDamagedError,
    LogError,
    LogRolledBackError,
    NotAKeyturnLogError,
)
from keyturn.domain.session_keys import manager_id

RESETS = 4
NEWEST = RESETS + 1
REFUSALS = (LogDamagedError, LogRolledBackError, NotAKeyturnLogError)
DEFAULT, OTHER = manager_id("default").hex, manager_id("other").hex


@pytest.fixture(scope="module")
def unaltered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a service that has reset its key four times."""
    folder = tmp_path_factory.mktemp("unaltered") / "data"
    with keyturn.open(path=folder, password=None) as service:
        for number in range(RESETS):
            service.reset_key(reason=f"number {number}")
    return folder


@pytest.fixture
def folder(unaltered: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(unaltered, tmp_path / "data")
    return tmp_path / "data"


def execute(folder: Path, statement: str, *values: object) -> list[Any]:
    with contextlib.closing(
        sqlite3.connect(folder / "keyturn.db", isolation_level=None)
    ) as connection:
        return connection.execute(statement, values).fetchall()


def open_it(folder: Path) -> None:
    keyturn.open(path=folder, password=None).close()


def test_g5_an_unaltered_log_opens(folder: Path) -> None:
    open_it(folder)


@pytest.mark.parametrize("place", range(0, 800, 79))
def test_g5_a_flipped_bit_in_the_state_of_the_newest_event_is_refused(
    folder: Path, place: int
) -> None:
    where = f"WHERE originator_version = {NEWEST}"
    [(state,)] = execute(folder, f"SELECT state FROM stored_events {where}")
    altered = bytearray(state)
    altered[place % len(state)] ^= 1 << (place % 8)
    execute(folder, f"UPDATE stored_events SET state = ? {where}", bytes(altered))

    with pytest.raises(LogDamagedError) as raised:
        open_it(folder)

    assert raised.value.position == NEWEST
    assert raised.value.location == str(folder / "keyturn.db")


@pytest.mark.parametrize(
    "assignment",
    [
        "state = x''",
        "state = x'7b7d'",
        "state = x'6e756c6c'",
        "state = x'ff'",
        "state = NULL",
        "state = 7",
        "state = 1099511627776",
        "state = -1",
        "state = 1.5",
        "state = CAST(state AS TEXT)",
        "state = state || x'20'",
        "state = replace(state, '\"generation\":5', '\"generation\":1')",
        "state = replace(state, 'number 3', 'number 4')",
        "state = zeroblob(1000000)",
        "topic = 'keyturn.KeyGenerated'",
        "topic = 'keyturn.KeysDestroyed'",
        "topic = 'keyturn.KeyRotated'",
        "topic = 'keyturn.'",
        "topic = 'os:system'",
        "topic = ''",
        "topic = NULL",
        "topic = 7",
        "topic = x'6b657974'",
        "topic = CAST(x'ff' AS TEXT)",
        "originator_version = 6",
        "originator_version = 0",
        "originator_version = -5",
        "originator_version = 9223372036854775807",
        "originator_version = NULL",
        "originator_version = 'five'",
        "originator_version = 5.5",
        "originator_version = x'05'",
        f"originator_id = '{OTHER}'",
        "originator_id = ''",
        "originator_id = NULL",
        "originator_id = 'not a uuid'",
        "originator_id = x'00'",
    ],
)
def test_g5_a_newest_row_with_an_altered_column_is_refused(folder: Path, assignment: str) -> None:
    execute(folder, f"UPDATE stored_events SET {assignment} WHERE originator_version = {NEWEST}")

    with pytest.raises(REFUSALS):
        open_it(folder)


@pytest.mark.parametrize(
    "assignment",
    [
        "originator_id = NULL",
        "originator_id = 'not a uuid'",
        "state = NULL",
        "state = 1099511627776",
        "topic = NULL",
        "state = x'7b7d'",
        "originator_version = 'one'",
    ],
)
def test_g5_a_first_row_with_an_altered_column_raises_nothing_but_our_errors(
    folder: Path, assignment: str
) -> None:
    execute(folder, f"UPDATE stored_events SET {assignment} WHERE originator_version = 1")

    with contextlib.suppress(LogError), keyturn.open(path=folder, password=None) as service:
        list(service.history())


@pytest.mark.parametrize("kept", range(NEWEST))
def test_g5_a_deleted_tail_is_refused(folder: Path, kept: int) -> None:
    execute(folder, f"DELETE FROM stored_events WHERE originator_version > {kept}")

    with pytest.raises(LogRolledBackError) as raised:
        open_it(folder)

    assert (raised.value.expected_position, raised.value.found_position) == (NEWEST, kept)


def test_g5_swapped_states_are_refused(folder: Path) -> None:
    rows = execute(folder, "SELECT state FROM stored_events WHERE originator_version IN (4, 5)")
    for position, (state,) in zip((5, 4), rows, strict=True):
        execute(
            folder,
            "UPDATE stored_events SET state = ? WHERE originator_version = ?",
            state,
            position,
        )

    with pytest.raises(LogDamagedError):
        open_it(folder)


def test_g5_swapped_rows_are_refused(folder: Path) -> None:
    execute(
        folder, "UPDATE stored_events SET originator_version = 100 WHERE originator_version = 4"
    )
    execute(
        folder, "UPDATE stored_events SET originator_version = 4 WHERE originator_version = 5"
    )
    execute(
        folder, "UPDATE stored_events SET originator_version = 5 WHERE originator_version = 100"
    )

    with pytest.raises(LogDamagedError):
        open_it(folder)


def test_g5_an_older_event_put_behind_the_newest_one_is_refused(folder: Path) -> None:
    execute(
        folder,
        f"INSERT INTO stored_events SELECT '{DEFAULT}', 6, topic, state FROM stored_events "
        "WHERE originator_version = 2",
    )

    with pytest.raises(LogDamagedError):
        open_it(folder)


@pytest.mark.parametrize("cut", [0, 1, 50, 4096, 5000])
def test_g5_a_file_that_was_cut_off_is_refused(folder: Path, cut: int) -> None:
    path = folder / "keyturn.db"
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(LogError):
        open_it(folder)


def test_g5_flipped_bytes_anywhere_in_the_file_raise_nothing_but_our_errors(
    folder: Path,
) -> None:
    path, unaltered = folder / "keyturn.db", (folder / "keyturn.db").read_bytes()
    places = [*range(0, 120, 7), *range(120, len(unaltered), 401)]

    for place in places:
        altered = bytearray(unaltered)
        altered[place] ^= 0xFF
        path.write_bytes(altered)
        with contextlib.suppress(LogError), keyturn.open(path=folder, password=None) as service:
            list(service.history())
