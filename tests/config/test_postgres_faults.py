"""What goes wrong with a PostgreSQL log is a clear error, and the service goes on [G8]."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

import keyturn
from keyturn import EventLog, KeyRing, Service, Settings
from keyturn.config.postgres_statements import GRANT_SQL
from keyturn.domain.errors import (
    KeyRingNotFoundError,
    LogDamagedError,
    LogRolledBackError,
    LogUnavailableError,
    LogVersionError,
    NotAKeyturnLogError,
    SettingsError,
)
from tests.config.making import new_keys
from tests.postgres import USER, PostgresServer, running_server
from tests.proxy import Proxy

PATIENCE = 0.2


@pytest.fixture
def schema(postgres: PostgresServer) -> str:
    return postgres.new_schema()


@pytest.fixture
def open_service(
    postgres: PostgresServer, schema: str, tmp_path: Path
) -> Iterator[Callable[..., Service]]:
    """Open services on the log of this test; all are closed in the end."""
    with contextlib.ExitStack() as stack:

        def open_it(url: str | None = None, **settings: object) -> Service:
            given = {"lock_timeout": PATIENCE} | settings
            place = {"path": tmp_path / "data", "store": url or postgres.url_of(schema)}
            return stack.enter_context(keyturn.open(Settings.load(place | given), password=None))

        yield open_it


@pytest.fixture
def role(postgres: PostgresServer, schema: str) -> Iterator[str]:
    """A role that may do no more than the documentation says: read and insert."""
    name = f"service_{schema}"
    keyturn.open_event_log(postgres.url_of(schema)).close()  # the owner makes the table
    postgres.sql(f"CREATE ROLE {name} LOGIN")
    postgres.sql(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    grants = GRANT_SQL.replace("keyturn_service", name)
    postgres.sql(f"SET search_path = {schema}; {grants}")
    yield name
    postgres.sql(f"DROP OWNED BY {name}")
    postgres.sql(f"DROP ROLE {name}")


def generations(service: Service) -> list[int]:
    return [change.generation for change in service.history()]


# --- at open -----------------------------------------------------------------------------------


def test_g8_a_wrong_password_is_a_clear_error_without_it(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    with pytest.raises(LogUnavailableError, match="password authentication failed") as r:
        open_service(postgres.tcp_url(schema, password="not sesame"))

    assert r.value.location == f"postgresql://{USER}@127.0.0.1:{postgres.port}/postgres"
    assert r.value.location in str(r.value)
    assert "sesame" not in str(r.value)


def test_g8_a_server_that_is_not_there_is_a_clear_error(
    open_service: Callable[..., Service],
) -> None:
    with pytest.raises(LogUnavailableError, match="no connection to its server") as raised:
        open_service("postgresql://keyturn:sesame@127.0.0.1:1/keyturn")

    assert raised.value.location == "postgresql://keyturn@127.0.0.1:1/keyturn"
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://{user}@/nowhere?host={host}&port={port}", '"nowhere" does not exist'),
        (
            "postgresql://{user}@/postgres?host={host}&port={port}&options=-csearch_path%3Dnowhere",
            "no schema of its search_path is there",
        ),
    ],
)
def test_g8_what_is_not_there_is_named(
    url: str, message: str, postgres: PostgresServer, open_service: Callable[..., Service]
) -> None:
    with pytest.raises(LogUnavailableError, match=message):
        open_service(url.format(user=USER, host=postgres.folder, port=postgres.port))


@pytest.mark.parametrize("password", ["[sesame", "se?same", "se#same", "se:same", "ses℀ame"])
def test_a_password_that_libpq_takes_as_it_stands_is_not_shown(
    password: str, open_service: Callable[..., Service]
) -> None:
    with pytest.raises(LogUnavailableError, match="no connection to its server") as raised:
        open_service(f"postgresql://keyturn:{password}@127.0.0.1:1/keyturn?connect_timeout=2")

    assert raised.value.location == "postgresql://keyturn@127.0.0.1:1/keyturn"
    assert "se" not in str(raised.value).replace("server", "").replace("refused", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://keyturn:sesame@host/keyturn?sslmode",
        "postgresql://keyturn:sesame@host/keyturn?colour=sesame",
        "postgresql://keyturn:%zz_sesame@host/keyturn",
        "postgresql://keyturn:sesame/sesame@host/keyturn",
        "postgresql://keyturn:sesame@sesame@host/keyturn",
        "postgresql://localhost:sesame/x@sesame",
        "postgresql://keyturn:sesame@[::1/keyturn",
    ],
)
def test_a_url_that_libpq_does_not_understand_is_an_error_without_the_password(
    url: str, open_service: Callable[..., Service]
) -> None:
    with pytest.raises(SettingsError) as raised:
        open_service(url)

    assert raised.value.key == "store"
    assert "sesame" not in str(raised.value)


def test_g8_a_server_that_is_too_old_is_refused(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    version = str(postgres.sql("SHOW server_version")[0][0]).encode()
    older = b"9.6" + b" " * (len(version) - 3)  # in a message of the same length

    with (
        Proxy(postgres.port, lambda data: data.replace(version, older)) as proxy,
        pytest.raises(LogUnavailableError, match="is PostgreSQL 9, and Keyturn needs 14"),
    ):
        open_service(postgres.tcp_url(schema, port=proxy.port))


@pytest.mark.parametrize(
    "columns", ["id int", "originator_id uuid, originator_version int, topic text, state bytea"]
)
def test_g8_a_table_of_another_application_is_refused_and_left_as_it_is(
    columns: str, postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    postgres.sql(f"CREATE TABLE {schema}.keyturn_events ({columns})")

    with pytest.raises(NotAKeyturnLogError, match="another application's"):
        open_service()

    assert postgres.sql(f"SELECT * FROM {schema}.keyturn_events") == []


def test_the_log_of_a_newer_version_is_refused(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    open_service().close()
    postgres.sql(f"COMMENT ON TABLE {schema}.keyturn_events IS 'Keyturn log, schema 3'")

    with pytest.raises(LogVersionError, match="install that version"):
        open_service()


def test_a_first_start_makes_nothing_that_another_application_could_have(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    open_service()

    made = postgres.sql(
        "SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace UNION ALL"
        " SELECT proname FROM pg_proc WHERE pronamespace = %s::regnamespace",
        schema,
        schema,
    )
    assert {name for (name,) in made} == {
        "keyturn_events",
        "keyturn_events_notification_id_idx",
        "keyturn_events_notification_id_seq",
        "keyturn_events_pkey",
        "keyturn_events_topic_idx",
    }


def test_several_first_starts_at_once_make_one_table(
    postgres: PostgresServer, schema: str
) -> None:
    barrier = threading.Barrier(8)

    def open_it(_: int) -> EventLog:
        barrier.wait()
        return keyturn.open_event_log(postgres.url_of(schema))

    with ThreadPoolExecutor(8) as pool:
        for log in pool.map(open_it, range(8)):
            log.close()


# --- roles -------------------------------------------------------------------------------------


def test_a_role_that_may_only_read_and_insert_is_enough(
    postgres: PostgresServer, schema: str, role: str, open_service: Callable[..., Service]
) -> None:
    service = open_service(postgres.url_of(schema, user=role))
    token = service.create_token()

    service.reset_key()

    assert not service.verify_token(token)
    assert service.audit().holds
    with psycopg.connect(postgres.url_of(schema, user=role)) as connection:
        for statement in ("DELETE FROM keyturn_events", "UPDATE keyturn_events SET topic = ''"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()


def test_g8_a_permission_taken_away_is_a_clear_error_until_it_is_back(
    postgres: PostgresServer, schema: str, role: str, open_service: Callable[..., Service]
) -> None:
    service = open_service(postgres.url_of(schema, user=role))
    token = service.create_token()
    columns = "originator_id, originator_version, topic, state"
    postgres.sql(f"REVOKE INSERT ({columns}) ON {schema}.keyturn_events FROM {role}")

    with pytest.raises(LogUnavailableError, match="this role may not do that") as raised:
        service.reset_key()

    assert raised.value.recorded is False
    assert service.verify_token(token)
    postgres.sql(f"GRANT INSERT ({columns}) ON {schema}.keyturn_events TO {role}")
    service.reset_key()
    assert not service.verify_token(token)
    assert generations(service) == [1, 2]


def test_g8_a_server_that_became_read_only_is_a_clear_error_until_it_can_be_written_to(
    postgres: PostgresServer, schema: str, role: str, open_service: Callable[..., Service]
) -> None:
    service = open_service(postgres.url_of(schema, user=role))
    token = service.create_token()
    postgres.sql(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    disconnect(postgres, role)

    with pytest.raises(LogUnavailableError, match="read-only") as raised:
        service.reset_key()

    assert raised.value.recorded is False
    assert service.verify_token(token)
    postgres.sql(f"ALTER ROLE {role} RESET default_transaction_read_only")
    disconnect(postgres, role)
    service.reset_key()
    assert generations(service) == [1, 2]


def test_g8_a_server_without_a_connection_left_is_a_clear_error(
    postgres: PostgresServer, schema: str, role: str, open_service: Callable[..., Service]
) -> None:
    postgres.sql(f"ALTER ROLE {role} CONNECTION LIMIT 0")

    with pytest.raises(LogUnavailableError, match="too many connections"):
        open_service(postgres.url_of(schema, user=role))


def disconnect(postgres: PostgresServer, role: str) -> None:
    postgres.sql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s", role
    )


# --- at a reset --------------------------------------------------------------------------------


def test_g8_a_log_that_another_writer_keeps_locked_is_a_clear_error(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    service = open_service()
    token = service.create_token()
    with psycopg.connect(postgres.url_of(schema)) as writer:
        writer.execute("LOCK TABLE keyturn_events IN EXCLUSIVE MODE")

        with pytest.raises(LogUnavailableError, match="locked for too long") as raised:
            service.reset_key()

    assert (raised.value.recorded, raised.value.is_busy) == (False, True)
    assert service.verify_token(token)
    service.reset_key()
    assert generations(service) == [1, 2]


def test_g8_an_uncommitted_row_at_the_next_position_is_a_clear_error_that_names_its_writer(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    service = open_service()
    with psycopg.connect(postgres.url_of(schema)) as writer:
        writer.execute(
            "INSERT INTO keyturn_events (originator_id, originator_version, topic, state) "
            "SELECT originator_id, originator_version + 1, topic, state FROM keyturn_events"
        )

        with pytest.raises(LogUnavailableError, match=r"by process \d+ of role") as raised:
            service.reset_key()

        writer.rollback()
    assert raised.value.recorded is False
    service.reset_key()
    assert generations(service) == [1, 2]


def test_g1_a_reset_whose_acknowledgement_was_lost_is_recorded_once(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    with Proxy(postgres.port) as proxy:
        service = open_service(postgres.tcp_url(schema, port=proxy.port), max_staleness=3600)
        token = service.create_token()

        count = f"SELECT count(*) FROM {schema}.keyturn_events"
        with proxy.losing_the_reply(b"COMMIT", once=lambda: postgres.sql(count) == [(2,)]):
            service.reset_key()

        assert not service.verify_token(token)
        assert generations(service) == [1, 2]
        assert service.audit().holds


def test_g8_a_reset_of_which_nobody_knows_is_not_said_to_have_failed(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    with Proxy(postgres.port) as proxy:
        service = open_service(postgres.tcp_url(schema, port=proxy.port))
        proxy.refuses = True  # and nowhere to look it up

        with pytest.raises(LogUnavailableError) as raised, proxy.losing_the_reply(b"COMMIT"):
            service.reset_key()

        assert raised.value.recorded is None
        assert any("look at the history" in note for note in raised.value.__notes__)
        proxy.refuses = False
        service.reset_key()
        assert generations(service) == [1, 2, 3]
        assert service.audit().holds


def test_g8_more_threads_than_connections_wait_for_each_other(
    open_service: Callable[..., Service],
) -> None:
    service = open_service(pool_size=1, lock_timeout=30)
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(service.reset_key) for _ in range(40)]:
            future.result(timeout=60)

    assert generations(service) == list(range(1, 42))


def test_g8_a_pool_that_is_used_up_is_a_clear_error(open_service: Callable[..., Service]) -> None:
    service = open_service(pool_size=1)
    lent = service.log.exclusive()  # in this thread, and not in that of the writer
    with lent, pytest.raises(LogUnavailableError, match="set a larger pool_size") as raised:
        service.reset_key()

    assert (raised.value.recorded, raised.value.is_busy) == (False, True)
    service.reset_key()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_g8_a_full_disk_of_the_server_is_a_clear_error_and_nothing_acknowledged_is_lost(
    postgres: PostgresServer, open_service: Callable[..., Service], tmp_path: Path
) -> None:
    disk = postgres.folder / "small"
    disk.mkdir()
    owner = postgres.folder.stat()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=512k,uid={owner.st_uid}", "tmpfs", disk],
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        schema = postgres.new_schema()
        postgres.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        options = {"options": f"-csearch_path={schema} -cdefault_tablespace=small"}
        service = open_service(postgres.url_of(schema, **options))
        acknowledged = 1
        with pytest.raises(LogUnavailableError, match="the server's disk is full") as raised:
            while True:
                service.reset_key(reason="x" * 1000)
                acknowledged += 1

        assert raised.value.recorded is False
        assert service.verify_token(service.create_token())
        assert generations(service) == list(range(1, acknowledged + 1))
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        service.reset_key()
        assert service.audit().holds
        service.close()
        postgres.sql(f"DROP SCHEMA {schema} CASCADE")
        postgres.sql("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", disk], check=False)


def test_g8_a_constraint_of_somebody_elses_is_not_taken_for_faster_writers(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    service = open_service()
    postgres.sql(f"ALTER TABLE {schema}.keyturn_events ADD CHECK (originator_version < 2)")

    with pytest.raises(
        LogUnavailableError, match=r"constraint.*: drop it|constraint.*; take it away"
    ) as raised:
        service.reset_key()

    assert raised.value.recorded is False


def test_g5_a_row_without_a_state_is_damage(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service]
) -> None:
    open_service().close()
    postgres.sql(f"UPDATE {schema}.keyturn_events SET state = NULL")

    with pytest.raises(LogDamagedError, match="was altered"):
        open_service()


def test_g1_alone_too_a_lost_acknowledgement_is_looked_up_with_one_connection(
    postgres: PostgresServer, schema: str
) -> None:
    with Proxy(postgres.port) as proxy:
        url = postgres.tcp_url(schema, port=proxy.port)
        log = keyturn.open_event_log(url, lock_timeout=PATIENCE, pool_size=1)
        with contextlib.closing(log):
            count = f"SELECT count(*) FROM {schema}.keyturn_events"
            with (
                proxy.losing_the_reply(b"COMMIT", once=lambda: postgres.sql(count) == [(1,)]),
                log.exclusive(),
            ):
                appended = log.append(new_keys(KeyRing.ephemeral()))

            assert appended
            assert log.newest("default") is not None


def test_g5_a_log_whose_end_was_deleted_is_refused_by_who_runs_and_by_who_opens_it(
    postgres: PostgresServer, schema: str, open_service: Callable[..., Service], tmp_path: Path
) -> None:
    service = open_service()
    old = service.create_token()
    service.reset_key()

    postgres.sql(f"DELETE FROM {schema}.keyturn_events WHERE originator_version = 2")

    with pytest.raises(LogRolledBackError, match="an old copy was put back"):
        service.reset_key()
    service.close()
    with pytest.raises(LogRolledBackError, match="an old copy was put back"):
        open_service()
    with keyturn.open(
        path=tmp_path / "data",
        store=postgres.url_of(schema),
        password=None,
        accept_rollback=True,
    ) as accepted:
        assert not accepted.verify_token(old)


# --- several at once ---------------------------------------------------------------------------


def test_g1_a_server_killed_at_any_moment_loses_no_reset_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    for server in running_server():
        settings = Settings(path=tmp_path / "data", store=server.url(), lock_timeout=PATIENCE)
        with keyturn.open(settings, password=None) as service:
            acknowledged: list[str] = []
            for round_ in range(3):
                killer = threading.Thread(target=server.kill)
                with contextlib.suppress(LogUnavailableError):
                    for count in range(100_000):
                        service.reset_key(reason=f"{round_} {count}")
                        acknowledged.append(f"{round_} {count}")
                        if count == 10:
                            killer.start()
                killer.join()
                server.start()

            recorded = [change.reason for change in service.history()]
            assert len(acknowledged) > 30
            assert [reason for reason in recorded if reason in acknowledged] == acknowledged
            assert service.audit().holds


def test_a_key_ring_that_is_gone_is_not_made_anew_beside_a_log_with_events(
    postgres: PostgresServer, schema: str, tmp_path: Path
) -> None:
    url = postgres.url_of(schema)
    keyturn.open(path=tmp_path / "data", store=url, password=None).close()

    with pytest.raises(KeyRingNotFoundError) as raised:
        keyturn.open(path=tmp_path / "other", store=url, password=None)

    assert "there is no key ring" in str(raised.value)


def test_a_second_machine_with_a_copy_of_the_key_ring_shares_the_log(
    postgres: PostgresServer, schema: str, tmp_path: Path
) -> None:
    url, key_ring = postgres.url_of(schema), KeyRing.ephemeral()
    with (
        keyturn.open(path=tmp_path / "a", store=url, key_ring=key_ring) as first,
        keyturn.open(path=tmp_path / "b", store=url, key_ring=key_ring, trust_log=True) as second,
    ):
        token = first.create_token()

        assert second.verify_token(token)
