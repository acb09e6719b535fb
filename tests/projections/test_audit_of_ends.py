"""Whose record it is and where it ends: an audit says what it knows of that [G5]."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn import EventLog, FindingKind, KeyRing, audit
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import (
    AnchorError,
    NodeIdError,
    NodeIdRequiredError,
    SettingsError,
)
from keyturn.domain.key_events import Abandoned
from keyturn.domain.session_keys import manager_id
from keyturn.projections.findings import HeldAgainst
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

ALTERED, PUT_BACK, TRUNCATED, ABANDONED = (
    FindingKind.ALTERED,
    FindingKind.PUT_BACK,
    FindingKind.TRUNCATED,
    FindingKind.ABANDONED,
)


@pytest.fixture
def log() -> EventLog:
    return new_log()


@pytest.fixture
def other(hand: Hand, key_ring: KeyRing) -> Hand:
    """A second manager in the same log."""
    other = Hand(hand.log, key_ring, "other")
    other.generate()
    return other


def head_of(log: EventLog, manager: str = "default") -> Checkpoint:
    return Checkpoint.of(next(log.key_events(manager, newest_first=True)))


# --- whose record ------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
def test_an_audit_must_be_told_whose_record_it_should_be(
    hand: Hand, key_ring: KeyRing, both: bool
) -> None:
    told: dict[str, Any] = {"node_id": key_ring.node_id, "any_node": True} if both else {}

    with pytest.raises(NodeIdRequiredError, match="whose record"):
        audit(hand.log, **told)


def test_what_is_no_node_id_is_an_error_and_no_finding(hand: Hand, key_ring: KeyRing) -> None:
    with pytest.raises(NodeIdError):
        audit(hand.log, node_id=f" {key_ring.node_id}")


def test_g5_the_log_of_a_stranger_does_not_hold_for_our_node(hand: Hand) -> None:
    report = audit(hand.log, node_id=KeyRing.ephemeral().node_id)

    assert places(report) == [(FindingKind.FOREIGN, 1)]


def test_a_record_of_any_node_holds_and_the_verdict_says_that_nobody_was_expected(
    hand: Hand, key_ring: KeyRing
) -> None:
    report = audit(hand.log, any_node=True)

    assert (report.holds, report.node_id) == (True, key_ring.node_id)
    assert report.held_against == HeldAgainst(None)


# --- what is known of the end, per manager -----------------------------------------------------


def test_g5_a_checkpoint_of_one_manager_knows_nothing_of_the_end_of_another(
    hand: Hand, other: Hand, key_ring: KeyRing
) -> None:
    report = audit(hand.log, node_id=key_ring.node_id, against=[head_of(hand.log)])

    assert report.held_against.checkpoints == {"default": (1,)}
    assert (set(report.ends_known), report.ends_unknown) == ({"default"}, ("other",))
    assert (report.holds, report.is_end_known) == (True, False)


def test_g5_a_checkpoint_knows_nothing_of_what_came_after_it(
    hand: Hand, key_ring: KeyRing
) -> None:
    kept = head_of(hand.log)
    hand.reset()
    cut = log_with(rows_in(hand.log)[:1])
    anchor = Marks(default=mark_in(hand.log))

    with_anchor = audit(hand.log, node_id=key_ring.node_id, anchor=anchor, against=[kept])
    [caveat] = audit(cut, node_id=key_ring.node_id, against=[kept]).caveats

    assert "until position 1: nobody can tell whether what came after" in caveat
    assert with_anchor.caveats == ()


def test_g5_an_anchor_entry_of_one_manager_knows_nothing_of_the_end_of_another(
    hand: Hand, other: Hand, key_ring: KeyRing
) -> None:
    anchor = Marks(other=mark_in(hand.log, "other"))

    report = audit(hand.log, node_id=key_ring.node_id, anchor=anchor)

    assert report.held_against.anchor == {"other": 1}
    assert (report.ends_unknown, report.is_end_known) == (("default",), False)


def test_the_end_is_known_once_that_of_every_manager_is(
    hand: Hand, other: Hand, key_ring: KeyRing
) -> None:
    anchor = Marks(other=mark_in(hand.log, "other"))

    report = audit(hand.log, node_id=key_ring.node_id, anchor=anchor, against=[head_of(hand.log)])

    assert report.is_end_known


def test_of_an_empty_log_no_end_is_known(log: EventLog, key_ring: KeyRing) -> None:
    assert not audit(log, node_id=key_ring.node_id).is_end_known


def test_g5_each_of_several_checkpoints_is_held_against_the_log(
    hand: Hand, key_ring: KeyRing
) -> None:
    points = [head_of(hand.log)]
    for _ in range(2):
        hand.reset()
        points.append(head_of(hand.log))
    cut = log_with(rows_in(hand.log)[:2])

    report = audit(cut, node_id=key_ring.node_id, against=points)

    assert report.held_against.checkpoints == {"default": (1, 2, 3)}
    assert places(report) == [(TRUNCATED, 3)]


def test_a_mark_that_the_anchor_has_by_the_id_alone_is_of_its_manager(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.reset()
    anchor = Marks({manager_id("default").hex: mark_in(hand.log)})
    cut = log_with(rows_in(hand.log)[:1])

    whole, truncated = (
        audit(log, node_id=key_ring.node_id, anchor=anchor) for log in (hand.log, cut)
    )

    assert (whole.is_end_known, whole.findings) == (True, ())
    assert [(f.kind, f.manager) for f in truncated.findings] == [(TRUNCATED, "default")]


def test_g5_an_anchor_that_is_damaged_is_a_finding(hand: Hand, key_ring: KeyRing) -> None:
    class Damaged:
        def marks(self) -> Marks:
            raise AnchorError("the anchor data/anchor.json is of no use")

    report = audit(hand.log, node_id=key_ring.node_id, anchor=Damaged())

    assert [(f.kind, f.message) for f in report.findings] == [
        (ALTERED, "the anchor data/anchor.json is of no use")
    ]


# --- purged ------------------------------------------------------------------------------------


def test_g5_a_purge_leaves_one_row_and_the_record_holds(hand: Hand, key_ring: KeyRing) -> None:
    hand.reset()
    hand.purge()

    report = audit(hand.log, node_id=key_ring.node_id)

    assert (report.events, report.findings, report.heads["default"].position) == (1, (), 3)


def test_g5_a_history_that_goes_on_after_a_purge_holds(hand: Hand, key_ring: KeyRing) -> None:
    before = mark_in(hand.log)
    hand.purge()
    hand.generate()
    hand.reset()

    report = audit(hand.log, node_id=key_ring.node_id, anchor=Marks(default=before))

    assert (report.events, report.findings) == (3, ())


@pytest.mark.parametrize("written", ["before", "after"])
@pytest.mark.parametrize("came_back", [[1, 2, 3], [2, 3], [1], [1, 3]])
def test_g5_rows_that_come_back_after_a_purge_are_found(
    hand: Hand, key_ring: KeyRing, came_back: list[int], written: str
) -> None:
    hand.reset()
    hand.reset()
    purged = [rows_in(hand.log)[position - 1] for position in came_back]
    hand.purge()
    hand.generate()
    kept = rows_in(hand.log)

    report = audit(
        log_with([*purged, *kept] if written == "before" else [*kept, *purged]),
        node_id=key_ring.node_id,
    )

    assert places(report) == [(PUT_BACK, came_back[0])]


def test_g5_rows_of_a_stream_that_version_1_purged_are_found_if_they_come_back(
    hand: Hand, key_ring: KeyRing
) -> None:
    hand.reset()
    anchor = Marks(default=mark_in(hand.log, purged=True))
    some = log_with(rows_in(hand.log)[:1])

    reports = [audit(log, node_id=key_ring.node_id, anchor=anchor) for log in (hand.log, some)]

    assert [places(report) for report in reports] == [[(PUT_BACK, 1)], [(PUT_BACK, 1)]]


def test_a_stream_that_version_1_purged_and_that_is_gone_holds(
    hand: Hand, key_ring: KeyRing
) -> None:
    anchor = Marks(default=mark_in(hand.log, purged=True))

    report = audit(new_log(), node_id=key_ring.node_id, anchor=anchor)

    assert (report.holds, report.findings) == (True, ())


# --- an accepted rollback ----------------------------------------------------------------------


def rolled_back(hand: Hand, key_ring: KeyRing, *, accepted: bool) -> tuple[EventLog, Checkpoint]:
    """A log cut back from position 3 to 1 that went on, and a checkpoint of what was lost."""
    hand.reset()
    hand.reset()
    lost = head_of(hand.log)
    log = log_with(rows_in(hand.log)[:1])
    abandoned = Abandoned(lost.position, lost.digest) if accepted else None
    Hand(log, key_ring).reset("alice", "restored", abandoned=abandoned)
    return log, lost


@pytest.mark.parametrize("witness", ["anchor", "checkpoint"])
def test_an_event_that_an_accepted_rollback_abandoned_is_a_warning(
    hand: Hand, key_ring: KeyRing, witness: str
) -> None:
    log, lost = rolled_back(hand, key_ring, accepted=True)
    against: dict[str, Any] = (
        {"against": [lost]}
        if witness == "checkpoint"
        else {"anchor": Marks(default=mark_in(hand.log))}
    )

    report = audit(log, node_id=key_ring.node_id, **against)

    assert places(report) == [(ABANDONED, 3)]
    assert "accepted at position 2" in report.findings[0].message
    assert (report.holds, report.is_end_known) == (True, False)


def test_g5_a_rollback_that_nobody_accepted_does_not_hold(hand: Hand, key_ring: KeyRing) -> None:
    log, lost = rolled_back(hand, key_ring, accepted=False)

    report = audit(log, node_id=key_ring.node_id, against=[lost])

    assert places(report) == [(TRUNCATED, 3)]


def test_a_checkpoint_from_before_an_accepted_rollback_counts_on(
    hand: Hand, key_ring: KeyRing
) -> None:
    kept = head_of(hand.log)
    log, _ = rolled_back(hand, key_ring, accepted=True)

    report = audit(log, node_id=key_ring.node_id, against=[kept])

    assert (kinds(report), report.is_end_known) == ([], True)


# --- a host's topics ---------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["keyturn.KeyReset", "keyturn.SessionEnded", "keyturn.New"])
def test_g5_our_own_topic_is_never_a_hosts(hand: Hand, key_ring: KeyRing, topic: str) -> None:
    with pytest.raises(SettingsError, match="Keyturn's own"):
        audit(hand.log, node_id=key_ring.node_id, host_topics=["host:Visited", topic])
