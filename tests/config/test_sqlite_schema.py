"""What stands in a SQLite log besides its rows revives nothing that was refused [G5]."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from keyturn.config.sqlite import SQLiteStore
from keyturn.config.sqlite_schema import APPLICATION_ID
from keyturn.domain.errors import LogDamagedError, LogError, LogVersionError, NotAKeyturnLogError
from tests.descriptors import open_below

from .sqlite_logs import (
    ALICE,
    BOB,
    PRELUDE,
    TOPIC,
    event,
    execute,
    history,
    newest,
    positions,
)
from .warm_processes import WarmProcess

PAGE = 4096
ALIEN_TOPICS = (
    "CREATE INDEX IF NOT EXISTS alien_topics ON stored_events(topic) WHERE topic NOT IN "
    "('keyturn.KeyGenerated', 'keyturn.KeyReset', 'keyturn.KeyRotated', "
    "'keyturn.KeysDestroyed')"
)
A_VIEW = [
    "ALTER TABLE stored_events RENAME TO kept",
    "CREATE VIEW stored_events AS SELECT * FROM kept WHERE originator_version < 3",
]
A_TRIGGER = (
    "CREATE TRIGGER undo AFTER INSERT ON stored_events BEGIN DELETE FROM stored_events "
    "WHERE originator_version = new.originator_version; END"
)
A_COLLATION = (
    "CREATE TABLE stored_events (originator_id TEXT COLLATE NOCASE, originator_version INTEGER, "
    "topic TEXT, state BLOB, PRIMARY KEY (originator_id, originator_version))"
)
AN_INDEX = "CREATE INDEX quick ON stored_events(originator_id, originator_version DESC)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a log with five events."""
    path = tmp_path / "log.db"
    store = SQLiteStore(path)
    store.insert_events(history(5))
    store.close()
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


# --- an index that lies ------------------------------------------------------------------------


def move_index_entry_to_the_end(path: Path, entry: int) -> None:
    """Let the index of the table lead to an old row, as if it were the newest."""
    [(root,)] = execute(
        path, "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_stored_events_1'"
    )
    content = bytearray(path.read_bytes())
    page = (root - 1) * PAGE
    assert content[page] == 0x0A  # the leaf of an index
    count = int.from_bytes(content[page + 3 : page + 5], "big")
    cells = [bytes(content[page + 8 + 2 * n : page + 10 + 2 * n]) for n in range(count)]
    cells.append(cells.pop(entry))
    content[page + 8 : page + 8 + 2 * count] = b"".join(cells)
    path.write_bytes(content)


def test_g5_a_newest_row_that_the_index_hides_is_noticed_by_who_reads_it(path: Path) -> None:
    move_index_entry_to_the_end(path, 2)

    store = SQLiteStore(path)

    with pytest.raises(LogDamagedError, match="its index disagrees with its table"):
        newest(store)
    store.close()


def test_g5_it_is_noticed_by_who_follows_the_log(path: Path, store: SQLiteStore) -> None:
    store.select_events(ALICE)
    store.reopen()
    move_index_entry_to_the_end(path, 1)
    store.reopen()

    with pytest.raises(LogDamagedError, match="integrity_check"):
        store.select_events(ALICE, gt=4)


def test_g5_a_last_row_that_the_index_does_not_lead_to_is_noticed(path: Path) -> None:
    execute(path, f"INSERT INTO stored_events VALUES ('{BOB.hex}', 1, '{TOPIC}', x'00')")
    for _ in range(5):
        move_index_entry_to_the_end(path, 0)  # so that BOB's comes first

    store = SQLiteStore(path)

    with pytest.raises(LogDamagedError, match="integrity_check"):
        newest(store)
    store.close()


def test_g5_an_audit_is_told_that_the_index_disagrees_with_its_table(path: Path) -> None:
    move_index_entry_to_the_end(path, 2)

    store = SQLiteStore(path)

    assert any("stored_events" in line for line in store.schema_problems())
    store.close()


# --- triggers, views, indexes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "remedy"),
    [
        (A_VIEW, "DROP VIEW stored_events"),
        ([A_TRIGGER], "DROP TRIGGER undo"),
        ([A_TRIGGER.replace("undo", "'un\"do it'")], 'DROP TRIGGER "un""do it"'),
        ([AN_INDEX], "DROP INDEX quick"),
        (
            ["CREATE TABLE theirs (x)", "CREATE VIEW seen AS SELECT * FROM theirs"],
            "DROP VIEW seen",
        ),
    ],
)
def test_g5_what_can_change_what_is_read_is_refused_with_the_statement_that_removes_it(
    statements: list[str], remedy: str, path: Path, store: SQLiteStore
) -> None:
    store.insert_events([event(6)])
    execute(path, *statements)

    for use in (
        lambda: newest(store),
        lambda: store.insert_events([event(7)]),
        lambda: store.purge(event(7)),
        lambda: list(store.rows()),
        lambda: SQLiteStore(path),
    ):
        with pytest.raises(LogDamagedError) as raised:
            use()
        assert str(raised.value).endswith(remedy)
    assert any(line.endswith(remedy) for line in store.schema_problems())
    table = "kept" if statements is A_VIEW else "stored_events"
    assert execute(path, f"SELECT max(originator_version) FROM {table}") == [(6,)]


