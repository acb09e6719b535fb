"""What an audit hands on for people to see: genuine events, and beside them what others claim."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from keyturn import AuditReport, KeyRing
from keyturn.domain.key_events import KeyEvent
from keyturn.projections.findings import Finding, FindingKind, NodeIdFrom
from keyturn.projections.history import KeyChange, changes_of
from keyturn.projections.unproven import MAX_TEXT
from tests.projections.sqlite_log import POSITIONS, audit_file, execute, record
from tests.projections.test_audit_of_moved_rows import append_signed


@pytest.fixture
def path(tmp_path: Path, key_ring: KeyRing) -> Path:
    record(tmp_path / "log.db", key_ring)
    return tmp_path / "log.db"


def audited(path: Path, key_ring: KeyRing) -> tuple[AuditReport, list[KeyChange]]:
    events: list[KeyEvent] = []
    report = audit_file(path, node_id=key_ring.node_id, on_event=events.append)
    return report, changes_of(events).get("default", [])


def the(kind: FindingKind, report: AuditReport) -> Finding:
    [finding] = [finding for finding in report.findings if finding.kind is kind]
    return finding


def test_every_event_of_a_sound_log_is_handed_out(path: Path, key_ring: KeyRing) -> None:
    report, changes = audited(path, key_ring)

    assert report.holds
    assert [change.position for change in changes] == list(POSITIONS)


def test_g5_a_strangers_row_never_takes_the_place_of_a_genuine_one(
    path: Path, key_ring: KeyRing
) -> None:
    execute(path, "DELETE FROM stored_events WHERE originator_version = 3")
    append_signed(path, KeyRing.ephemeral(), 3, initiator="eve", reason="as ever")

    report, changes = audited(path, key_ring)

    assert [change.position for change in changes] == [1, 2, 4, 5, 6]
    assert "eve" not in {change.initiator for change in changes}
    said = the(FindingKind.FOREIGN, report).unproven
    assert said is not None
    assert (said.kind, said.initiator, said.reason) == ("reset", "eve", "as ever")


def test_g5_an_altered_row_says_what_it_claims(path: Path, key_ring: KeyRing) -> None:
    [(state,)] = execute(path, "SELECT state FROM stored_events WHERE originator_version = 2")
    claimed = json.dumps({**json.loads(state), "initiator": "mallory", "reason": "x" * 5_000})
    execute(
        path,
        "UPDATE stored_events SET state = ? WHERE originator_version = 2",
        claimed.encode(),
    )

    report, changes = audited(path, key_ring)

    assert 2 not in [change.position for change in changes]
    said = the(FindingKind.ALTERED, report).unproven
    assert said is not None
    assert (said.kind, said.initiator, said.generation) == ("reset", "mallory", 2)
    assert len(said.reason or "") == MAX_TEXT


@pytest.mark.parametrize("state", [b"\xff", b"[1]", b'{"initiator":7,"generation":"x"}', "text"])
def test_g5_a_row_that_cannot_be_read_claims_nothing_more(
    path: Path, key_ring: KeyRing, state: object
) -> None:
    execute(path, "UPDATE stored_events SET state = ? WHERE originator_version = 2", state)

    said = the(FindingKind.ALTERED, audited(path, key_ring)[0]).unproven

    assert said is not None
    assert (said.kind, said.initiator, said.generation) == ("reset", None, None)


def test_g5_a_finding_of_missing_events_says_the_last_of_them(
    path: Path, key_ring: KeyRing
) -> None:
    execute(path, "DELETE FROM stored_events WHERE originator_version IN (2, 3, 5)")

    report, _ = audited(path, key_ring)

    assert [(f.position, f.last, f.unproven) for f in report.findings] == [
        (2, 3, None),
        (5, None, None),
    ]


def test_an_event_that_was_written_late_is_shown_at_its_place(
    path: Path, key_ring: KeyRing
) -> None:
    execute(
        path,
        "UPDATE stored_events SET rowid = rowid + 100 WHERE originator_version = 3",
    )

    report, changes = audited(path, key_ring)

    assert [change.position for change in changes] == list(POSITIONS)
    late = the(FindingKind.REORDERED, report)
    assert (late.position, late.unproven) == (3, None)


def test_the_report_says_who_named_the_node(path: Path, key_ring: KeyRing) -> None:
    told = audit_file(path, node_id=key_ring.node_id)
    own = audit_file(path, node_id=key_ring.node_id, node_id_from=NodeIdFrom.KEY_RING)
    nobody = audit_file(path)

    sources = [report.held_against.node_id_from for report in (told, own, nobody)]
    assert sources == [NodeIdFrom.CALLER, NodeIdFrom.KEY_RING, None]


def test_a_quick_audit_says_what_it_does_not_show(path: Path, key_ring: KeyRing) -> None:
    quick = audit_file(path, node_id=key_ring.node_id, quick=True)
    full = audit_file(path, node_id=key_ring.node_id)

    assert any("quick audit" in caveat for caveat in quick.caveats)
    assert not any("quick audit" in caveat for caveat in full.caveats)


def test_a_lifetime_below_zero_says_that_the_clock_went_back(
    tmp_path: Path, key_ring: KeyRing
) -> None:
    path = tmp_path / "back.db"
    record(path, key_ring, kinds=["generated", "reset"], step=timedelta(hours=-1))

    _, changes = audited(path, key_ring)

    assert [change.clock_went_back for change in changes] == [True, False]
