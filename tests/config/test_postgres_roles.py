"""What a role may do with a PostgreSQL log; too much or too little is told."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from keyturn.config.postgres_facts import has_rows, server_facts
from keyturn.domain.errors import LogUnavailableError
from tests.postgres import PostgresServer

from .postgres_stores import Stores, positions, row, stores_of


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    yield from stores_of(postgres)


def test_a_role_that_may_only_read_reads(stores: Stores) -> None:
    owner, id_ = stores.open(), uuid4()
    owner.insert_events([row(1, id_)])
    role = stores.role("GRANT SELECT ON keyturn_events TO keyturn_service")
    store = stores.open(stores.url_of(role))

    assert store.is_read_only
    assert positions(store, id_) == [1]
    assert len(list(store.rows())) == 1
    assert store.schema_problems() == []
    assert store.unknown_topic(["keyturn.Some"]) is None
    with pytest.raises(LogUnavailableError, match=f"GRANT INSERT .* TO {role}") as raised:
        store.insert_events([row(2, id_)])
    assert raised.value.recorded is False


def test_a_role_with_the_documented_grants_reads_and_appends_and_cannot_purge(
    stores: Stores,
) -> None:
    stores.open()
    role = stores.role()
    store, id_ = stores.open(stores.url_of(role)), uuid4()

    store.insert_events([row(1, id_)])

    assert not store.is_read_only
    with pytest.raises(LogUnavailableError, match="GRANT DELETE") as raised:
        store.purge(row(2, id_))
    assert raised.value.recorded is False
    assert positions(store, id_) == [1]
    stores.run(f"GRANT DELETE ON keyturn_events TO {role}")
    store.purge(row(2, id_))
    assert positions(store, id_) == [2]


def test_a_role_that_may_choose_the_numbers_of_rows_is_refused_with_what_to_do(
    stores: Stores,
) -> None:
    stores.open()
    role = stores.role("GRANT SELECT, INSERT ON keyturn_events TO keyturn_service")

    with pytest.raises(LogUnavailableError, match="may choose the numbers") as raised:
        stores.open(stores.url_of(role))

    _, _, statements = str(raised.value).partition("notice changes: ")
    stores.run(statements.replace(" (or from the group or PUBLIC that has it)", ""))
    stores.open(stores.url_of(role)).insert_events([row(1)])


def test_what_is_known_of_a_server_and_a_role(stores: Stores) -> None:
    url = stores.server.url_of(stores.schema)
    nothing = server_facts(url, timeout=5)
    assert (nothing.schema_version, nothing.rights, has_rows(url)) == (None, None, False)

    stores.open().insert_events([row(1)])
    reader = stores.role("GRANT SELECT ON keyturn_events TO keyturn_service")
    owner = server_facts(url, timeout=5)
    read_only = server_facts(stores.url_of(reader), timeout=5)

    assert has_rows(url)
    assert owner.schema_version == 2
    assert owner.problems == []
    assert owner.rights is not None
    assert owner.rights.may_choose_numbers
    assert read_only.rights is not None
    assert read_only.rights.may_read
    assert not read_only.rights.may_append
    assert not read_only.rights.may_rewrite


# --- numbers -----------------------------------------------------------------------------------


def test_a_sequence_behind_its_table_is_refused_with_the_statement_that_mends_it(
    stores: Stores,
) -> None:
    stores.open().insert_events([row(1), row(1), row(1)])
    stores.run("SELECT setval('keyturn_events_notification_id_seq', 1)")

    with pytest.raises(LogUnavailableError, match="behind its table") as raised:
        stores.open()
    assert "behind" in server_facts(stores.server.url_of(stores.schema), timeout=5).problems[0]

    stores.run(str(raised.value).partition("a copy: ")[2])
    stores.open().insert_events([row(1)])


def test_a_number_that_is_taken_is_not_mistaken_for_a_faster_writer(stores: Stores) -> None:
    store = stores.open()
    store.insert_events([row(1), row(1)])
    stores.run("SELECT setval('keyturn_events_notification_id_seq', 1)")

    with pytest.raises(LogUnavailableError, match="behind the table") as raised:
        store.insert_events([row(1)])

    assert raised.value.recorded is False


def test_a_row_with_a_number_that_no_server_gives_is_refused_with_what_removes_it(
    stores: Stores,
) -> None:
    stores.open().insert_events([row(1)])
    stores.run(
        "INSERT INTO keyturn_events OVERRIDING SYSTEM VALUE"
        f" VALUES ('{uuid4()}', 1, 'x', '', {2**63 - 1})"
    )

    with pytest.raises(LogUnavailableError, match="behind its table") as raised:
        stores.open()

    stores.run(str(raised.value).partition("a copy: ")[2])
    stores.open().insert_events([row(1)])