def test_g5_once_it_is_removed_the_log_goes_on(path: Path, store: SQLiteStore) -> None:
    execute(path, *A_VIEW, A_TRIGGER.replace("AFTER", "INSTEAD OF"))
    with pytest.raises(LogDamagedError):
        newest(store)
    execute(path, "DROP VIEW stored_events", "ALTER TABLE kept RENAME TO stored_events")

    store.insert_events([event(6)])

    assert newest(store) == 6
    SQLiteStore(path).close()


def test_g5_a_view_that_comes_and_goes_changes_nothing_that_was_read(
    path: Path, store: SQLiteStore
) -> None:
    execute(path, *A_VIEW)
    execute(path, "DROP VIEW stored_events", "ALTER TABLE kept RENAME TO stored_events")

    assert newest(store) == 5


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE stored_events"],
        ["DROP TABLE stored_events", "CREATE TABLE stored_events (stored, events)"],
        [
            "ALTER TABLE stored_events RENAME TO kept",
            A_COLLATION,
        ],
    ],
)
def test_g5_another_table_in_place_of_ours_is_refused_at_every_use(
    statements: list[str], path: Path, store: SQLiteStore
) -> None:
    execute(path, *statements)

    for use in (
        lambda: newest(store),
        lambda: store.insert_events([event(6)]),
        lambda: list(store.rows()),
        lambda: store.unknown_topic([TOPIC]),
        lambda: SQLiteStore(path),
    ):
        with pytest.raises(NotAKeyturnLogError, match="is another application's"):
            use()


def test_tables_of_others_are_left_alone(path: Path, store: SQLiteStore) -> None:
    execute(path, "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)", "ANALYZE")

    store.insert_events([event(6)])

    assert newest(store) == 6
    SQLiteStore(path).close()
    assert store.schema_problems() == []


# --- versions ----------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A log as version 0.1 made it, with eventsourcing's recorder."""
    path = tmp_path / "old.db"
    execute(path, "PRAGMA journal_mode = WAL")
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(path)))
    recorder.create_table()
    execute(
        path, ALIEN_TOPICS, f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 1"
    )
    recorder.insert_events(history(5))
    recorder.datastore.close()
    return path


def schema_of(path: Path) -> list[object]:
    return execute(path, "SELECT type, name, tbl_name, sql FROM sqlite_schema")


def test_g7_a_log_of_version_0_1_is_brought_up_to_date_and_continued(
    old: Path, path: Path
) -> None:
    store = SQLiteStore(old)

    store.insert_events([event(6)])

    assert store.select_events(ALICE) == history(6)
    assert execute(old, "PRAGMA user_version") == [(2,)]
    assert schema_of(old) == schema_of(path)
    assert store.schema_problems() == []
    store.close()


def test_several_processes_may_bring_an_old_log_up_to_date_at_once(old: Path) -> None:
    code = PRELUDE + "input(); SQLiteStore(path, lock_timeout=30); print('done')"
    processes = [WarmProcess(code, old) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    printed = [process.stdout.read() for process in processes]

    for process in processes:
        process.close()
    assert printed == ["done\n"] * 4
    assert execute(old, "PRAGMA user_version") == [(2,)]


def test_an_old_log_with_something_in_it_that_is_not_ours_is_not_brought_up_to_date(
    old: Path,
) -> None:
    execute(old, A_TRIGGER)

    with pytest.raises(LogDamagedError, match="DROP TRIGGER undo"):
        SQLiteStore(old)

    assert execute(old, "PRAGMA user_version") == [(1,)]


def test_the_log_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    execute(path, "PRAGMA user_version = 3")
    before = path.read_bytes()

    with pytest.raises(LogVersionError, match="newer"):
        SQLiteStore(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    ["PRAGMA user_version = 99", "PRAGMA application_id = 7", A_TRIGGER, "DROP INDEX topics"],
)
def test_a_log_that_is_refused_leaves_no_file_open(damage: str, path: Path) -> None:
    execute(path, damage)
    before = open_below(path.parent)

    errors = []
    for _ in range(10):
        with pytest.raises(LogError) as raised:
            SQLiteStore(path)
        errors.append(raised.value)  # and with it all that its traceback keeps alive

    assert open_below(path.parent) <= before + 1


# --- topics ------------------------------------------------------------------------------------


def test_looking_for_a_topic_that_is_not_known_does_not_grow_with_the_log(
    path: Path, store: SQLiteStore
) -> None:
    topics = [f"topic {n}" for n in range(6)]
    rows = [event(position) for position in range(6, 5_000)]
    store.insert_events(
        type(row)(row.originator_id, row.originator_version, topics[n % 6], row.state)
        for n, row in enumerate(rows)
    )

    plan = execute(
        path,
        "EXPLAIN QUERY PLAN SELECT topic FROM stored_events WHERE topic > 'x' ORDER BY topic",
    )

    assert "USING COVERING INDEX topics" in plan[0][3]
    assert store.unknown_topic([TOPIC, *topics]) is None
    assert store.unknown_topic([TOPIC, *topics[:5]]) == "topic 5"


def test_rows_whose_values_are_not_those_of_an_event_are_damage(
    path: Path, store: SQLiteStore
) -> None:
    for assignment in ("state = NULL", "topic = 7", "topic = CAST(x'ff' AS TEXT)"):
        execute(path, f"UPDATE stored_events SET {assignment} WHERE originator_version = 5")

        with pytest.raises(LogDamagedError):
            positions(store)
    assert len(list(store.rows())) == 5
