"""A table of version 0.1 is brought up to date by its owner, and by nobody else [G7]."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from keyturn.config.postgres_facts import server_facts
from keyturn.config.postgres_statements import MIGRATION_SQL
from keyturn.domain.errors import LogUnavailableError, LogVersionError
from tests.postgres import PostgresServer

from .postgres_stores import Stores, positions, row, stores_of

OLD_ID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

VERSION_0_1 = f"""
CREATE TABLE keyturn_events (
    originator_id uuid NOT NULL, originator_version bigint NOT NULL, topic text, state bytea,
    notification_id bigserial, PRIMARY KEY (originator_id, originator_version)
) WITH (autovacuum_enabled = true, autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5, autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01);
CREATE UNIQUE INDEX keyturn_events_notification_id_idx ON keyturn_events (notification_id ASC);
CREATE INDEX keyturn_events_alien_topics ON keyturn_events (topic)
    WHERE topic NOT IN ('keyturn.KeyGenerated', 'keyturn.KeyReset', 'keyturn.KeyRotated',
        'keyturn.KeysDestroyed');
COMMENT ON TABLE keyturn_events IS 'Keyturn log, schema 1';
INSERT INTO keyturn_events (originator_id, originator_version, topic, state)
    SELECT '{OLD_ID}', n, 'keyturn.Some', 'old' FROM generate_series(1, 3) AS n;
"""
"""What version 0.1 made, and three rows."""

OLD_GRANTS = """
GRANT SELECT, INSERT ON keyturn_events TO keyturn_service;
GRANT USAGE ON SEQUENCE keyturn_events_notification_id_seq TO keyturn_service;
"""


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    """Stores in a schema in which version 0.1 made a table."""
    for stores in stores_of(postgres):
        stores.run(VERSION_0_1)
        yield stores


def test_g7_the_owner_goes_on_with_a_table_of_version_0_1(stores: Stores) -> None:
    store = stores.open()

    store.insert_events([row(4, OLD_ID)])

    assert positions(store, OLD_ID) == [1, 2, 3, 4]
    assert store.max_notification_id() == 4
    assert store.schema_problems() == []
    assert store.unknown_topic([]) == "keyturn.Some"


def test_g7_a_service_goes_on_after_its_owner_with_the_rights_that_it_needs(
    stores: Stores,
) -> None:
    role = stores.role(OLD_GRANTS)
    stores.open().close()

    store = stores.open(stores.url_of(role))
    store.insert_events([row(4, OLD_ID)])

    rights = server_facts(stores.url_of(role), timeout=5).rights
    assert rights is not None
    assert not rights.may_choose_numbers


@pytest.mark.parametrize(
    "grants", [OLD_GRANTS, "GRANT SELECT ON keyturn_events TO keyturn_service"]
)
def test_g7_everybody_else_is_told_the_statements_that_the_owner_runs(
    stores: Stores, grants: str
) -> None:
    role = stores.role(grants)

    with pytest.raises(LogUnavailableError, match="older version") as raised:
        stores.open(stores.url_of(role))

    assert raised.value.recorded is False
    stores.run(str(raised.value).partition("or run: ")[2])
    assert positions(stores.open(stores.url_of(role)), OLD_ID) == [1, 2, 3]


def test_g7_the_documented_statements_make_what_an_opening_makes(stores: Stores) -> None:
    role = stores.role(OLD_GRANTS)

    stores.run(MIGRATION_SQL)

    store = stores.open(stores.url_of(role))
    store.insert_events([row(4, OLD_ID)])
    made = stores.server.sql(
        "SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace", stores.schema
    )
    stores.run("DROP TABLE keyturn_events")
    stores.open()
    made_anew = stores.server.sql(
        "SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace", stores.schema
    )
    assert sorted(made) == sorted(made_anew)


def test_g7_several_owners_that_open_at_once_migrate_once(stores: Stores) -> None:
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: stores.open(timeout=30), range(6)))

    assert [positions(store, OLD_ID) for store in opened] == [[1, 2, 3]] * 6


def test_g7_an_empty_table_is_migrated_too(stores: Stores) -> None:
    stores.run("DELETE FROM keyturn_events")

    store = stores.open()
    store.insert_events([row(1)])

    assert store.schema_problems() == []


def test_g7_a_row_whose_number_somebody_chose_does_not_come_along_unnoticed(
    stores: Stores,
) -> None:
    stores.run(f"INSERT INTO keyturn_events VALUES ('{uuid4()}', 1, 'x', '', {2**63 - 1})")

    with pytest.raises(LogUnavailableError, match="behind its table") as raised:
        stores.open()

    stores.run(str(raised.value).partition("a copy: ")[2])
    stores.open().insert_events([row(4, OLD_ID)])


def test_g7_a_schema_whose_name_needs_quotes_is_migrated(postgres: PostgresServer) -> None:
    name = """it's "odd", 100%s"""
    quoted = '"' + name.replace('"', '""') + '"'
    postgres.sql(f"CREATE SCHEMA {quoted}")
    stores = Stores(postgres, quoted)
    try:
        stores.run(VERSION_0_1)
        escaped = quoted.replace("\\", "\\\\").replace(" ", "\\ ")

        store = stores.open(postgres.url_of("x", options=f"-csearch_path={escaped}"))

        store.insert_events([row(4, OLD_ID)])
        assert positions(store, OLD_ID) == [1, 2, 3, 4]
    finally:
        stores.close()
        postgres.sql(f"DROP SCHEMA {quoted} CASCADE")


def test_the_log_of_a_newer_version_is_refused(stores: Stores) -> None:
    stores.run("COMMENT ON TABLE keyturn_events IS 'Keyturn log, schema 3'")

    with pytest.raises(LogVersionError, match="install that version"):
        stores.open()
