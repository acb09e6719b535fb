"""G5: a head never goes back: not behind itself or the anchor, and not to a side branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from keyturn import EventLog, KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.domain.errors import (
    ForeignLogError,
    LogDamagedError,
    LogNotTrustedError,
    LogRolledBackError,
)
from keyturn.domain.key_events import Abandoned
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import manager_id
from keyturn.projections.head_reader import HeadReader
from tests.projections.conftest import Hand
from tests.projections.memory_log import log_with, mark_in, new_log, rows_in


@dataclass
class Seen:
    """An anchor that has seen one mark, or none."""

    mark: Mark | None

    def peek(self, manager: str) -> int:
        return 0 if self.mark is None else self.mark.position

    def read(self, manager: str) -> Mark | None:
        return self.mark


@pytest.fixture
def log() -> EventLog:
    return new_log()


def reader(log: EventLog, key_ring: KeyRing, mark: Mark | None = None) -> HeadReader:
    anchor = None if mark is None else Seen(mark)
    return HeadReader(log, "default", key_ring.node_id, anchor=anchor)


def head_mark(log: EventLog) -> Mark:
    return mark_in(log)


def test_a_head_is_followed_and_tells_each_newer_event_once(
    hand: Hand, key_ring: KeyRing
) -> None:
    told: list[int] = []
    found = HeadReader(
        hand.log,
        "default",
        key_ring.node_id,
        on_events=lambda events: told.extend(e.originator_version for e in events),
    )
    assert found.open().position == 1
    hand.reset()
    hand.end_session("sid")
    hand.rotate(60)

    assert found.get().position == 4
    assert found.get().position == 4
    assert told == [2, 3, 4]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_running_reader_refuses_a_log_that_was_cut_back(
    hand: Hand, key_ring: KeyRing, left: int
) -> None:
    hand.reset()
    hand.reset()
    rows = rows_in(hand.log)
    found = reader(hand.log, key_ring)
    found.open()
    assert isinstance(hand.log.recorder, MemoryStore)
    hand.log.recorder.remove(manager_id("default"))
    for row in rows[:left]:
        hand.log.recorder.insert_events([row])

    with pytest.raises(LogRolledBackError):
        found.get()


def test_a_row_that_does_not_follow_is_named_with_the_statement_that_removes_it(
    hand: Hand, key_ring: KeyRing
) -> None:
    found = reader(hand.log, key_ring)
    found.open()
    junk = StoredEvent(manager_id("default"), 2**63 - 1, "keyturn.KeyReset", b"{}")
    hand.log.recorder.insert_events([junk], may_begin_anywhere=True)

    for one in (found, reader(hand.log, key_ring)):
        with pytest.raises(LogDamagedError, match=f"DELETE FROM .*{2**63 - 1}") as caught:
            one.get()
        assert caught.value.position == 2**63 - 1


def test_g2_what_is_read_just_now_is_new_even_if_the_log_has_not_heard_of_it(
    hand: Hand, key_ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventLog, "changes", lambda log: "nothing")
    found = reader(hand.log, key_ring)
    found.open()

    hand.reset()

    assert (found.get().position, found.read().position) == (1, 2)


def test_g9_a_log_without_the_end_of_a_session_that_its_head_counts_on_is_refused(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.end_session("sid")
    hand.rotate(60)
    first, _, last = rows_in(hand.log)

    with pytest.raises(LogDamagedError, match="position 2 is missing"):
        reader(log_with([first, last]), key_ring, head_mark(hand.log)).open()


def test_g9_a_log_in_which_another_session_was_ended_than_the_head_counts_on_is_refused(
    hand: Hand, key_ring: KeyRing
) -> None:
    side = Hand(log_with(rows_in(hand.log)), key_ring)
    for log, sid in ((hand, "sid"), (side, "another")):
        log.end_session(sid)
        log.rotate(60)
    first, _, last = rows_in(hand.log)
    other = rows_in(side.log)[1]

    with pytest.raises(LogDamagedError, match="does not follow the event before it"):
        reader(log_with([first, other, last]), key_ring, head_mark(hand.log)).open()


def test_a_log_that_the_anchor_has_never_seen_is_refused_until_it_is_trusted(
    hand: Hand, key_ring: KeyRing
) -> None:
    found = HeadReader(hand.log, "default", key_ring.node_id, anchor=Seen(None))

    with pytest.raises(LogNotTrustedError):
        found.open()
    assert found.open(trust_log=True).position == 1


def test_another_nodes_history_is_refused(hand: Hand, key_ring: KeyRing) -> None:
    with pytest.raises(ForeignLogError):
        reader(hand.log, KeyRing.ephemeral()).open()


# --- what an accepted rollback gave up ---------------------------------------------------------


@dataclass
class Branches:
    """A history that was lost, and the one that went on after its rollback was accepted."""

    lost: list[StoredEvent]
    kept: list[StoredEvent]
    seen_before: Mark
    seen_after: Mark


@pytest.fixture
def branches(hand: Hand, key_ring: KeyRing) -> Branches:
    for _ in range(4):
        hand.reset()
    lost, before = rows_in(hand.log), head_mark(hand.log)
    log = log_with(lost[:3])
    other = Hand(log, key_ring)
    other.reset("ops", "accepted", abandoned=Abandoned(before.position, before.digest))
    other.reset("ops", "after that")
    return Branches(lost, rows_in(log), before, head_mark(log))


def test_a_node_whose_anchor_stands_where_the_rollback_began_follows(
    branches: Branches, key_ring: KeyRing
) -> None:
    log = log_with(branches.kept)

    assert reader(log, key_ring, branches.seen_before).open().position == 5


def test_g5_a_log_cut_back_to_the_accepted_rollback_is_refused_by_who_saw_more(
    branches: Branches, key_ring: KeyRing
) -> None:
    log = log_with(branches.kept[:4])

    with pytest.raises(LogRolledBackError):
        reader(log, key_ring, branches.seen_after).open()


@pytest.mark.parametrize("which", ["seen_before", "seen_after"])
def test_g5_an_abandoned_event_put_after_the_accepted_rollback_is_refused(
    branches: Branches, key_ring: KeyRing, which: str
) -> None:
    log = log_with([*branches.kept[:4], branches.lost[4]])
    mark: Mark = getattr(branches, which)

    with pytest.raises(LogRolledBackError):
        reader(log, key_ring, Mark(mark.position, branches.seen_after.digest, "")).open()


def test_g5_a_seen_event_that_the_head_does_not_follow_is_no_witness(
    branches: Branches, key_ring: KeyRing
) -> None:
    """Row 4 of the kept history, and a genuine head of the lost one after it."""
    mark = reader(log_with(branches.kept[:4]), key_ring).open().mark
    log = log_with([*branches.kept[:4], branches.lost[4]])

    with pytest.raises(LogRolledBackError):
        reader(log, key_ring, mark).open()


# --- purges ------------------------------------------------------------------------------------


def test_a_purge_is_followed_by_a_running_reader(hand: Hand, key_ring: KeyRing) -> None:
    found = reader(hand.log, key_ring)
    found.open()
    hand.reset()
    hand.destroy()
    hand.purge()
    hand.generate()

    assert (found.get().position, found.get().keys.generation) == (5, 3)


def test_a_purge_is_no_rollback_for_an_anchor_that_saw_what_was_before(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.reset()
    mark = head_mark(hand.log)
    hand.purge()

    assert reader(hand.log, key_ring, mark).open().position == 3


@pytest.mark.parametrize("readings", [1, 2])
def test_g1_a_change_that_is_purged_while_it_is_read_back_was_there(
    hand: Hand, key_ring: KeyRing, monkeypatch: pytest.MonkeyPatch, readings: int
) -> None:
    found = reader(hand.log, key_ring)
    found.get()
    hand.reset()
    written = mark_in(hand.log)
    hand.reset()
    select, done = MemoryStore.select_events, []

    def purged_meanwhile(*args: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        rows = select(*args, **kwargs)
        done.append(rows)
        if len(done) == readings:
            hand.purge()  # by another process
        return rows

    monkeypatch.setattr(MemoryStore, "select_events", purged_meanwhile)

    assert found.holds(written.position, written.digest)


def test_g5_rows_of_a_stream_that_version_1_purged_are_refused(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.reset()
    hand.destroy()
    mark = mark_in(hand.log, purged=True)

    with pytest.raises(LogRolledBackError):
        reader(hand.log, key_ring, mark).open()
    assert reader(new_log(), key_ring, mark).open().position == 0
