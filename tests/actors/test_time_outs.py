"""Nothing is waited for without end, and time-outs do not add up, however many wait."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import AskTimeoutError, KeyRing, KeyturnError, Service, Settings
from keyturn.config.timed_key_ring import TimedKeyRing
from keyturn.domain.errors import KeyRingTimeoutError, LogUnavailableError, StaleKeyError
from tests.actors.host_rings import Gate, HostKeyRing, raises
from tests.postgres import PostgresServer

LOCK_TIMEOUT = 0.4
AT_ONCE = 2.9
"""Seconds: well below eight time-outs, and the grace that a server gets is in it."""


def settings(url: str, folder: Path, lock_timeout: float = LOCK_TIMEOUT) -> Settings:
    return Settings(store=url, path=folder, lock_timeout=lock_timeout, max_staleness=0.2)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process' writer keeps the lock."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def all_at_once(call: Callable[[], Any], threads: int = 8) -> list[tuple[float, Any]]:
    """Return for each thread how long its call took, and what came of it."""
    found: list[tuple[float, Any]] = []
    together = threading.Barrier(threads)

    def run() -> None:
        together.wait(30)
        began = time.monotonic()
        try:
            result = call()
        except Exception as error:
            result = error
        found.append((time.monotonic() - began, result))

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert len(found) == threads
    return found


def test_eight_writers_on_a_locked_database_each_get_their_error_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with keyturn.open(settings(url, tmp_path), password=None) as service:
        with locked(tmp_path / "log.db"):
            found = all_at_once(service.reset_key)

        assert max(seconds for seconds, _ in found) < AT_ONCE
        for _, error in found:
            assert isinstance(error, LogUnavailableError | AskTimeoutError)
            assert error.recorded is False
        service.reset_key()  # in the inbox behind all that was given up
        assert [change.kind for change in service.history()] == ["generated", "reset"]


def test_a_stop_does_not_wait_behind_writers_that_wait(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with keyturn.open(settings(url, tmp_path), password=None) as service:
        with locked(tmp_path / "log.db"):
            waiting = threading.Thread(target=all_at_once, args=(service.reset_key,))
            waiting.start()
            began = time.monotonic()
            service.stop()
            seconds = time.monotonic() - began
            waiting.join(60)

        assert seconds < AT_ONCE


def test_a_close_does_not_wait_behind_writers_that_wait(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    service = keyturn.open(settings(url, tmp_path), password=None)
    tenants = [service.named(f"tenant {number}") for number in range(5)]
    with locked(tmp_path / "log.db"):
        waiting = [
            threading.Thread(target=all_at_once, args=(tenant.reset_key, 2)) for tenant in tenants
        ]
        for thread in waiting:
            thread.start()
        began = time.monotonic()
        service.close()
        seconds = time.monotonic() - began
        for thread in waiting:
            thread.join(60)

    assert seconds < AT_ONCE


def test_eight_threads_on_a_frozen_server_each_get_their_error_at_once(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with keyturn.open(settings(postgres.url(), tmp_path), password=None) as service:
        token = service.create_token()
        with postgres.frozen():
            writing = all_at_once(service.reset_key)
            reading = all_at_once(lambda: service.verify_token(token))

        assert max(seconds for seconds, _ in writing) < 2 * AT_ONCE
        assert all(isinstance(error, KeyturnError) for _, error in writing)
        assert max(seconds for seconds, _ in reading) < 2 * AT_ONCE


def outcome(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except KeyturnError as error:
        return type(error).__name__


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- a host's key ring that hangs --------------------------------------------------------------


@pytest.fixture
def ring() -> HostKeyRing:
    return HostKeyRing()


@pytest.fixture
def hosted(ring: HostKeyRing, tmp_path: Path) -> Iterator[Service]:
    """A service with a host's key ring, for which it waits a fifth of a second."""
    with keyturn.open(settings("memory:", tmp_path / "data", 0.2), key_ring=ring) as service:
        yield service


def test_a_reset_whose_key_ring_hangs_changes_nothing_and_the_next_one_works(
    ring: HostKeyRing, hosted: Service
) -> None:
    gate = Gate()
    token = hosted.create_token()
    ring.before_sign = gate
    began = time.monotonic()

    with pytest.raises(KeyRingTimeoutError, match=r"did not answer within 0\.2 s"):
        hosted.reset_key()

    assert time.monotonic() - began < 5
    assert hosted.verify_token(token)
    gate.open()
    hosted.reset_key()
    assert not hosted.verify_token(token)


def test_calls_of_a_key_ring_that_a_signal_kept_from_beginning_do_not_count_as_hanging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = TimedKeyRing(HostKeyRing(), 0.2)

    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patching:
        patching.setattr(threading.Thread, "start", interrupted)
        for _ in range(8):
            with pytest.raises(KeyboardInterrupt):
                ring.sign(b"a message")
    time.sleep(0.3)

    assert ring.sign(b"a message")


def test_a_key_rings_own_time_out_is_no_time_out_of_ours() -> None:
    ring = HostKeyRing()
    ring.before_sign = raises(TimeoutError("of the network"))

    with pytest.raises(TimeoutError, match="of the network"):
        TimedKeyRing(ring, 30).sign(b"a message")


def test_close_does_not_wait_for_a_key_ring_that_hangs(
    ring: HostKeyRing, hosted: Service
) -> None:
    gate = Gate()
    ring.before_sign = gate
    resetting = threading.Thread(target=all_at_once, args=(hosted.reset_key, 2))
    resetting.start()
    gate.wait_until_reached()
    began = time.monotonic()

    hosted.close()

    assert time.monotonic() - began < 3
    gate.open()
    resetting.join(30)


def test_a_verification_that_needs_a_key_ring_which_hangs_is_an_error_for_each_at_once(
    key_ring: KeyRing, tmp_path: Path
) -> None:
    ring, gate, folder = HostKeyRing(key_ring), Gate(), tmp_path / "data"
    where = settings(f"sqlite:///{tmp_path}/log.db", folder, 0.2)
    with (
        keyturn.open(where, key_ring=key_ring) as other,
        keyturn.open(where, key_ring=ring) as service,
    ):
        token = service.create_token()
        ring.before_unseal = gate
        other.reset_key()

        found = all_at_once(lambda: service.verify_token(token))

        errors = [error for _, error in found]
        assert all(isinstance(error, StaleKeyError) for error in errors), errors
        assert max(seconds for seconds, _ in found) < AT_ONCE
        before = threading.active_count()
        for _ in range(20):
            with pytest.raises(StaleKeyError):
                service.verify_token(token)
        assert threading.active_count() < before + 8
        gate.open()
        wait_until(lambda: "StaleKeyError" not in outcome(service.create_token))
        assert not service.verify_token(token)
        assert service.verify_token(service.create_token())
