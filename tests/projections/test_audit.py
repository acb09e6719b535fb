"""An audit says that an unaltered record holds, and what it was held against."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from eventsourcing.domain import Aggregate, event

import keyturn
from keyturn import (
    AuditReport,
    Checkpoint,
    EventLog,
    Finding,
    FindingKind,
    KeyRing,
    SessionKeys,
    audit,
)
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import Origin
from tests.projections.conftest import Hand
from tests.projections.sqlite_log import (
    KINDS,
    LAST,
    audit_file,
    audit_log,
    copy,
    execute,
    mark_of,
    opened,
    places,
    record,
    record_at_once,
)


class Visit(Aggregate):
    """What a host keeps in the same log."""

    @event("Visited")
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def path(tmp_path: Path, key_ring: KeyRing) -> Path:
    """A log with one history of all four kinds."""
    record(tmp_path / "log.db", key_ring)
    return tmp_path / "log.db"


def test_g5_an_unaltered_log_of_all_four_kinds_holds(hand: Hand, key_ring: KeyRing) -> None:
    hand.reset()
    hand.rotate(overlap=60)
    hand.destroy()
    hand.generate()

    report = audit(hand.log, node_id=key_ring.node_id)

    assert (report.holds, report.findings, report.events) == (True, (), 5)


def test_g5_an_unaltered_log_of_several_managers_holds(path: Path, key_ring: KeyRing) -> None:
    record(path, key_ring, "other")
    record(path, key_ring, "a third – with a space", ["generated", "rotated", "rotated"])
    record(path, key_ring, kinds=["rotated"])

    report = audit_file(path, node_id=key_ring.node_id)

    assert (report.holds, report.findings, report.events) == (True, (), 2 * len(KINDS) + 4)


def test_g5_a_service_that_resets_and_is_destroyed_leaves_a_record_that_holds(
    tmp_path: Path,
) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        service.reset_key("laptop stolen")
        service.stop()
        service.destroy()

    with keyturn.open(path=tmp_path, password=None) as service:
        report = service.audit()

    assert (report.holds, report.findings, report.events) == (True, (), 4)


def test_g5_a_purged_manager_leaves_a_record_that_holds(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None, name="gone") as gone:
        gone.stop()
        gone.destroy(purge=True)

    with keyturn.open(path=tmp_path, password=None) as service:
        report = service.audit()

    assert (report.holds, report.findings, report.events) == (True, (), 2)


def test_an_empty_log_holds(log: EventLog) -> None:
    report = audit_log(log)

    assert report == AuditReport(node_id=None, events=0, heads={}, findings=())
    assert report.holds


def test_g5_an_empty_log_that_the_anchor_has_seen_longer_is_truncated(
    path: Path, tmp_path: Path
) -> None:
    report = audit_file(tmp_path / "empty.db", marks={"default": mark_of(path)})

    assert places(report) == [(FindingKind.TRUNCATED, LAST)]
    assert not report.holds


# --- against the anchor and a checkpoint -------------------------------------------------------


def test_a_log_that_the_anchor_has_seen_holds(path: Path) -> None:
    assert audit_file(path, marks={"default": mark_of(path)}).findings == ()


def test_a_log_that_went_on_behind_its_anchor_holds(path: Path, key_ring: KeyRing) -> None:
    mark = mark_of(path)
    record(path, key_ring, kinds=["reset", "rotated"])

    report = audit_file(path, marks={"default": mark})

    assert (report.holds, report.findings) == (True, ())


@pytest.mark.parametrize("kept", range(1, LAST))
def test_g5_a_truncated_tail_is_found_against_the_anchor(path: Path, kept: int) -> None:
    mark = mark_of(path)
    execute(path, "DELETE FROM stored_events WHERE originator_version > ?", kept)

    report = audit_file(path, marks={"default": mark})

    assert places(report) == [(FindingKind.TRUNCATED, LAST)]


@pytest.mark.parametrize("kept", range(1, LAST))
def test_g5_a_truncated_tail_is_found_against_a_checkpoint(path: Path, kept: int) -> None:
    checkpoint = audit_file(path).heads["default"]
    execute(path, "DELETE FROM stored_events WHERE originator_version > ?", kept)

    report = audit_file(path, against=[checkpoint])

    assert places(report) == [(FindingKind.TRUNCATED, LAST)]


@pytest.mark.parametrize("witness", ["anchor", "checkpoint"])
@pytest.mark.parametrize(
    ("kinds", "finding"),
    [
        (["reset"], FindingKind.TRUNCATED),
        (["reset", "rotated"], FindingKind.ALTERED),
        (["reset", "rotated", "reset", "reset"], FindingKind.ALTERED),
    ],
)
def test_g5_a_fork_signed_by_the_same_key_ring_is_found(
    path: Path,
    tmp_path: Path,
    key_ring: KeyRing,
    kinds: list[str],
    finding: FindingKind,
    witness: str,
) -> None:
    old = copy(path, tmp_path / "old.db")
    record(path, key_ring, kinds=["reset", "reset"])
    head = audit_file(path).heads["default"]
    record(old, key_ring, kinds=kinds)

    if witness == "anchor":
        report = audit_file(old, marks={"default": mark_of(path)})
    else:
        report = audit_file(old, against=[head])

    assert places(report) == [(finding, head.position)]


def test_g5_events_of_two_forks_after_another_are_found_with_nothing_to_hold_against(
    path: Path, tmp_path: Path, key_ring: KeyRing
) -> None:
    fork = copy(path, tmp_path / "fork.db")
    record(path, key_ring, kinds=["reset", "reset"])
    record(fork, key_ring, kinds=["rotated", "rotated"])
    [row] = execute(fork, "SELECT * FROM stored_events ORDER BY rowid DESC LIMIT 1")
    execute(path, "DELETE FROM stored_events WHERE originator_version = ?", LAST + 2)
    execute(path, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *row)

    report = audit_file(path)

    assert places(report) == [(FindingKind.ALTERED, LAST + 2)]


def test_g5_a_history_that_begins_in_the_middle_of_another_is_found(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    keys = SessionKeys.blank("default")
    keys.digest = "f" * 64
    keys.regenerate(b"s" * 32, key_ring, Origin.now("alice"))
    with opened(tmp_path / "log.db") as log:
        log.append(keys)

    report = audit_file(tmp_path / "log.db")

    assert places(report) == [(FindingKind.ALTERED, 1)]


def test_a_mark_of_one_manager_says_nothing_of_another(path: Path, key_ring: KeyRing) -> None:
    record(path, key_ring, "other", ["generated"])
    mark = mark_of(path, "other")

    report = audit_file(path, marks={"other": mark, "default": mark_of(path)})

    assert report.findings == ()


def test_g5_a_manager_that_is_gone_as_a_whole_is_found_against_the_anchor(
    path: Path, key_ring: KeyRing
) -> None:
    report = audit_file(path, marks={"gone": Mark(3, "0" * 64, "")})

    assert [(f.kind, f.position, f.manager) for f in report.findings] == [
        (FindingKind.TRUNCATED, 3, "gone")
    ]


# --- another node ------------------------------------------------------------------------------


def test_g5_a_log_signed_anew_by_another_node_is_foreign_event_by_event(
    path: Path, key_ring: KeyRing
) -> None:
    report = audit_file(path, node_id=KeyRing.ephemeral().node_id)

    assert places(report) == [(FindingKind.FOREIGN, p) for p in range(1, LAST + 1)]


def test_g5_a_log_signed_anew_by_another_node_has_no_heads(path: Path) -> None:
    assert audit_file(path, node_id=KeyRing.ephemeral().node_id).heads == {}


def test_the_report_says_which_node_it_found(path: Path, key_ring: KeyRing) -> None:
    assert audit_file(path).node_id == key_ring.node_id


def test_g5_a_checkpoint_of_another_node_is_foreign(path: Path, tmp_path: Path) -> None:
    record(tmp_path / "other.db", KeyRing.ephemeral())
    checkpoint = audit_file(tmp_path / "other.db").heads["default"]

    report = audit_file(path, against=[checkpoint])

    assert places(report) == [(FindingKind.FOREIGN, LAST)]


# --- clocks, hosts, heads, progress ------------------------------------------------------------


def test_a_clock_that_went_back_is_a_warning_and_the_record_holds(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    record(tmp_path / "log.db", key_ring, kinds=["generated", "reset"], step=-timedelta(hours=1))

    report = audit_file(tmp_path / "log.db")

    message = "the clock went back by 1:00:00"
    assert report.findings == (Finding(FindingKind.CLOCK, 2, "default", message),)
    assert report.holds


def test_events_of_a_host_that_it_named_are_no_findings(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None, aggregates=[Visit]) as service:
        service.log.save(Visit("alice"))

        report = service.audit()

    assert (report.holds, report.events) == (True, 1)


def test_events_of_a_host_that_nobody_named_are_foreign(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None, aggregates=[Visit]) as service:
        service.log.save(Visit("alice"))

        report = audit_log(service.log)

    assert places(report) == [(FindingKind.FOREIGN, None)]


def test_the_heads_are_the_newest_events_of_each_manager(path: Path, key_ring: KeyRing) -> None:
    record(path, key_ring, "other", ["generated", "reset"])

    heads = audit_file(path).heads

    with opened(path) as log:
        newest = {
            name: Checkpoint.of(next(log.key_events(name, newest_first=True)))
            for name in ("default", "other")
        }
    assert heads == newest


def test_progress_is_told_every_500_events_and_at_the_end(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    record_at_once(tmp_path / "log.db", key_ring, resets=1002)
    told: list[int] = []

    audit_file(tmp_path / "log.db", progress=told.append)

    assert told == [500, 1000, 1003]


def test_an_audit_of_a_long_log_takes_no_more_memory(tmp_path: Path, key_ring: KeyRing) -> None:
    peaks = []
    for name, resets in (("warm", 10), ("short", 200), ("long", 2000)):
        record_at_once(tmp_path / name, key_ring, resets)
        with opened(tmp_path / name) as log:
            tracemalloc.start()
            audit_log(log)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    assert peaks[2] < 3 * peaks[1]  # ten times as many events
