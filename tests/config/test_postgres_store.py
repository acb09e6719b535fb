"""A PostgreSQL store keeps what `Store` promises, whoever else uses the server."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from keyturn.config.postgres_schema import lock_number
from keyturn.domain.errors import LogClosedError, LogDamagedError, LogUnavailableError
from tests.postgres import PostgresServer
from tests.proxy import Proxy

from .postgres_stores import TIMEOUT, Stores, positions, row, stores_of, until


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    yield from stores_of(postgres)


# --- writing -----------------------------------------------------------------------------------


def test_an_event_is_written_only_behind_the_one_before_it(stores: Stores) -> None:
    store, id_ = stores.open(), uuid4()
    store.insert_events([row(1, id_), row(2, id_)])

    for position in (-1, 0, 2, 4, 2**63 - 1):
        with pytest.raises(IntegrityError):
            store.insert_events([row(position, id_)])

    store.insert_events([row(3, id_), row(4, id_)])
    assert positions(store, id_) == [1, 2, 3, 4]


def test_a_batch_in_which_one_event_does_not_fit_writes_none(stores: Stores) -> None:
    store, here, there = stores.open(), uuid4(), uuid4()

    with pytest.raises(IntegrityError):
        store.insert_events([row(1, here), row(1, there), row(3, there)])

    assert positions(store, here) == positions(store, there) == []


def test_events_of_an_import_are_one_commit_and_may_begin_anywhere(stores: Stores) -> None:
    store, other, id_ = stores.open(), stores.open(), uuid4()
    seen: list[int] = []

    def events() -> Iterator[StoredEvent]:
        for position in range(7, 1807):
            if position % 500 == 0:
                seen.append(len(positions(other, id_)))
            yield row(position, id_)

    store.insert_events(events(), may_begin_anywhere=True)

    assert seen == [0, 0, 0]
    assert positions(other, id_) == list(range(7, 1807))


def test_what_taking_an_event_raises_leaves_the_store_as_it_is(stores: Stores) -> None:
    store, id_ = stores.open(), uuid4()

    def events() -> Iterator[StoredEvent]:
        yield from (row(position, id_) for position in range(1, 1200))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.insert_events(events())

    assert positions(store, id_) == []
    store.insert_events([row(1, id_)])


def test_a_purge_leaves_its_own_event_alone(stores: Stores) -> None:
    store, id_, other = stores.open(), uuid4(), row(1)
    store.insert_events([row(1, id_), row(2, id_), other])

    with pytest.raises(IntegrityError):
        store.purge(row(2, id_))
    store.purge(row(3, id_))

    assert positions(store, id_) == [3]
    assert positions(store, other.originator_id) == [1]  # type: ignore[arg-type]
    store.insert_events([row(4, id_)])


def test_no_writer_beside_a_purge_leaves_a_row_below_it(stores: Stores) -> None:
    id_ = uuid4()
    lowest: list[int] = []
    writers = [stores.open(timeout=30) for _ in range(3)]
    writers[0].insert_events([row(1, id_)])
    stop = threading.Event()

    def append(number: int) -> None:
        store = writers[number]
        while not stop.is_set():
            newest = store.select_events(id_, desc=True, limit=1)[0].originator_version
            with contextlib.suppress(IntegrityError):
                store.insert_events([row(newest + 1, id_)])

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(append, number) for number in range(3)]
        purger = stores.open(timeout=30)
        while len(lowest) < 20:
            newest = purger.select_events(id_, desc=True, limit=1)[0].originator_version
            with contextlib.suppress(IntegrityError):
                purger.purge(row(newest + 1, id_))
                lowest.append(newest + 1)
                found = positions(purger, id_)
                assert found == list(range(newest + 1, newest + 1 + len(found)))
        stop.set()
        for future in futures:
            future.result(timeout=30)

    found = positions(purger, id_)
    assert found == list(range(lowest[-1], lowest[-1] + len(found)))


def test_while_one_writes_exclusively_the_others_wait(stores: Stores) -> None:
    store, other, id_ = stores.open(pool_size=1), stores.open(timeout=30), uuid4()

    with ThreadPoolExecutor(1) as pool:
        with store.exclusive():
            late = pool.submit(other.insert_events, [row(1, id_)])
            until(
                lambda: stores.server.sql("SELECT pid FROM pg_locks WHERE NOT granted"),
                "it waits",
            )
            assert positions(store, id_) == []
            store.insert_events([row(1, id_)])
        with pytest.raises(IntegrityError):
            late.result(timeout=30)

    assert positions(other, id_) == [1]


def test_an_exclusive_block_without_a_commit_leaves_nothing(stores: Stores) -> None:
    store, other = stores.open(pool_size=1), stores.open()
    with contextlib.suppress(ZeroDivisionError), store.exclusive():
        raise ZeroDivisionError

    other.insert_events([row(1)])
    store.insert_events([row(1)])


def test_a_turn_that_the_server_ended_is_not_written_in(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.config.postgres_connection._LONGEST_PAUSE", 50)
    store, other, id_ = stores.open(), stores.open(timeout=30), uuid4()

    with store.exclusive():
        other.insert_events([row(1, id_)])  # once the server has ended the turn
        with pytest.raises(LogUnavailableError) as raised:
            store.insert_events([row(2, id_)])

    assert raised.value.recorded is False
    assert positions(store, id_) == [1]
    store.insert_events([row(2, id_)])


def test_an_event_that_was_not_committed_is_known_not_to_be(stores: Stores) -> None:
    with Proxy(stores.server.port) as proxy:
        store = stores.open(stores.server.tcp_url(stores.schema, port=proxy.port))

        with (
            pytest.raises(LogUnavailableError) as raised,
            proxy.losing_the_reply(b"INSERT INTO"),
        ):
            store.insert_events([row(1)])

    assert raised.value.recorded is False


def test_of_a_commit_without_a_reply_nobody_knows(stores: Stores) -> None:
    with Proxy(stores.server.port) as proxy:
        store = stores.open(stores.server.tcp_url(stores.schema, port=proxy.port))

        with pytest.raises(LogUnavailableError) as raised, proxy.losing_the_reply(b"COMMIT"):
            store.insert_events([row(1)])

    assert raised.value.recorded is None


# --- locks -------------------------------------------------------------------------------------


def test_a_stranger_who_takes_the_writers_lock_is_named_in_time(stores: Stores) -> None:
    store = stores.open()
    stranger = stores.role(statements=None)
    url = stores.server.url_of("public", user=stranger, application_name="a stranger")

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (lock_number(stores.schema),))
        pid = connection.info.backend_pid
        began = time.monotonic()
        with pytest.raises(LogUnavailableError, match=f"{pid} of role {stranger}") as raised:
            store.insert_events([row(1)])

    assert time.monotonic() - began < TIMEOUT + 1
    assert "a stranger" in str(raised.value)
    assert (raised.value.recorded, raised.value.is_busy) == (False, True)
    store.insert_events([row(1)])


def test_a_row_at_the_next_position_that_is_never_committed_holds_up_a_writer_for_so_long(
    stores: Stores,
) -> None:
    store, id_ = stores.open(), uuid4()

    with psycopg.connect(stores.server.url_of(stores.schema)) as connection:
        connection.execute(
            "INSERT INTO keyturn_events (originator_id, originator_version) VALUES (%s, 1)",
            (id_,),
        )
        pid = connection.info.backend_pid
        with pytest.raises(LogUnavailableError, match=f"process {pid}") as raised:
            store.insert_events([row(1, id_)])

    assert raised.value.recorded is False


def test_time_outs_of_threads_that_wait_for_each_other_do_not_add_up(stores: Stores) -> None:
    store = stores.open(pool_size=1)

    def write(_: int) -> None:
        with pytest.raises(LogUnavailableError):
            store.insert_events([row(1)])

    with psycopg.connect(stores.server.admin_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (lock_number(stores.schema),))
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert time.monotonic() - began < TIMEOUT + 1


# --- signals -----------------------------------------------------------------------------------


class _InterruptError(Exception):
    pass


# Some are thrown into finalizers, and into the start of a thread: Python only reports these.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_store_goes_on_after_hundreds_of_exceptions_at_any_moment(stores: Stores) -> None:
    url = stores.server.url_of(stores.schema, application_name=stores.schema)
    store, id_ = stores.open(url, pool_size=2, timeout=30), uuid4()
    store.insert_events([row(1, id_)])
    interrupts = 0

    def interrupt(_number: int, _frame: object) -> None:
        raise _InterruptError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for count in range(800):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-5 + (count % 300) * 5e-6)
                    for _ in range(3):
                        store.changes()
                        store.select_events(id_)
                    with store.exclusive():
                        store.max_notification_id()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except (_InterruptError, LogUnavailableError):  # psycopg takes some for errors
                interrupts += 1
    finally:
        signal.signal(signal.SIGALRM, before)

    with ThreadPoolExecutor(4) as pool:
        assert [f.result(timeout=30) for f in [pool.submit(positions, store, id_)] * 20] == [
            [1]
        ] * 20
    assert interrupts > 250
    until(lambda: store.changes() == store.changes(), "it listens")
    stores.open().insert_events([row(2, id_)])  # and no transaction was left with the lock
    ask = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    until(lambda: stores.server.sql(ask, stores.schema) <= [(2,)], "its connections are few")


# --- forks -------------------------------------------------------------------------------------


def _in_child(work: object) -> str:
    """Run it in a child that Python knows nothing of, and return what it returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(work())  # type: ignore[operator]
        except BaseException as error:
            said = type(error).__name__
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_leaves_its_parents_store_alone_and_may_open_its_own(stores: Stores) -> None:
    store, id_ = stores.open(max_staleness=3600), uuid4()
    store.insert_events([row(1, id_)])
    until(lambda: store.changes() == store.changes(), "it listens")

    def own() -> list[int]:
        return positions(Stores(stores.server, stores.schema).open(), id_)

    for ask in (
        store.changes,
        lambda: store.watch(lambda: None),
        lambda: store.select_events(id_),
        lambda: store.insert_events([row(2, id_)]),
        lambda: list(store.rows()),
    ):
        assert _in_child(ask) == "LogClosedError"
    assert _in_child(store.close) == "None"
    assert _in_child(own) == "[1]"
    assert positions(store, id_) == [1]
    assert store.changes() == store.changes()


