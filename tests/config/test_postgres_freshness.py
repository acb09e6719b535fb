"""On PostgreSQL no old key is trusted for longer than `max_staleness`, whatever happens [G2].

Whatever is said here about time is about the promise itself: a verification that began later than
the bound allows accepts nothing. A slow machine only makes fewer of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import keyturn
from keyturn import Service, Settings
from keyturn.config import listener
from keyturn.config.clock import boot_time
from keyturn.domain.errors import LogUnavailableError, StaleKeyError
from tests.postgres import PostgresServer, running_server
from tests.proxy import Proxy

from .second_process import SecondProcess

BOUND = 0.2
"""The `max_staleness` of most services here, in seconds."""

PATIENCE = 0.2


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that is frozen, killed and started again."""
    yield from running_server()


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def open_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Open services of one node; all are closed in the end."""
    with contextlib.ExitStack() as stack:

        def open_it(url: str, **settings: object) -> Service:
            given = {"lock_timeout": PATIENCE, "max_staleness": BOUND} | settings
            known = Settings.load({"path": tmp_path / "data", "store": url, **given})
            return stack.enter_context(keyturn.open(known, password=None))

        yield open_it


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so, and fail if it never is."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def is_refused(service: Service, token: str) -> bool:
    """Whether a token is refused; while nobody knows, it is not."""
    try:
        return not service.verify_token(token)
    except StaleKeyError:
        return False


def hears(service: Service) -> bool:
    """Whether what was heard of the log is enough, so that it need not be read."""
    return service.log.changes() == service.log.changes()


def knows_the_log(service: Service, token: str) -> None:
    """Have a service know the log as it is, so that only what it hears has it read again."""
    until(lambda: hears(service), "it listens")
    assert service.verify_token(token)


def works(service: Service) -> bool:
    try:
        return service.verify_token(service.create_token())
    except LogUnavailableError:
        return False


def last_trust(service: Service, token: str) -> float:
    """Return when the last verification began that was not refused as stale."""
    last = boot_time()
    deadline = time.monotonic() + 60
    while True:
        began = boot_time()
        try:
            service.verify_token(token)
        except StaleKeyError:
            return last
        last = began
        assert time.monotonic() < deadline, "the service never gets careful"
        time.sleep(0.001)


# --- while all is well -------------------------------------------------------------------------


def test_g2_a_reset_by_another_process_is_pushed_to_this_one(
    postgres: PostgresServer,
    open_service: Callable[..., Service],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres.url()
    service = open_service(url, max_staleness=3600)
    monkeypatch.setenv("KEYTURN_STORE", url)
    with SecondProcess(tmp_path / "data") as other:
        for _ in range(5):
            token = service.create_token()
            until(lambda: hears(service), "it listens")
            other.reset()

            until(lambda token=token: is_refused(service, token), "the reset is heard of")


def test_g2_a_reset_is_refused_at_once_in_the_process_that_made_it(
    postgres: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(postgres.url(), max_staleness=3600)
    until(lambda: hears(service), "it listens")
    for _ in range(20):
        token = service.create_token()

        service.reset_key()

        assert not service.verify_token(token)


def test_g2_with_strict_freshness_every_reset_is_seen_by_the_very_next_verification(
    postgres: PostgresServer,
    open_service: Callable[..., Service],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres.url()
    service = open_service(url, freshness="strict", max_staleness=3600)
    monkeypatch.setenv("KEYTURN_STORE", url)
    with SecondProcess(tmp_path / "data") as other:
        for _ in range(20):
            token = service.create_token()
            other.reset()

            assert not service.verify_token(token)


def test_an_idle_server_is_as_good_as_a_busy_one(
    postgres: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(postgres.url(), max_staleness=0.2)
    until(lambda: hears(service), "it listens")
    time.sleep(0.25)  # so that what was heard at first is too old

    until(lambda: hears(service), "it has been heard of again")


def test_g2_an_event_that_nobody_told_of_is_found_by_asking(
    postgres: PostgresServer, open_service: Callable[..., Service]
) -> None:
    here, there = postgres.new_schema(), postgres.new_schema()
    service = open_service(postgres.url_of(here), max_staleness=0.4)
    original, copy = f"{here}.keyturn_events", f"{there}.keyturn_events"
    postgres.sql(f"CREATE TABLE {copy} (LIKE {original} INCLUDING ALL)")
    columns = "originator_id, originator_version, topic, state"
    postgres.sql(f"INSERT INTO {copy} ({columns}) SELECT {columns} FROM {original}")
    postgres.sql(f"COMMENT ON TABLE {copy} IS 'Keyturn log, schema 2'")
    other = open_service(postgres.url_of(there))
    token = service.create_token()
    knows_the_log(service, token)
    other.reset_key()

    # As a pooler in between does it, which loses what the server pushes.
    postgres.sql(
        f"INSERT INTO {original} ({columns}) SELECT {columns} FROM {copy}"
        " WHERE originator_version = 2"
    )

    until(lambda: is_refused(service, token), "the reset is found")


def test_g2_what_was_committed_while_the_listener_was_cut_off_is_not_missed(
    postgres: PostgresServer, open_service: Callable[..., Service]
) -> None:
    schema = postgres.new_schema()
    url = postgres.url_of(schema, application_name=schema)
    service, other = open_service(url, max_staleness=3600), open_service(postgres.url_of(schema))
    for _ in range(4):
        token = service.create_token()
        until(lambda: hears(service), "it listens")
        postgres.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            schema,
        )
        other.reset_key()

        until(lambda token=token: is_refused(service, token), "the reset is heard of")


def test_one_connection_is_enough_beside_the_one_that_listens(
    postgres: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(postgres.url(), pool_size=1)
    until(lambda: hears(service), "it listens")

    for _ in range(20):
        service.reset_key()

    assert service.audit().holds
    assert len(list(service.history())) == 21


# --- while it is not ---------------------------------------------------------------------------


def test_g2_beside_a_frozen_server_no_key_is_trusted_beyond_the_bound(
    server: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(server.url())
    token = service.create_token()
    until(lambda: hears(service), "it listens")

    with server.frozen():
        frozen_at = boot_time()
        trusted_at = last_trust(service, token)
        with ThreadPoolExecutor(1) as pool:
            reset = pool.submit(service.reset_key)
            with pytest.raises(StaleKeyError, match="no token is made or checked"):
                service.create_token()
            with pytest.raises(LogUnavailableError) as raised:
                reset.result(timeout=30)

    assert trusted_at <= frozen_at + BOUND
    assert raised.value.location == service.log.location
    until(lambda: works(service), "the service resumes by itself")
    assert service.audit().holds


def test_g2_beside_a_killed_server_no_key_is_trusted_beyond_the_bound(
    server: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(server.url())
    token = service.create_token()
    until(lambda: hears(service), "it listens")

    server.kill()
    killed_at = boot_time()
    trusted_at = last_trust(service, token)
    with pytest.raises(LogUnavailableError) as raised:
        service.reset_key()
    server.start()

    assert trusted_at <= killed_at + BOUND
    assert raised.value.recorded is False
    until(lambda: works(service), "the service resumes by itself")
    assert service.verify_token(token)
    assert [change.kind for change in service.history()] == ["generated"]


def swallow(proxy: Proxy) -> None:
    proxy.swallows = True


def cut_off(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.cut()


@pytest.mark.parametrize("break_network", [swallow, cut_off])
def test_g2_behind_a_broken_network_no_old_token_is_accepted_beyond_the_bound(
    break_network: Callable[[Proxy], None],
    server: PostgresServer,
    proxy: Proxy,
    open_service: Callable[..., Service],
) -> None:
    schema = server.new_schema()
    other = open_service(server.url_of(schema))
    service = open_service(server.tcp_url(schema, port=proxy.port))
    token = service.create_token()
    until(lambda: hears(service), "it listens")

    break_network(proxy)
    other.reset_key()
    ended_at = boot_time()
    trusted_at = last_trust(service, token)
    proxy.swallows = proxy.refuses = False

    assert trusted_at <= ended_at + BOUND
    until(lambda: is_refused(service, token), "the reset is heard of")


def test_g2_a_listener_whose_connection_is_dead_is_replaced_however_long_the_bound(
    server: PostgresServer,
    proxy: Proxy,
    open_service: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_LONGEST_REPLY", 0.3)
    schema = server.new_schema()
    other = open_service(server.url_of(schema))
    service = open_service(server.tcp_url(schema, port=proxy.port), max_staleness=3600)
    token = service.create_token()
    knows_the_log(service, token)

    proxy.no_reply_to = b"pg_stat_get"  # from its next question on it hears nothing
    until(lambda: proxy.muted > 0, "it asks")
    proxy.no_reply_to = None
    other.reset_key()

    until(lambda: is_refused(service, token), "the reset is heard of")


def test_g2_a_standby_is_refused_since_it_may_not_know_yet_of_a_reset(
    server: PostgresServer, open_service: Callable[..., Service]
) -> None:
    schema = server.new_schema()
    open_service(server.url_of(schema)).reset_key()

    with contextlib.closing(server.standby()) as standby:
        with pytest.raises(LogUnavailableError, match="standby") as raised:
            open_service(standby.url_of(schema))
        with pytest.raises(LogUnavailableError, match="standby"):
            open_service(standby.url_of(schema, target_session_attrs="any"))

    assert raised.value.recorded is False


def test_g2_with_strict_freshness_nothing_is_accepted_once_the_server_is_gone(
    server: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(server.url(), freshness="strict")
    token = service.create_token()

    server.kill()
    with pytest.raises(StaleKeyError) as raised:
        service.verify_token(token)
    server.start()

    assert "no token is made or checked" in str(raised.value)
    assert service.verify_token(token)


def test_g8_a_server_that_is_restarted_costs_a_service_nothing_but_the_time(
    server: PostgresServer, open_service: Callable[..., Service]
) -> None:
    service = open_service(server.url())
    for generation in range(2, 5):
        token = service.create_token()
        server.stop()
        server.start()

        service.reset_key()

        assert not service.verify_token(token)
        assert next(service.history(newest_first=True)).generation == generation


def test_subscribers_are_told_of_what_happened_while_the_server_was_gone(
    server: PostgresServer, open_service: Callable[..., Service]
) -> None:
    url = server.url()
    service, other = open_service(url), open_service(url)
    heard: list[object] = []
    end_watch = service.log.watch(lambda: heard.append(None))

    server.stop()
    server.start()
    heard.clear()
    other.reset_key()

    until(lambda: bool(heard), "the change is noticed")
    end_watch()
