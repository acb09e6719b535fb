"""An audit reads the head of each manager as a service does, and says where that differs [G5]."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from keyturn import EventLog, FindingKind, KeyRing, audit
from keyturn.config.memory import MemoryStore
from keyturn.domain import chain
from keyturn.domain.key_log import Row
from keyturn.domain.session_keys import Origin
from keyturn.projections.head_reader import HeadReader
from tests.projections.conftest import Hand
from tests.projections.memory_log import (
    Marks,
    kinds,
    log_with,
    mark_in,
    new_log,
    places,
    rows_in,
)


@pytest.fixture
def log() -> EventLog:
    return new_log()


class HidesTheNewest(MemoryStore):
    """Like an index whose newest cell was moved, or a view: by it the last row is not there."""

    def select_events(
        self, originator_id: Any, *, lte: int | None = None, **kwargs: Any
    ) -> Sequence[StoredEvent]:
        newest = max(event.originator_version for event in self._written.values())
        shown = newest - 1 if lte is None else min(lte, newest - 1)
        return super().select_events(originator_id, lte=shown, **kwargs)


class HidesTheNewestFromAudits(MemoryStore):
    """The other way round: services see a row that looking at the table does not show."""

    def rows(self) -> Iterator[Row]:
        yield from list(super().rows())[:-1]


class IsTrifledWith(MemoryStore):
    def schema_problems(self) -> list[str]:
        return ["there is a trigger, undo_resets", "the table is a view"]


class GoesOnMeanwhile(MemoryStore):
    """Another process resets the key once the rows were read."""

    after_rows: Any = None

    def rows(self) -> Iterator[Row]:
        yield from list(super().rows())
        if self.after_rows is not None:
            after_rows, type(self).after_rows = self.after_rows, None
            after_rows()


def test_g5_a_head_that_a_service_reads_otherwise_than_the_rows_say_is_found(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.reset()
    hand.reset()

    report = audit(log_with(rows_in(hand.log), HidesTheNewest), node_id=key_ring.node_id)

    assert places(report) == [(FindingKind.READER, 2)]
    assert report.heads["default"].position == 3


def test_g5_a_row_that_only_a_service_sees_is_found_against_the_anchor(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.reset()
    log = log_with(rows_in(hand.log), HidesTheNewestFromAudits)

    report = audit(log, node_id=key_ring.node_id, anchor=Marks(default=mark_in(hand.log)))

    assert places(report) == [(FindingKind.TRUNCATED, 2)]


def test_what_others_write_during_an_audit_is_no_finding(hand: Hand, key_ring: KeyRing) -> None:
    log = log_with(rows_in(hand.log), GoesOnMeanwhile)
    for change in (Hand(log, key_ring).reset, Hand(log, key_ring).purge):
        GoesOnMeanwhile.after_rows = staticmethod(change)

        report = audit(log, node_id=key_ring.node_id)

        assert GoesOnMeanwhile.after_rows is None
        assert report.findings == ()


def test_g5_what_is_wrong_with_the_store_itself_is_found_line_by_line(
    hand: Hand, key_ring: KeyRing
) -> None:
    report = audit(log_with(rows_in(hand.log), IsTrifledWith), node_id=key_ring.node_id)

    assert [(f.kind, f.message) for f in report.findings] == [
        (FindingKind.STORE, "there is a trigger, undo_resets"),
        (FindingKind.STORE, "the table is a view"),
    ]
    assert not report.holds


# --- from where on the log must be read --------------------------------------------------------


def signed_anew(key_ring: KeyRing, row: StoredEvent, **changes: object) -> StoredEvent:
    """A row as a faulty version would have written it."""
    fields = {**chain.decode_state(row), **changes}
    id_, position = row.originator_id, row.originator_version
    assert not isinstance(id_, str)
    digest = chain.digest(row.topic, id_, position, fields)
    fields["signature"] = chain.sign(key_ring, id_, position, digest)
    return replace(row, state=chain.encode_state(fields))


@pytest.mark.parametrize("since", [1, 3, 5])
def test_g5_an_event_with_a_wrong_since_is_found(
    hand: Hand, key_ring: KeyRing, since: int
) -> None:
    hand.reset()
    hand.end_session("s1")
    hand.end_session("s2")
    hand.rotate(overlap=10**6)
    rows = rows_in(hand.log)
    rows[3] = signed_anew(key_ring, rows[3], since=since)

    report = audit(log_with(rows[:4]), node_id=key_ring.node_id)

    assert (FindingKind.ALTERED, 4) in places(report)
    assert any("its `since` is" in finding.message for finding in report.findings)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_written_by_who_reads_from_since_on_holds_as_a_whole(
    key_ring: KeyRing, seed: int
) -> None:
    log, chance = new_log(), random.Random(seed)
    hand = Hand(log, key_ring)
    for _ in range(120):
        keys = HeadReader(log, "default", key_ring.node_id).get().keys.draft()
        by = hand.by("alice", None)
        if keys.is_destroyed:
            keys.regenerate(secrets.token_bytes(32), key_ring, by)
        else:
            change(keys, key_ring, by, chance)
        assert log.append(keys)

    report = audit(log, node_id=key_ring.node_id)

    assert (report.events, report.findings) == (120, ())


def change(keys: Any, key_ring: KeyRing, by: Origin, chance: random.Random) -> None:
    secret, subject = secrets.token_bytes(32), chance.choice("ab")
    keep = chance.choice([None, "s1", "s2"])
    match chance.choices(["end", "end all", "rotate", "reset", "destroy"], [10, 8, 8, 1, 1]):
        case ["end"]:
            keys.end_session(f"s{chance.randrange(9)}", key_ring, by)
        case ["end all"]:
            keys.end_sessions(subject, key_ring, by, keep=keep)
        case ["rotate"]:  # the events are an hour apart
            keys.rotate(secret, key_ring, by, overlap=chance.choice([0, 3000, 9000, 30_000]))
        case ["reset"]:
            keys.reset(secret, key_ring, by)
        case _:
            keys.destroy(key_ring, by)


# --- quick -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("position", [1, 2, 3, 4])
def test_g5_an_event_with_another_reason_is_found_by_a_quick_audit_too(
    hand: Hand, key_ring: KeyRing, position: int, quick: bool
) -> None:
    for _ in range(3):
        hand.reset(reason="honest")
    rows = rows_in(hand.log)
    state = chain.decode_state(rows[position - 1]) | {"reason": "forged"}
    rows[position - 1] = replace(rows[position - 1], state=chain.encode_state(state))

    report = audit(log_with(rows), node_id=key_ring.node_id, quick=quick)

    assert FindingKind.ALTERED in kinds(report)


def test_g5_a_quick_audit_finds_a_history_that_was_made_up(hand: Hand, key_ring: KeyRing) -> None:
    stranger = KeyRing.ephemeral()
    forged = new_log()
    writer = Hand(forged, stranger)
    writer.generate()
    writer.reset()
    rows = [
        replace(
            row, state=row.state.replace(stranger.node_id.encode(), key_ring.node_id.encode())
        )
        for row in rows_in(forged)
    ]

    report = audit(log_with(rows), node_id=key_ring.node_id, quick=True)

    assert FindingKind.ALTERED in kinds(report)