# --- what is stored ----------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was_whatever_the_server_is_set_to(stores: Stores) -> None:
    store, id_ = stores.open(), uuid4()
    role = stores.role()
    for setting in (
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "client_encoding = 'LATIN1'",
        "DateStyle = 'German'",
        "default_transaction_isolation = 'serializable'",
    ):
        stores.server.sql(f"ALTER ROLE {role} SET {setting}")
    state = bytes(range(256)) + rb"\\x00 \' \\ ''" + "℀ü".encode()

    stores.open(stores.url_of(role)).insert_events([row(1, id_, state)])

    assert store.select_events(id_)[0].state == state
    assert stores.open(stores.url_of(role)).select_events(id_)[0].state == state


def test_a_database_without_an_encoding_does(stores: Stores) -> None:
    stores.server.sql(
        f"CREATE DATABASE ascii_{stores.schema} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
        " TEMPLATE template0"
    )
    url = stores.server.admin_url.replace("/postgres?", f"/ascii_{stores.schema}?")
    store, id_ = stores.open(url), uuid4()

    store.insert_events([row(1, id_)])

    assert store.select_events(id_) == [row(1, id_)]
    assert store.unknown_topic([]) == "keyturn.Some"
    assert [found.topic for found in store.rows()] == ["keyturn.Some"]


