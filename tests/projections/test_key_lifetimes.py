"""A key and the end of a session are found in any history, with a bounded number of readings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from keyturn import EventLog, KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.projections.key_lifetimes import NEARBY, NEWEST, KeyLifetimes
from tests.domain.builders import NOON, new_keys, secret
from tests.projections.conftest import Hand
from tests.projections.memory_log import new_log

HOUR = timedelta(hours=1)


class CountingStore(MemoryStore):
    """Counts the rows that were read of streams."""

    rows_read = 0

    def select_events(self, *args: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        found = super().select_events(*args, **kwargs)
        type(self).rows_read += len(found)
        return found


@pytest.fixture
def log() -> EventLog:
    return new_log()


def events_of(log: EventLog) -> list[KeyEvent]:
    return list(log.key_events("default"))


@cache
def long_log(length: int) -> EventLog:
    """Mostly ended sessions, a reset every 500 events, a minute apart each. It is only read."""
    key_ring = KeyRing.ephemeral()
    keys = new_keys(key_ring)
    for number in range(1, length):
        by = Origin("alice", None, NOON + number * timedelta(minutes=1))
        if number % 500:
            keys.end_session(f"s{number}", key_ring, by)
        else:
            keys.reset(secret(number), key_ring, by)
    log = new_log(CountingStore)
    assert log.append(keys)
    return log


# --- which key ---------------------------------------------------------------------------------


def test_a_key_is_found_by_the_time_of_its_token_however_many_sessions_ended_since() -> None:
    log = long_log(6_000)
    keys = KeyLifetimes(log, "default")
    made = [event for event in events_of(log) if event.makes_a_key]

    found = [
        keys.find(event.key_id, (event.timestamp + 499 * timedelta(minutes=1)).timestamp())
        for event in made
    ]

    assert [event and event.digest for event in found] == [event.digest for event in made]


def test_a_key_is_found_though_the_clock_of_its_token_was_wrong_by_an_hour() -> None:
    log = long_log(6_000)
    reset = events_of(log)[1000]

    found = KeyLifetimes(log, "default").find(reset.key_id, (reset.timestamp - HOUR).timestamp())

    assert found == reset


@pytest.mark.parametrize("issued_at", [None, -1.0, 1e300, 10**400])
def test_a_key_of_the_newest_events_is_found_whatever_time_a_token_claims(
    issued_at: float | None,
) -> None:
    log = long_log(6_000)
    reset = events_of(log)[5_000]

    assert KeyLifetimes(log, "default").find(reset.key_id, issued_at) == reset


@pytest.mark.parametrize("length", [10, 6_000])
def test_a_key_that_never_was_is_not_found_and_little_is_read_for_it(length: int) -> None:
    log = long_log(length)
    CountingStore.rows_read = 0

    found = KeyLifetimes(log, "default").find("AAAAAAAAAAAAAAAA", NOON.timestamp() + 60_000)

    assert found is None
    assert CountingStore.rows_read <= NEWEST + NEARBY + 2 * length.bit_length() + 500  # one page


def test_a_key_that_was_purged_is_not_found(hand: Hand) -> None:
    made = events_of(hand.log)[0]
    hand.purge()
    hand.generate()

    assert KeyLifetimes(hand.log, "default").find(made.key_id, None) is None


def test_in_an_empty_log_no_key_is_found(log: EventLog) -> None:
    assert KeyLifetimes(log, "default").find("AAAAAAAAAAAAAAAA", 0.0) is None


# --- from when to when -------------------------------------------------------------------------


def by_looking_at_all(events: list[KeyEvent], made: KeyEvent) -> tuple[KeyEvent | None, Any]:
    """What ended a key and when, by reading the whole history after it."""
    sessions = (SessionKeys.SessionEnded, SessionKeys.SubjectSessionsEnded)
    later = [
        e
        for e in events
        if e.originator_version > made.originator_version and not isinstance(e, sessions)
    ]
    if not later:
        return None, None
    if not isinstance(later[0], SessionKeys.KeyRotated):
        return later[0], later[0].timestamp
    ends = later[0].timestamp + timedelta(seconds=later[0].overlap)
    stop = next((e for e in later if not isinstance(e, SessionKeys.KeyRotated)), None)
    if stop is not None and stop.timestamp < ends:
        return stop, stop.timestamp
    return later[0], ends


@pytest.mark.parametrize("seed", range(6))
def test_a_key_was_good_from_when_to_when_the_whole_history_says(hand: Hand, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(60):
        if hand.keys().is_destroyed:
            hand.generate()
            continue
        match chance.randrange(8):
            case 0 | 1 | 2:
                hand.end_session(f"s{number}")
            case 3 | 4 | 5:
                hand.rotate(overlap=chance.choice([0, 60, 5000, 10_000, 30_000]))
            case 6:
                hand.reset()
            case _:
                hand.destroy()
    lifetimes, events = KeyLifetimes(hand.log, "default"), events_of(hand.log)

    for made in (event for event in events if event.makes_a_key):
        span = lifetimes.span_of(made)

        assert (span.ended_with, span.ends_at) == by_looking_at_all(events, made)


# --- what ended a session ----------------------------------------------------------------------


def test_the_first_event_that_ended_a_session_is_found(hand: Hand) -> None:
    hand.end_session("another")
    hand.end_sessions("alice", keep="s1")
    hand.end_sessions("alice")
    hand.end_session("s1")

    end = KeyLifetimes(hand.log, "default").end_of_session("s1", "alice", after=1)

    assert end is not None
    assert end.originator_version == 4


def test_a_session_that_began_after_an_end_of_all_was_not_ended_by_it(hand: Hand) -> None:
    hand.end_sessions("alice")

    assert KeyLifetimes(hand.log, "default").end_of_session("s1", "alice", after=2) is None


def test_the_end_of_a_session_is_looked_for_among_so_many_events() -> None:
    lifetimes = KeyLifetimes(long_log(6_000), "default")

    found = [
        lifetimes.end_of_session(f"s{number}", "alice", after=1, limit=limit)
        for number, limit in ((NEWEST - 1, NEWEST), (NEWEST + 1, NEWEST), (NEWEST + 1, None))
    ]

    assert [end is not None for end in found] == [True, False, True]
