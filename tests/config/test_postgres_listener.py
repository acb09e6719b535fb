"""What happens to a log is heard of, whoever does it and however often the line breaks [G2]."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from keyturn.config.postgres import PostgresStore
from tests.postgres import PostgresServer
from tests.proxy import Proxy

from .postgres_stores import Stores, row, stores_of, until


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    yield from stores_of(postgres)


def listens(store: PostgresStore) -> bool:
    return store.changes() == store.changes()


def opened(stores: Stores, max_staleness: float = 0.2) -> PostgresStore:
    """Return a store that has heard of the log, and knows how it is now."""
    store = stores.open(max_staleness=max_staleness)
    until(lambda: listens(store), "it listens")
    return store


def notices(store: PostgresStore, what: Callable[[], object]) -> None:
    """Do something, and wait until a store that goes on listening has heard of it."""
    known = store.changes()
    what()
    until(lambda: store.changes() != known and listens(store), "it is noticed")


def insert(stores: Stores, number: int | None = None) -> Callable[[], None]:
    """Return what writes a row of which nobody is told."""
    columns = "originator_id, originator_version, topic, state"
    values = f"'{uuid4()}', 1, 'x', ''"
    if number is None:
        statement = f"INSERT INTO keyturn_events ({columns}) VALUES ({values})"
    else:
        statement = (
            f"INSERT INTO keyturn_events ({columns}, notification_id)"
            f" OVERRIDING SYSTEM VALUE VALUES ({values}, {number})"
        )
    return lambda: stores.run(statement)


# --- what was committed ------------------------------------------------------------------------


def test_g2_a_commit_of_another_store_is_pushed(stores: Stores) -> None:
    store, other = opened(stores, max_staleness=3600), stores.open()

    for _ in range(20):
        notices(store, lambda: other.insert_events([row(1)]))


def test_g2_a_commit_of_this_store_counts_at_once(stores: Stores) -> None:
    store = opened(stores, max_staleness=3600)
    for _ in range(20):
        known = store.changes()

        store.insert_events([row(1)])

        assert store.changes() != known


@pytest.mark.parametrize("number", [2**63 - 1, 2**62, 5])
def test_g2_no_number_that_somebody_chose_hides_what_comes_later(
    stores: Stores, number: int
) -> None:
    store = opened(stores)
    notices(store, insert(stores, number))

    for _ in range(3):
        notices(store, insert(stores))


def test_g2_a_sequence_behind_its_table_hides_nothing_that_is_written(stores: Stores) -> None:
    store = opened(stores)
    store.insert_events(row(1) for _ in range(9))
    stores.run("DELETE FROM keyturn_events WHERE notification_id BETWEEN 2 AND 6")
    stores.run("SELECT setval('keyturn_events_notification_id_seq', 1)")
    until(lambda: listens(store), "it listens")

    for _ in range(3):
        notices(store, insert(stores))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM keyturn_events WHERE notification_id = 3",
        "DELETE FROM keyturn_events WHERE notification_id = 1",
        "DELETE FROM keyturn_events",
        "TRUNCATE keyturn_events",
        "UPDATE keyturn_events SET state = 'x' WHERE notification_id = 2",
    ],
)
def test_g2_rows_that_vanish_or_change_are_noticed(stores: Stores, statement: str) -> None:
    store = opened(stores)
    store.insert_events([row(1), row(1), row(1)])
    until(lambda: listens(store), "it listens")

    notices(store, lambda: stores.run(statement))


def test_g2_a_role_that_may_not_read_the_sequence_notices_what_nobody_told_of(
    stores: Stores,
) -> None:
    stores.open()
    role = stores.role("GRANT SELECT ON keyturn_events TO keyturn_service")
    store = stores.open(stores.url_of(role))
    until(lambda: listens(store), "it listens")

    notices(store, insert(stores))


def test_g2_with_no_staleness_allowed_the_log_is_always_to_be_read(stores: Stores) -> None:
    store = stores.open(max_staleness=0)

    seen = [store.changes() for _ in range(1000)]

    assert len({id(value) for value in seen}) == 1000


def test_watchers_are_told_until_they_end_it(stores: Stores) -> None:
    store, other = opened(stores), stores.open()
    told = threading.Event()
    end = store.watch(told.set)

    other.insert_events([row(1)])

    assert told.wait(30)
    end()
    until(lambda: listens(store), "it listens")
    told.clear()
    notices(store, lambda: other.insert_events([row(1)]))
    assert not told.is_set()


def test_a_stranger_who_pushes_without_end_has_the_log_read_only_so_often(
    stores: Stores,
) -> None:
    store = opened(stores, max_staleness=3600)
    stranger = stores.role(statements=None)
    stop = threading.Event()

    def flood() -> None:
        url = stores.server.url_of("public", user=stranger)
        with psycopg.connect(url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("NOTIFY keyturn_events, 'noise'")

    thread = threading.Thread(target=flood)
    thread.start()
    known = store.changes()
    until(lambda: store.changes() != known, "the noise is heard")
    began, seen = time.monotonic(), set()
    kept = []
    while time.monotonic() - began < 0.2:
        kept.append(store.changes())
        seen.add(id(kept[-1]))
    stop.set()
    thread.join()

    assert 2 < len(seen) <= (time.monotonic() - began) * 100 + 1


# --- the connection ----------------------------------------------------------------------------


def cut_off(stores: Stores, name: str) -> None:
    stores.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", name
    )


def test_g2_losing_the_log_and_having_it_back_are_log_lines(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keyturn")
    with Proxy(stores.server.port) as proxy:
        store = stores.open(stores.server.tcp_url(stores.schema, port=proxy.port))
        until(lambda: listens(store), "it listens")

        proxy.refuses = True
        proxy.cut()
        until(lambda: "the log is lost" in caplog.text, "the loss is logged")
        until(lambda: not listens(store), "what was heard is too old")
        assert "the log is back" not in caplog.text
        proxy.refuses = False
        until(lambda: listens(store), "it listens again")

        assert caplog.text.count("the log is lost") == 1
        assert "the log is back" in caplog.text
        assert "sesame" not in caplog.text


def test_a_question_for_changes_never_waits_for_a_server(stores: Stores) -> None:
    with Proxy(stores.server.port) as proxy:
        store = stores.open(stores.server.tcp_url(stores.schema, port=proxy.port))
        proxy.swallows = True
        began = time.monotonic()

        for _ in range(1000):
            store.changes()

        assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("listened", [False, True])
def test_a_closed_store_leaves_no_descriptor_and_no_thread(
    stores: Stores, listened: bool
) -> None:
    stores.open()
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir()))

    for _ in range(5):
        store = stores.open()
        if listened:
            until(lambda store=store: listens(store), "it listens")  # type: ignore[misc]
        store.close()

    until(lambda: len(list(folder.iterdir())) <= before, "descriptors are closed")


def test_a_listener_whose_thread_could_not_be_started_is_started_later(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.open()

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert not listens(store)

    until(lambda: listens(store), "it listens")