@pytest.mark.parametrize("column", ["state", "topic"])
def test_g5_a_row_without_a_value_is_damage(stores: Stores, column: str) -> None:
    store, id_ = stores.open(), uuid4()
    store.insert_events([row(1, id_)])
    stores.run(f"UPDATE keyturn_events SET {column} = NULL")

    with pytest.raises(LogDamagedError):
        store.select_events(id_)
    with pytest.raises(LogDamagedError):
        store.select_notifications(None, 10)


def test_rows_are_read_from_the_table_whatever_its_indexes_lack(stores: Stores) -> None:
    store = stores.open()
    store.insert_events(row(1) for _ in range(1200))
    ready = (
        "UPDATE pg_index SET indisready = {}"
        " WHERE indexrelid = '{}_notification_id_idx'::regclass"
    )
    stores.server.sql(ready.format("false", stores.table))
    stores.open().insert_events([row(1)])  # which the index does not hear of
    stores.server.sql(ready.format("true", stores.table))

    assert store.max_notification_id() == 1200
    assert len(list(store.rows())) == 1201


def test_code_that_reads_all_rows_may_pause(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.config.postgres_connection._LONGEST_PAUSE", 400)
    store = stores.open()
    store.insert_events(row(1) for _ in range(600))
    rows = store.rows()
    next(rows)

    store.insert_events([row(1)])
    time.sleep(0.5)  # longer than the server waits for a writer

    assert len(list(rows)) == 599


def test_unknown_topics_are_found_among_many_rows_without_reading_them(stores: Stores) -> None:
    store = stores.open()
    events = (StoredEvent(uuid4(), 1, f"topic {n % 5}", b"") for n in range(5000))
    store.insert_events(events)
    known = [f"topic {n}" for n in range(5)]

    assert store.unknown_topic(known) is None
    assert store.unknown_topic(known[:4]) == "topic 4"
    assert store.unknown_topic([]) == "topic 0"


def test_a_closed_store_says_so(stores: Stores) -> None:
    store = stores.open()
    store.close()

    for ask in (
        store.changes,
        store.max_notification_id,
        lambda: list(store.rows()),
        lambda: store.insert_events([row(1)]),
        lambda: store.watch(lambda: None),
    ):
        with pytest.raises(LogClosedError, match="was closed"):
            ask()
