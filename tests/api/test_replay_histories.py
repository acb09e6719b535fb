"""Replays of histories from production: tokens of the past, subscribers, a host's aggregates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pykka
import pytest
from eventsourcing.domain import Aggregate

from keyturn import (
    KeyRing,
    ResetKey,
    SessionKeys,
    Stop,
    open_event_log,
)
from keyturn.actors.key_writer import new_secret
from keyturn.domain.errors import (
    ExportError,
)
from keyturn.domain.session_keys import Origin
from keyturn.projections.export import export_lines
from keyturn.testing import (
    ClockedService,
    Destroyed,
    Generated,
    ManualClock,
    Replay,
    Reset,
    Rotated,
)

YEAR = 365 * 86400


class Listener(pykka.ThreadingActor):
    """A host's subscriber that remembers what it is told; asked for it, it replies."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def on_receive(self, message: Any) -> list[str]:
        if message != "what were you told?":
            self.told.append(type(message).__name__)
        return self.told


@pytest.fixture
def listener() -> Iterator[pykka.ActorRef[Listener]]:
    ref = Listener.start()
    yield ref
    ref.stop()


def told(ref: pykka.ActorRef[Listener]) -> list[str]:
    return list(ref.ask("what were you told?", timeout=10))


class Account(Aggregate):
    """An aggregate of a host."""


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export of the log of a node in production, with two managers."""
    key_ring, at = KeyRing.ephemeral(), datetime(2025, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
    log = open_event_log("memory:")
    keys = SessionKeys.blank("default")
    keys.regenerate(new_secret(), key_ring, Origin("ops@web1", None, at))
    keys.rotate(new_secret(), key_ring, Origin("cron", None, at + timedelta(days=1)), overlap=600)
    at += timedelta(days=2)
    keys.reset(new_secret(), key_ring, Origin("alice", "laptop stolen", at))
    other = SessionKeys.blank("agents")
    other.regenerate(new_secret(), key_ring, Origin("bob", None, at))
    log.append(keys, other)
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(export_lines(log.rows(), key_ring.node_id)))
    log.close()
    return path


# --- tokens of the past ------------------------------------------------------------------------


def test_a_token_of_any_generation_can_be_minted() -> None:
    with Replay() as replay:
        replay.given(
            Generated(age=YEAR), Reset(age=3600, reason="leak", initiator="bob"), Reset()
        )

        reports = [replay.service.inspect_token(replay.token(g)) for g in (1, 2, 3)]

        assert [(r.valid, r.generation) for r in reports] == [(False, 1), (False, 2), (True, 3)]
        assert (reports[0].revoked_because, reports[0].revoked_by) == ("leak", "bob")


def test_a_token_is_as_old_as_it_is_told() -> None:
    with Replay(expiry=3600) as replay:
        ages = [replay.token(age=age) for age in (0, 3500, 3700)]

        assert [replay.service.verify_token(token) for token in ages] == [True, True, False]


def test_a_token_has_the_claims_subject_and_expiry_it_is_told() -> None:
    with Replay() as replay:
        token = replay.token(age=100 * YEAR // 100, expiry=None, subject="alice", role="admin")

        claims = replay.service.inspect_token(token).claims

        assert claims is not None
        assert (claims["sub"], claims["role"], "exp" in claims) == ("alice", "admin", False)


def test_a_token_of_an_ended_key_is_from_its_last_moment_unless_told() -> None:
    with Replay(clock=ManualClock(2_000_000_000)) as replay:
        replay.given(Generated(age=9000), Reset(age=500))

        claims = replay.service.inspect_token(replay.token(generation=1)).claims

        assert claims is not None
        assert claims["iat"] == 1_999_999_500


def test_there_is_no_token_of_a_generation_that_never_was() -> None:
    with Replay() as replay, pytest.raises(ValueError, match="no generation 3"):
        replay.given(Reset()).token(generation=3)


# --- an export as the given --------------------------------------------------------------------


def test_a_loaded_history_is_that_of_the_export_with_other_keys(export: Path) -> None:
    with Replay() as replay:
        replay.load(export)

        changes = list(replay.service.history())

        assert [(c.kind, c.generation, c.initiator, c.reason) for c in changes] == [
            ("generated", 1, "ops@web1", None),
            ("rotated", 2, "cron", None),
            ("reset", 3, "alice", "laptop stolen"),
        ]
        assert [c.at.isoformat() for c in changes][::2] == [
            "2025-03-01T12:00:00.250000+00:00",
            "2025-03-03T12:00:00.250000+00:00",
        ]
        assert {c.node_id for c in changes} == {replay.service.node_id}
        assert replay.service.audit().findings == ()


def test_a_loaded_history_goes_on(export: Path) -> None:
    with Replay() as replay:
        replay.load(export).given(Reset(reason="since then")).when(ResetKey()).then(
            Reset(generation=5)
        )


def test_a_history_may_be_loaded_when_the_service_runs_already(export: Path) -> None:
    with Replay() as replay:
        service = replay.service

        replay.load(export)

        assert service.checkpoint().position == 3
        assert service.verify_token(replay.token(generation=3))


def test_a_token_of_a_loaded_generation_is_refused_with_what_happened(export: Path) -> None:
    with Replay() as replay:
        token = replay.load(export).token(generation=2, expiry=None)

        report = replay.service.inspect_token(token)

        assert (report.valid, report.revoked_because) == (False, "laptop stolen")


def test_the_history_of_another_manager_can_be_loaded(export: Path) -> None:
    with Replay() as replay:
        replay.load(export, name="agents")

        assert [change.initiator for change in replay.service.history()] == ["bob"]


def test_a_manager_without_history_in_the_export_is_an_error_that_names_the_others(
    export: Path,
) -> None:
    with Replay() as replay, pytest.raises(ValueError, match="only of 'agents', 'default'"):
        replay.load(export, name="web")


def test_a_damaged_export_is_refused_with_the_line(export: Path) -> None:
    export.write_bytes(export.read_bytes().replace(b"laptop stolen", b"laptop bought"))

    with Replay() as replay, pytest.raises(ExportError) as caught:
        replay.load(export)

    assert caught.value.line == 4


def test_nothing_is_loaded_over_what_happened(export: Path) -> None:
    with Replay() as replay, pytest.raises(ValueError, match="load a history first"):
        replay.given(Reset()).load(export)


def test_the_manager_cannot_change_when_its_service_runs_already(export: Path) -> None:
    with Replay() as replay, pytest.raises(ValueError, match="load a history first"):
        replay.when(Stop()).load(export, name="agents")


# --- a host's own subscriber and its aggregates ----------------------------------------


def test_a_subscriber_is_told_the_past_and_then_what_follows(
    listener: pykka.ActorRef[Listener], export: Path
) -> None:
    with Replay() as replay:
        replay.load(export).subscriber(listener).when(ResetKey()).given(Rotated(overlap=5))

        assert told(listener) == [
            "KeyGenerated",
            "KeyRotated",
            "KeyReset",
            "KeyReset",
            "KeyRotated",
        ]


def test_a_subscriber_is_told_the_same_whenever_it_came(
    listener: pykka.ActorRef[Listener],
) -> None:
    late = Listener.start()
    with Replay() as replay:
        replay.given(Generated()).subscriber(listener).given(Reset(), Destroyed(), Generated())
        replay.subscriber(late).when(ResetKey()).when(Stop())

        assert told(late) == told(listener)
        assert told(late)[-2:] == ["KeyReset", "ManagerStopped"]
    late.stop()


def test_a_history_that_begins_comes_before_its_subscribers(
    listener: pykka.ActorRef[Listener],
) -> None:
    with Replay() as replay, pytest.raises(ValueError, match="before its subscribers"):
        replay.subscriber(listener).given(Generated())


def test_a_subscriber_of_a_fresh_service_is_told_of_its_key(
    listener: pykka.ActorRef[Listener],
) -> None:
    with Replay() as replay:
        replay.subscriber(listener).given(Reset())

        assert told(listener) == ["KeyGenerated", "KeyReset"]


def test_a_host_may_keep_its_aggregates_in_the_same_replay() -> None:
    def open_account(service: ClockedService) -> UUID:
        account = Account()
        with service.transaction() as tran:
            service.reset_key(tran=tran)
            tran.save(account)
        return account.id

    with Replay(aggregates=[Account]) as replay:
        replay.when(open_account).then(Reset())

        assert isinstance(replay.service.log.repository.get(replay.reply), Account)
