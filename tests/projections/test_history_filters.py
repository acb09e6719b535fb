"""Filters and pages of the history show what a plain list would, by every way to ask for it."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keyturn
from keyturn import EventLog, KeyChange, KeyRing, RotationHistory, Service
from keyturn.actors.messages import ReadHistory
from keyturn.aio import AsyncService
from keyturn.domain.errors import FilterError
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.projections.history import HistoryFilter
from tests.projections.conftest import Hand
from tests.projections.sqlite_log import opened, record_at_once

KINDS = ["generated", "reset", "rotated", "destroyed"]
NAMES = ["alice", "bob", "Alice", ""]
HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
LENGTH = 40


def make_history() -> RotationHistory:
    """A history in memory: all kinds, several initiators, a clock that once went back."""
    log, key_ring = keyturn.open_event_log("memory:"), KeyRing.ephemeral()
    keys = SessionKeys.blank("default")
    for number in range(LENGTH):
        hours = number if number < 30 else number - 5
        by = Origin(NAMES[number % 3], None, START + hours * HOUR)
        secret = number.to_bytes(32, "big")
        if keys.is_destroyed:
            keys.regenerate(secret, key_ring, by)
        elif number % 7 == 6:
            keys.destroy(key_ring, by)
        elif number % 3:
            keys.reset(secret, key_ring, by)
        else:
            keys.rotate(secret, key_ring, by, overlap=60)
    log.append(keys)
    return RotationHistory(log)


HISTORY = make_history()
EVERYTHING = list(HISTORY)

moments = st.one_of(
    st.sampled_from([change.at for change in EVERYTHING]),
    st.datetimes(
        min_value=datetime(2023, 12, 31),
        max_value=datetime(2024, 1, 4),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-HOUR)]),
    ),
)
filters = st.builds(
    HistoryFilter,
    since=st.none() | moments,
    until=st.none() | moments,
    generation=st.none() | st.integers(-1, LENGTH),
    initiator=st.none() | st.sampled_from(NAMES),
    kind=st.none() | st.sampled_from(KINDS),
)
one_filter = st.one_of(
    st.builds(HistoryFilter, since=moments),
    st.builds(HistoryFilter, until=moments),
    st.builds(HistoryFilter, generation=st.integers(-1, LENGTH)),
    st.builds(HistoryFilter, initiator=st.sampled_from(NAMES)),
    st.builds(HistoryFilter, kind=st.sampled_from(KINDS)),
)


def fitting(which: HistoryFilter) -> list[KeyChange]:
    """Filter a plain list."""
    rows = EVERYTHING
    if which.since is not None:
        rows = [row for row in rows if not row.at < which.since]
    if which.until is not None:
        rows = [row for row in rows if not row.at > which.until]
    for name in ("generation", "initiator", "kind"):
        wanted = getattr(which, name)
        if wanted is not None:
            rows = [row for row in rows if getattr(row, name) == wanted]
    return rows


def pages(
    which: HistoryFilter, limit: int, *, newest_first: bool, after: int | None = None
) -> Iterator[list[KeyChange]]:
    while page := list(
        HISTORY.changes(which, newest_first=newest_first, after=after, limit=limit)
    ):
        yield page
        after = page[-1].position


# --- filters -----------------------------------------------------------------------------------


@given(one_filter)
def test_a_filter_shows_what_filtering_a_plain_list_does(which: HistoryFilter) -> None:
    assert list(HISTORY.changes(which)) == fitting(which)


@settings(max_examples=40)
@given(filters, st.booleans())
def test_filters_together_show_what_filtering_a_plain_list_does(
    which: HistoryFilter, newest_first: bool
) -> None:
    shown = list(HISTORY.changes(which, newest_first=newest_first))

    assert shown == (fitting(which)[::-1] if newest_first else fitting(which))


@settings(max_examples=40)
@given(
    filters, st.booleans(), st.none() | st.integers(-1, LENGTH + 2), st.integers(0, LENGTH + 2)
)
def test_after_and_limit_show_what_slicing_a_plain_list_does(
    which: HistoryFilter, newest_first: bool, after: int | None, limit: int
) -> None:
    rows = fitting(which)[::-1] if newest_first else fitting(which)
    if after is not None:
        rows = [r for r in rows if (r.position < after if newest_first else r.position > after)]

    shown = list(HISTORY.changes(which, newest_first=newest_first, after=after, limit=limit))

    assert shown == rows[:limit]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, LENGTH, LENGTH + 1])
def test_pages_visit_each_row_once_with_the_same_lifetimes(
    limit: int, newest_first: bool
) -> None:
    visited = [
        row for page in pages(HistoryFilter(), limit, newest_first=newest_first) for row in page
    ]

    assert visited == (EVERYTHING[::-1] if newest_first else EVERYTHING)


@settings(max_examples=40)
@given(filters, st.integers(1, 10), st.booleans())
def test_pages_of_filtered_rows_visit_each_row_once(
    which: HistoryFilter, limit: int, newest_first: bool
) -> None:
    visited = [row for page in pages(which, limit, newest_first=newest_first) for row in page]

    assert visited == (fitting(which)[::-1] if newest_first else fitting(which))


def test_pages_go_over_the_borders_of_what_is_read_at_a_time(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    record_at_once(tmp_path / "log.db", key_ring, resets=1004)
    with opened(tmp_path / "log.db") as log:
        history = RotationHistory(log)
        everything = list(history)

        tail = list(history.changes(newest_first=True, after=1003, limit=1002))

    assert tail == everything[1001::-1]


def test_two_iterations_of_one_history_do_not_disturb_each_other() -> None:
    rows = list(pairwise(HISTORY)), list(zip(HISTORY, HISTORY, strict=True))

    assert rows == (list(pairwise(EVERYTHING)), [(row, row) for row in EVERYTHING])


# --- which key was current ---------------------------------------------------------------------


def test_before_the_first_change_no_key_was_current(hand: Hand) -> None:
    assert RotationHistory(hand.log).at(hand.now - timedelta(microseconds=1)) is None


def test_in_a_log_without_events_no_key_was_ever_current(log: EventLog) -> None:
    assert RotationHistory(log).at(START) is None


@pytest.mark.parametrize(
    ("moment", "position"),
    [
        (START + HOUR, 1),
        (START + 2 * HOUR - timedelta(microseconds=1), 1),
        (START + 2 * HOUR, 2),
        (START + 3 * HOUR, 3),
        (START + 4 * HOUR - timedelta(microseconds=1), 3),
        (START + 4 * HOUR, None),
        (START + 5 * HOUR - timedelta(microseconds=1), None),
        (START + 5 * HOUR, 5),
        (datetime.max.replace(tzinfo=UTC), 5),
        (datetime.min.replace(tzinfo=UTC), None),
    ],
)
def test_a_key_is_current_from_its_change_until_just_before_the_next(
    hand: Hand, moment: datetime, position: int | None
) -> None:
    hand.reset()
    hand.rotate(overlap=60)
    hand.destroy()
    hand.generate()

    change = RotationHistory(hand.log).at(moment)

    assert (None if change is None else change.position) == position


def test_a_moment_in_another_time_zone_is_the_same_moment(hand: Hand) -> None:
    history = RotationHistory(hand.log)

    assert history.at(hand.now.astimezone(timezone(9 * HOUR))) == history.at(hand.now)


def test_the_change_of_a_moment_has_the_lifetime_that_the_history_shows(hand: Hand) -> None:
    hand.reset()
    history = RotationHistory(hand.log)

    assert history.at(START + HOUR) == next(iter(history))


# --- three ways to ask -------------------------------------------------------------------------


@pytest.fixture
def busy(service: Service) -> Service:
    """A service with six changes by two people."""
    for number, initiator in enumerate(["alice", "bob", "alice", "bob", "alice"]):
        service.reset_key(f"number {number}", initiator)
    return service


async def awaited(service: Service, *which: HistoryFilter, **rest: Any) -> list[KeyChange]:
    return [change async for change in AsyncService(service).history(*which, **rest)]


def test_handle_message_and_async_give_the_same(busy: Service) -> None:
    for which in (HistoryFilter(), HistoryFilter(initiator="alice", kind="reset")):
        for rest in ({}, {"limit": 2}, {"newest_first": True, "after": 5}):
            arguments: dict[str, Any] = {**rest}
            by_handle = list(busy.history(which, **arguments))
            by_message = list(keyturn.ask(busy.manager, ReadHistory(which, **arguments)))
            by_async = asyncio.run(awaited(busy, which, **arguments))

            assert by_handle == by_message == by_async
            assert by_handle == list(RotationHistory(busy.log).changes(which, **arguments))


def test_handle_and_async_say_the_same_of_a_moment(busy: Service) -> None:
    moment = list(busy.history())[2].at

    by_async = asyncio.run(AsyncService(busy).key_at(moment))

    assert by_async == busy.key_at(moment) == list(busy.history())[2]


# --- memory ------------------------------------------------------------------------------------


def test_a_long_history_streams_in_the_memory_of_a_short_one(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    peaks: dict[bool, list[int]] = {False: [], True: []}
    for name, resets in (("warm", 10), ("short", 500), ("long", 3000)):
        record_at_once(tmp_path / name, key_ring, resets)
        with opened(tmp_path / name) as log:
            for newest_first in (False, True):
                tracemalloc.start()
                for _ in RotationHistory(log).changes(newest_first=newest_first):
                    pass
                peaks[newest_first].append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()

    assert all(long < 3 * short for _, short, long in peaks.values())  # of six times the rows


@pytest.mark.parametrize(
    "make",
    [
        lambda: HistoryFilter(since=datetime(2026, 1, 1)),
        lambda: HistoryFilter(until=datetime(2026, 1, 1)),
        lambda: HistoryFilter(kind="bogus"),
        lambda: HISTORY.changes(limit=-1),
        lambda: HISTORY.at(datetime(2026, 1, 1)),
    ],
)
def test_what_cannot_be_filtered_by_is_said_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(FilterError):
        make()
