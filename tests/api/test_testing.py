"""The service that a test of a host has in its hands, and its clock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

import keyturn
from keyturn.testing import (
    Generated,
    ManualClock,
    Replay,
    Reset,
    Rotated,
    open_service,
)


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(1000)

    clock.advance(2.5)

    assert clock() == clock() == 1002.5
    assert repr(clock) == "<ManualClock at 1970-01-01T00:16:42.500000+00:00>"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_manual_clock_never_goes_back(seconds: float) -> None:
    clock = ManualClock(1000)

    with pytest.raises(ValueError, match="a clock goes on"):
        clock.advance(seconds)

    assert clock() == 1000


def test_a_manual_clock_may_be_advanced_by_many_threads() -> None:
    clock = ManualClock(0)

    def advance() -> None:
        for _ in range(500):
            clock.advance(1)

    threads = [threading.Thread(target=advance) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert clock() == 4000


def test_a_clock_travels_to_a_moment_and_never_back() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    clock = ManualClock(begin)

    clock.travel_to(begin + timedelta(days=1))

    assert clock.now == begin + timedelta(days=1)
    with pytest.raises(ValueError, match="never goes back"):
        clock.travel_to(begin)
    with pytest.raises(ValueError, match="aware datetime"):
        clock.travel_to(datetime(2027, 1, 1))


def test_the_clock_of_a_service_expires_its_tokens() -> None:
    with open_service() as service:
        token = service.create_token(expiry=1800)

        before = service.verify_token(token)
        service.clock.advance(1802)

        assert (before, service.verify_token(token)) == (True, False)


def test_the_clock_of_a_service_ends_long_sessions() -> None:
    with open_service(max_lifetime=3600, expiry=None) as service:
        token = service.create_token()

        service.clock.advance(3602)

        assert not service.verify_token(token)


def test_settings_from_outside_have_no_part_in_a_service_under_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYTURN_STORE", "nonsense:")
    monkeypatch.setenv("KEYTURN_EXPIRY", "never")

    with open_service() as service:
        token = service.create_token()
        service.clock.advance(86402)

        assert not service.verify_token(token)


def test_a_service_shows_the_clock_that_it_was_opened_with() -> None:
    clock = ManualClock()

    with keyturn.open(store="memory:", clock=clock) as service:
        assert service.clock is clock


# --- the rotation policy -----------------------------------------------------------------------


def test_a_key_is_rotated_when_the_clock_of_a_service_is_moved() -> None:
    with open_service(rotate_every=3600, overlap=60) as service:
        token = service.create_token()

        service.clock.advance(3599)
        before = len(list(service.history()))
        service.clock.advance(1)

        changes = [(c.kind, c.initiator, c.reason) for c in service.history()][before:]
        assert (before, changes) == (1, [("rotated", "rotation policy", "every 3600 s")])
        assert service.verify_token(token)
        service.clock.advance(60)
        assert not service.verify_token(token)


@pytest.mark.parametrize("start", [1_700_000_000.123456, 1_800_000_000.9999999, 0.1])
def test_a_key_is_due_after_that_time_whatever_the_clock_says(start: float) -> None:
    with open_service(rotate_every=3600.1, clock=ManualClock(start)) as service:
        for _ in range(20):
            service.clock.advance(3600.1)

        assert len(list(service.history())) == 1 + 20


def test_a_stopped_service_lets_the_clock_be_moved_and_so_does_a_closed_one() -> None:
    with open_service(rotate_every=3600) as service:
        service.stop()
        service.clock.advance(3600)
        assert len(list(service.history())) == 1
    service.clock.advance(3600)


def test_a_policy_is_replayed() -> None:
    with Replay(rotate_every=3600, overlap=60) as replay:
        replay.given(Generated(), Reset(age=1000))

        replay.when(lambda service: service.clock.advance(2599)).then()
        replay.when(lambda service: service.clock.advance(1))

        replay.then(Rotated(initiator="rotation policy", overlap=60, generation=3))


def test_a_service_under_test_looks_at_its_keys_only_when_its_clock_is_moved() -> None:
    with Replay(rotate_every=3600, overlap=60) as replay:
        replay.given(Generated(age=10 * 3600))

        replay.when(lambda service: service.verify_token(service.create_token())).then()
