"""What every store does, whatever it keeps a log in: one contract for all of them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from keyturn.config.memory import MemoryStore
from keyturn.config.store import Store
from keyturn.domain.errors import LogError
from keyturn.domain.key_log import Row

TOPIC = "keyturn.KeyReset"
ALICE, BOB = UUID(int=1), UUID(int=2)

NewStore = Callable[[], Store]


def open_store(kind: str, folder: Path, request: pytest.FixtureRequest) -> NewStore:
    """Return a function that opens a log of that kind, the same one each time."""
    if kind == "sqlite":
        from keyturn.config.sqlite import SQLiteStore

        return lambda: SQLiteStore(folder / "log.db", lock_timeout=0.2)
    if kind == "postgres":
        from keyturn.config.postgres import PostgresStore

        url = request.getfixturevalue("postgres").url()
        return lambda: PostgresStore(url, timeout=5.0, max_staleness=0.0, pool_size=4)  # type: ignore[call-arg, return-value]
    store = MemoryStore()
    return lambda: store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStore]:
    """Open the log, as often as wanted; all are closed in the end."""
    with contextlib.ExitStack() as stack:
        opened = open_store(request.param, tmp_path, request)

        def open_it() -> Store:
            store = opened()
            stack.callback(store.close)
            return store

        yield open_it


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


def event(
    position: int, of: UUID = ALICE, *, topic: str = TOPIC, state: bytes = b""
) -> StoredEvent:
    return StoredEvent(of, position, topic, state or f"{of.int} {position}".encode())


def history(length: int, of: UUID = ALICE) -> list[StoredEvent]:
    return [event(position, of) for position in range(1, length + 1)]


def positions(store: Store, of: UUID = ALICE) -> list[int]:
    return [stored.originator_version for stored in store.select_events(of)]


# --- appending ---------------------------------------------------------------------------------


def test_what_was_inserted_is_read_as_it_was(store: Store) -> None:
    events = history(3)

    store.insert_events(events)

    assert store.select_events(ALICE) == events
    assert store.select_events(BOB) == []


def test_inserting_returns_the_numbers_of_the_rows(store: Store) -> None:
    numbers = list(store.insert_events(history(3)) or ())

    assert numbers == [row.id for row in store.select_notifications(None, 10)]


def test_a_position_that_is_taken_is_refused_and_nothing_is_written(store: Store) -> None:
    store.insert_events(history(2))

    with pytest.raises(IntegrityError):
        store.insert_events([event(1, BOB), event(2, state=b"other")])

    assert store.select_events(ALICE) == history(2)
    assert store.select_events(BOB) == []


@pytest.mark.parametrize("position", [-1, 0, 4, 2**63 - 1])
def test_a_position_that_follows_none_is_refused(store: Store, position: int) -> None:
    store.insert_events(history(2))

    with pytest.raises(IntegrityError):
        store.insert_events([event(position)])

    assert positions(store) == [1, 2]


def test_a_history_may_begin_anywhere_if_that_is_said(store: Store) -> None:
    store.insert_events([event(7), event(8)], may_begin_anywhere=True)

    assert positions(store) == [7, 8]


def test_what_an_iterable_of_events_raises_leaves_the_store_as_it_was(store: Store) -> None:
    def events() -> Iterator[StoredEvent]:
        yield from history(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.insert_events(events())

    assert positions(store) == []
    store.insert_events(history(1))


def test_of_many_threads_that_want_one_position_one_gets_it(store: Store) -> None:
    barrier = threading.Barrier(6)

    def insert(number: int) -> bool:
        barrier.wait(10)
        try:
            store.insert_events([event(1, state=str(number).encode())])
        except (IntegrityError, LogError):
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(insert, range(6)))

    assert outcomes.count(True) == 1
    assert positions(store) == [1]


# --- reading -----------------------------------------------------------------------------------


def test_a_part_of_a_history_is_selected_by_its_bounds(store: Store) -> None:
    store.insert_events(history(6))

    def found(**bounds: int | bool) -> list[int]:
        rows = store.select_events(ALICE, **bounds)  # type: ignore[arg-type]
        return [row.originator_version for row in rows]

    assert found(gt=2) == [3, 4, 5, 6]
    assert found(gt=2, lte=4) == [3, 4]
    assert found(desc=True, limit=2) == [6, 5]
    assert found(gt=1, limit=2) == [2, 3]
    assert found(lte=5, desc=True, limit=1) == [5]
    assert found(gt=6) == []


def test_notifications_come_in_the_order_of_writing(store: Store) -> None:
    store.insert_events([event(1), event(1, BOB, topic="other"), event(2)])
    everything = store.select_notifications(None, 10)
    first, second, third = (row.id for row in everything)

    assert [row.originator_id for row in everything] == [ALICE, BOB, ALICE]
    assert [row.id for row in store.select_notifications(second, 10)] == [second, third]
    assert [
        row.id for row in store.select_notifications(second, 10, inclusive_of_start=False)
    ] == [third]
    assert [row.id for row in store.select_notifications(None, 10, stop=second)] == [
        first,
        second,
    ]
    assert [row.id for row in store.select_notifications(None, 10, topics=["other"])] == [second]
    assert len(store.select_notifications(None, 2)) == 2
    assert store.max_notification_id() == third


def test_an_empty_log_has_no_newest_row(store: Store) -> None:
    assert store.max_notification_id() is None


def test_all_rows_are_read_as_they_lie_there(store: Store) -> None:
    store.insert_events([event(1), event(1, BOB), event(2)])

    assert [(row.originator_id, row.originator_version, row.state) for row in store.rows()] == [
        (ALICE.hex, 1, b"1 1"),
        (BOB.hex, 1, b"2 1"),
        (ALICE.hex, 2, b"1 2"),
    ]


def test_rows_are_those_of_one_moment(store: Store) -> None:
    store.insert_events(history(3))
    rows = store.rows()
    next(rows)

    store.insert_events([event(1, BOB)])

    assert len(list(rows)) == 2


def test_a_log_as_it_should_be_has_no_problems(store: Store) -> None:
    store.insert_events(history(3))

    assert store.schema_problems() == []


def test_a_topic_that_is_not_known_is_found(store: Store) -> None:
    store.insert_events([event(1), event(2, topic="strange"), event(3)])

    unknown = store.unknown_topic({TOPIC})

    assert unknown == (None if isinstance(store, MemoryStore) else "strange")
    assert store.unknown_topic({TOPIC, "strange"}) is None


def test_the_newest_row_of_each_aggregate_with_such_an_event_is_found(store: Store) -> None:
    store.insert_events([event(1, topic="first"), event(1, BOB, topic="other")])
    store.insert_events([event(2), event(3)])

    newest = Row(ALICE.hex, 3, TOPIC, event(3).state)
    assert store.newest_rows(["first", "last"]) == [newest]
    assert store.newest_rows([TOPIC]) == [newest]
    assert store.newest_rows(["other"]) == [Row(BOB.hex, 1, "other", event(1, BOB).state)]
    assert store.newest_rows(["nobody's"]) == []


# --- changes -----------------------------------------------------------------------------------


def test_changes_differs_after_each_write_and_only_then(new_store: NewStore) -> None:
    store, other = new_store(), new_store()
    store.insert_events(history(1))
    store.select_events(ALICE)
    seen = [store.changes()]

    for write in (
        lambda: other.insert_events([event(2)]),
        lambda: other.purge(event(3)),
    ):
        write()  # type: ignore[no-untyped-call]
        assert store.changes() not in seen
        store.select_events(ALICE)
        seen.append(store.changes())


def test_whoever_watches_is_called_after_a_commit_until_he_says_so(new_store: NewStore) -> None:
    store, other = new_store(), new_store()
    called = threading.Event()
    stop = store.watch(called.set)

    other.insert_events(history(1))
    first = called.wait(10)
    stop()

    assert first


def test_a_watcher_that_fails_keeps_it_from_nobody_else(store: Store) -> None:
    called = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    store.watch(fail)
    store.watch(called.set)
    for position in (1, 2):
        called.clear()
        store.insert_events([event(position)])

        assert called.wait(10)


# --- exclusive ---------------------------------------------------------------------------------


def test_within_exclusive_one_reads_the_newest_state_and_the_next_insert_commits(
    new_store: NewStore,
) -> None:
    store, other = new_store(), new_store()
    other.insert_events(history(1))

    with store.exclusive():
        (newest,) = store.select_events(ALICE, desc=True, limit=1)
        store.insert_events([event(newest.originator_version + 1)])
        committed = positions(other)

    assert committed == [1, 2]
    other.insert_events([event(3)])
    assert positions(store) == [1, 2, 3]


def test_after_exclusive_without_an_insert_others_can_write(new_store: NewStore) -> None:
    store, other = new_store(), new_store()
    with store.exclusive():
        pass
    with pytest.raises(ZeroDivisionError), store.exclusive():
        raise ZeroDivisionError

    other.insert_events(history(1))
    store.insert_events([event(2)])

    assert positions(other) == [1, 2]


def test_a_thread_that_waits_for_an_exclusive_write_reads_meanwhile(store: Store) -> None:
    if isinstance(store, MemoryStore):
        pytest.skip("it has one lock for all")
    store.insert_events(history(1))

    with ThreadPoolExecutor(1) as pool, store.exclusive():
        read = pool.submit(positions, store).result(timeout=10)

    assert read == [1]


# --- purge and remove --------------------------------------------------------------------------


def test_a_purge_leaves_the_last_event_and_other_histories(store: Store) -> None:
    store.insert_events([*history(3), event(1, BOB)])

    store.purge(event(4))

    assert store.select_events(ALICE) == [event(4)]
    assert store.select_events(BOB) == [event(1, BOB)]


def test_a_purge_that_is_too_late_removes_nothing(store: Store) -> None:
    store.insert_events(history(3))

    for position in (3, 5):
        with pytest.raises(IntegrityError):
            store.purge(event(position, state=b"the end"))

    assert store.select_events(ALICE) == history(3)


def test_a_purge_beside_writers_leaves_no_gap_and_no_early_row(new_store: NewStore) -> None:
    store = new_store()
    others = [new_store() for _ in range(3)]
    store.insert_events(history(1))

    def append(other: Store) -> None:
        for _ in range(20):
            with contextlib.suppress(IntegrityError, LogError, sqlite3.OperationalError):
                (newest,) = other.select_events(ALICE, desc=True, limit=1)
                other.insert_events([event(newest.originator_version + 1)])

    def purge() -> list[int]:
        last: list[int] = []
        while len(last) < 5:
            with contextlib.suppress(IntegrityError, LogError, sqlite3.OperationalError):
                (newest,) = store.select_events(ALICE, desc=True, limit=1)
                store.purge(event(newest.originator_version + 1, state=b"the end"))
                last.append(newest.originator_version + 1)
        return last

    with ThreadPoolExecutor(4) as pool:
        appending = [pool.submit(append, other) for other in others]
        purged = pool.submit(purge).result(timeout=60)
        for done in appending:
            done.result(timeout=60)

    found = positions(store)
    assert found == list(range(found[0], found[-1] + 1))
    assert found[0] == purged[-1]


# --- opening and closing -----------------------------------------------------------------------


def test_a_store_that_was_reopened_goes_on(store: Store) -> None:
    store.insert_events(history(1))

    store.reopen()
    store.insert_events([event(2)])

    assert positions(store) == [1, 2]


def test_many_aggregates_share_one_log(store: Store) -> None:
    ids = [uuid4() for _ in range(20)]
    store.insert_events(event(1, of) for of in ids)

    assert [positions(store, of) for of in ids] == [[1]] * 20


def test_a_store_is_closed_twice_without_an_error(store: Store) -> None:
    store.close()
    store.close()
