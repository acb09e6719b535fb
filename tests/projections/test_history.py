"""The history shows one row a change, and needs no key ring for it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import keyturn
from keyturn import EventLog, KeyRing, RotationHistory, SessionKeys
from keyturn.domain.key_events import Abandoned
from keyturn.domain.session_keys import Origin
from keyturn.projections.history import HistoryFilter
from tests.projections.conftest import Hand

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def history(hand: Hand) -> RotationHistory:
    """Generated, reset by bob, rotated, destroyed, generated again: an hour apart each."""
    hand.reset("bob", "laptop stolen")
    hand.rotate(overlap=60)
    hand.destroy()
    hand.generate("carol")
    return RotationHistory(hand.log)


def test_a_log_without_events_has_no_history(log: EventLog) -> None:
    assert list(RotationHistory(log)) == []


def test_there_is_one_row_a_change_oldest_first(history: RotationHistory) -> None:
    rows = [(change.position, change.kind, change.generation) for change in history]

    assert rows == [
        (1, "generated", 1),
        (2, "reset", 2),
        (3, "rotated", 3),
        (4, "destroyed", 3),
        (5, "generated", 4),
    ]


def test_newest_first_is_the_same_the_other_way_round(history: RotationHistory) -> None:
    oldest_first = list(history.changes())

    assert list(history.changes(newest_first=True)) == oldest_first[::-1]


def test_newest_first_is_the_same_the_other_way_round_over_many_pages(
    store_url: str, key_ring: KeyRing
) -> None:
    keys = SessionKeys.blank("default")
    keys.regenerate(bytes(32), key_ring, Origin("alice", None, START))
    for number in range(1200):
        keys.reset(bytes(32), key_ring, Origin("alice", None, START + number * HOUR))
    with contextlib.closing(keyturn.open_event_log(store_url)) as log:
        log.append(keys)
        history = RotationHistory(log)

        oldest_first = list(history.changes())

        assert list(history.changes(newest_first=True)) == oldest_first[::-1]
        assert [change.position for change in oldest_first] == list(range(1, 1202))


def test_a_row_says_who_why_and_when(history: RotationHistory) -> None:
    reset = list(history)[1]

    assert (reset.initiator, reset.reason, reset.at) == (
        "bob",
        "laptop stolen",
        START + 2 * HOUR,
    )


def test_the_time_of_a_row_is_in_utc(history: RotationHistory) -> None:
    assert {change.at.utcoffset() for change in history} == {timedelta(0)}


def test_a_row_names_the_node_that_signed_it(history: RotationHistory, key_ring: KeyRing) -> None:
    assert {change.node_id for change in history} == {key_ring.node_id}


def test_a_row_has_the_digest_that_the_next_event_carries(
    history: RotationHistory, log: EventLog
) -> None:
    digests = [change.digest for change in history]

    carried = [event.previous_digest for event in log.key_events("default")]
    assert carried == ["0" * 64, *digests[:-1]]


def test_a_key_lives_from_its_change_to_the_next(history: RotationHistory) -> None:
    assert [change.lifetime for change in history] == [HOUR, HOUR, HOUR, HOUR, None]


def test_the_current_key_has_no_lifetime_yet(hand: Hand) -> None:
    assert [change.lifetime for change in RotationHistory(hand.log)] == [None]


def test_a_row_for_a_rotation_says_how_long_its_overlap_is(history: RotationHistory) -> None:
    assert [change.overlap for change in history] == [None, None, 60, None, None]


def test_a_row_for_a_destroy_names_the_key_that_it_ended(history: RotationHistory) -> None:
    rotated, destroyed = list(history)[2:4]

    assert (destroyed.key_id, destroyed.generation) == (rotated.key_id, rotated.generation)


def test_the_history_of_another_manager_is_its_own(
    history: RotationHistory, log: EventLog, key_ring: KeyRing
) -> None:
    Hand(log, key_ring, "other").generate("dave")

    assert [c.initiator for c in RotationHistory(log, "other")] == ["dave"]
    assert len(list(history)) == 5


def test_the_history_of_a_manager_that_never_was_is_empty(log: EventLog) -> None:
    assert list(RotationHistory(log, "nobody")) == []


def test_a_row_cannot_be_changed(history: RotationHistory) -> None:
    change: Any = next(iter(history))

    with pytest.raises(AttributeError):
        change.initiator = "mallory"


# --- filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "positions"),
    [
        (HistoryFilter(), [1, 2, 3, 4, 5]),
        (HistoryFilter(since=START + 3 * HOUR), [3, 4, 5]),
        (HistoryFilter(until=START + 3 * HOUR), [1, 2, 3]),
        (HistoryFilter(since=START + 2 * HOUR, until=START + 3 * HOUR), [2, 3]),
        (HistoryFilter(since=START + 9 * HOUR), []),
        (HistoryFilter(generation=3), [3, 4]),
        (HistoryFilter(initiator="bob"), [2]),
        (HistoryFilter(kind="generated"), [1, 5]),
        (HistoryFilter(kind="generated", initiator="carol"), [5]),
    ],
)
def test_a_filter_shows_the_rows_that_fit(
    history: RotationHistory, which: HistoryFilter, positions: list[int]
) -> None:
    assert [change.position for change in history.changes(which)] == positions


def test_a_filter_changes_nothing_about_the_rows_it_shows(history: RotationHistory) -> None:
    everything = list(history)

    shown = list(history.changes(HistoryFilter(initiator="bob")))

    assert shown == [everything[1]]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_one_after_the_other_make_up_the_whole(
    history: RotationHistory, newest_first: bool, limit: int
) -> None:
    rows: list[Any] = []
    while page := list(
        history.changes(
            newest_first=newest_first, limit=limit, after=rows[-1].position if rows else None
        )
    ):
        assert len(page) <= limit
        rows += page

    assert rows == list(history.changes(newest_first=newest_first))


# --- at a moment -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "generation"),
    [(0.5, None), (1, 1), (1.5, 1), (2, 2), (3.5, 3), (4.5, None), (9, 4)],
)
def test_the_key_at_a_moment_is_the_one_of_the_last_change_before_it(
    history: RotationHistory, hours: float, generation: int | None
) -> None:
    change = history.at(START + hours * HOUR)

    assert (None if change is None else change.generation) == generation


# --- ended sessions ----------------------------------------------------------------------------


@pytest.fixture
def with_sessions(hand: Hand) -> RotationHistory:
    """Generated, two ends of sessions, reset, one more, destroyed: an hour apart each."""
    hand.end_session("s1", subject="alice")
    hand.end_sessions("bob", keep="s2")
    hand.reset()
    hand.end_session("s3")
    hand.destroy()
    return RotationHistory(hand.log)


def test_the_end_of_a_session_is_a_row_that_says_whose(with_sessions: RotationHistory) -> None:
    rows = [(c.position, c.kind, c.sid, c.subject, c.keep) for c in with_sessions]

    assert rows == [
        (1, "generated", None, None, None),
        (2, "session ended", "s1", "alice", None),
        (3, "sessions ended", None, "bob", "s2"),
        (4, "reset", None, None, None),
        (5, "session ended", "s3", None, None),
        (6, "destroyed", None, None, None),
    ]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_key_lives_on_while_sessions_are_ended(
    with_sessions: RotationHistory, newest_first: bool
) -> None:
    rows = with_sessions.changes(newest_first=newest_first)

    assert {row.position: row.lifetime for row in rows} == {
        1: 3 * HOUR,
        2: None,
        3: None,
        4: 2 * HOUR,
        5: None,
        6: 2 * HOUR,
    }


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_with_ended_sessions_have_the_same_lifetimes(
    with_sessions: RotationHistory, newest_first: bool, limit: int
) -> None:
    rows: list[Any] = []
    while page := list(
        with_sessions.changes(
            newest_first=newest_first, limit=limit, after=rows[-1].position if rows else None
        )
    ):
        rows += page

    assert rows == list(with_sessions.changes(newest_first=newest_first))


def test_the_end_of_a_session_makes_no_key_current(with_sessions: RotationHistory) -> None:
    change = with_sessions.at(START + 3 * HOUR)

    assert change is not None
    assert (change.kind, change.position) == ("generated", 1)


def test_ends_of_sessions_can_be_asked_for(with_sessions: RotationHistory) -> None:
    rows = with_sessions.changes(HistoryFilter(kind="session ended"))

    assert [row.position for row in rows] == [2, 5]


def test_a_row_says_whose_it_is_and_who_recorded_it(hand: Hand, key_ring: KeyRing) -> None:
    keys = hand.keys()
    by = Origin("the host", None, START + 9 * HOUR, recorded_by="deploy@web-1")
    keys.reset(bytes(32), key_ring, by, abandoned=Abandoned(7, "7" * 64))
    hand.log.append(keys)

    *_, change = RotationHistory(hand.log)

    assert (change.manager, change.recorded_by, change.abandoned) == (
        "default",
        "deploy@web-1",
        7,
    )
