"""Nothing may stand in the place of a log's table, or on it, that can make it lie [G5]."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from keyturn.config.postgres import PostgresStore
from keyturn.config.postgres_facts import server_facts
from keyturn.domain.errors import LogError, LogUnavailableError, NotAKeyturnLogError
from tests.postgres import PostgresServer

from .postgres_stores import Stores, positions, row, stores_of, until

FUNCTION = (
    "CREATE FUNCTION take_back() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN DELETE FROM keyturn_events WHERE originator_version = NEW.originator_version;"
    " RETURN NULL; END';"
)
ODD = "CREATE FUNCTION odd(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
MOVED_AWAY = "ALTER TABLE keyturn_events RENAME TO real_events;"

TAMPERED = {
    "is no table": MOVED_AWAY
    + "CREATE VIEW keyturn_events AS SELECT * FROM real_events WHERE originator_version < 2",
    "no table: put back": MOVED_AWAY
    + "CREATE TABLE keyturn_events (LIKE real_events) PARTITION BY LIST (topic)",
    "row-level security": "ALTER TABLE keyturn_events ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY hide ON keyturn_events USING (originator_version < 2)",
    "has a rule, lose": "CREATE RULE lose AS ON INSERT TO keyturn_events DO INSTEAD NOTHING",
    "has a trigger": FUNCTION
    + "CREATE TRIGGER back AFTER INSERT ON keyturn_events FOR EACH ROW EXECUTE FUNCTION"
    " take_back()",
    "has a trigger, deferred": FUNCTION
    + "CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON keyturn_events DEFERRABLE"
    " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION take_back()",
    "has a constraint": ODD
    + "ALTER TABLE keyturn_events ADD CHECK (odd(originator_version) < 100)",
    "an index that computes": ODD
    + "CREATE INDEX computes ON keyturn_events (odd(originator_version))",
    "a part or parent": "CREATE TABLE child () INHERITS (keyturn_events)",
    "not outlive a crash": "ALTER TABLE keyturn_events SET UNLOGGED",
    "columns or a primary key": "ALTER TABLE keyturn_events DROP CONSTRAINT keyturn_events_pkey",
    "columns .* not those of Keyturn": "ALTER TABLE keyturn_events ADD COLUMN more int",
    "a primary key that are not": "ALTER TABLE keyturn_events ALTER notification_id SET GENERATED"
    " BY DEFAULT",
    "has columns or": 'ALTER TABLE keyturn_events ALTER topic TYPE text COLLATE "C"',
}


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    yield from stores_of(postgres)


def is_refused(store: PostgresStore, with_what: str) -> bool:
    try:
        store.select_events(uuid4())
    except LogError as error:
        return with_what in str(error)
    return False


@pytest.mark.parametrize("problem", TAMPERED)
def test_g5_a_log_that_something_can_make_lie_is_neither_opened_nor_trusted_any_more(
    stores: Stores, problem: str
) -> None:
    store = stores.open()
    store.insert_events([row(1)])
    until(lambda: store.changes() == store.changes(), "it listens")

    stores.run(TAMPERED[problem])

    with pytest.raises(NotAKeyturnLogError, match=problem) as raised:
        stores.open()
    assert raised.value.location is not None
    url = stores.server.url_of(stores.schema)
    assert any(found in str(raised.value) for found in server_facts(url, timeout=5).problems)
    until(lambda: store.changes() != store.changes(), "it trusts nothing")
    until(lambda: is_refused(store, "log" if "primary" in problem else " "), "it is refused")
    with pytest.raises(LogUnavailableError) as refused:
        store.insert_events([row(1)])
    assert refused.value.recorded is False
    assert store.schema_problems()


def test_g5_a_running_process_goes_on_when_the_log_is_as_it_was(stores: Stores) -> None:
    store, id_ = stores.open(), uuid4()
    store.insert_events([row(1, id_)])
    until(lambda: store.changes() == store.changes(), "it listens")
    stores.run(FUNCTION)
    stores.run("CREATE TRIGGER back AFTER INSERT ON keyturn_events EXECUTE FUNCTION take_back()")
    until(lambda: is_refused(store, "has a trigger"), "it is refused")

    stores.run("DROP TRIGGER back ON keyturn_events")

    until(lambda: not is_refused(store, "has a trigger"), "it goes on")
    assert positions(store, id_) == [1]


def test_g5_a_row_policy_hides_nothing_even_before_it_is_found(stores: Stores) -> None:
    id_ = uuid4()
    stores.open().insert_events([row(1, id_), row(2, id_)])
    role = stores.role()
    store = stores.open(stores.url_of(role))  # nothing listens here

    stores.run(TAMPERED["row-level security"])

    with pytest.raises(LogUnavailableError, match="row policy"):
        store.select_events(id_)


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_g5_a_schema_of_another_role_in_front_is_refused_by_name(
    stores: Stores, kind: str
) -> None:
    stores.open().insert_events([row(1)])
    role = stores.role()
    stores.server.sql(f"CREATE SCHEMA {role}; GRANT ALL ON SCHEMA {role} TO {role}")
    path = f'-csearch_path="$user",{stores.schema}'
    url = stores.server.url_of(stores.schema, user=role, options=path)
    store = stores.open(url)
    until(lambda: store.changes() == store.changes(), "it listens")

    stores.server.sql(
        f"CREATE {kind} {role}.keyturn_events AS TABLE {stores.table};"
        f"GRANT ALL ON {role}.keyturn_events TO {role}"
    )
    try:
        until(lambda: is_refused(store, f"{role}.keyturn_events"), "a running one refuses it")
        with pytest.raises(NotAKeyturnLogError, match=rf"{role}\.keyturn_events, {stores.table}"):
            stores.open(url)
    finally:
        stores.server.sql(f"DROP SCHEMA {role} CASCADE")


def test_g5_another_table_in_the_place_of_the_log_is_noticed(stores: Stores) -> None:
    store = stores.open()
    store.insert_events([row(1)])
    until(lambda: store.changes() == store.changes(), "it listens")
    stores.run("ALTER TABLE keyturn_events RENAME TO real_events")
    stores.run(
        "ALTER INDEX keyturn_events_pkey RENAME TO a; ALTER INDEX"
        " keyturn_events_notification_id_idx RENAME TO b; ALTER INDEX"
        " keyturn_events_topic_idx RENAME TO c"
    )

    stores.open()  # an empty one

    until(lambda: is_refused(store, "another table was put in the place"), "it is refused")


def test_the_table_and_nothing_else_is_made(stores: Stores) -> None:
    stores.open()

    made = stores.server.sql(
        "SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace UNION ALL"
        " SELECT proname FROM pg_proc WHERE pronamespace = %s::regnamespace",
        stores.schema,
        stores.schema,
    )
    assert {name for (name,) in made} == {
        "keyturn_events",
        "keyturn_events_notification_id_idx",
        "keyturn_events_notification_id_seq",
        "keyturn_events_pkey",
        "keyturn_events_topic_idx",
    }


def test_indexes_and_columns_of_ours_are_no_problem(stores: Stores) -> None:
    store = stores.open()
    stores.run("CREATE INDEX plain ON keyturn_events (originator_version)")

    assert store.schema_problems() == []
    stores.open()


def test_a_table_of_another_application_is_left_as_it_is(stores: Stores) -> None:
    stores.run("CREATE TABLE keyturn_events (id int)")

    with pytest.raises(NotAKeyturnLogError, match="another application's"):
        stores.open()


def test_a_role_that_may_not_make_the_table_is_told_so(stores: Stores) -> None:
    role = stores.role(statements=None)

    with pytest.raises(LogUnavailableError, match="may not make one") as raised:
        stores.open(stores.url_of(role))

    assert raised.value.recorded is False
