"""Rotation: a new key at once, and the old one good until its overlap ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import keyturn
from keyturn import Refusal, Service, Subscribe
from keyturn.domain import tokens
from keyturn.domain.claims import MAX_OVERLAP
from keyturn.domain.errors import (
    AuditTextError,
    ExpiryError,
    OverlapLimitError,
    SessionManagerNotRunningError,
)
from keyturn.domain.session_keys import MAX_RETIRING
from keyturn.testing import ManualClock
from tests.actors.conftest import Ear
from tests.actors.in_memory import call_style  # noqa: F401 - a fixture
from tests.actors.ways import Way

BAD_OVERLAPS = [-1, 0.5, 60.0, True, None, "60", float("nan"), float("inf"), 10**400]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
def stored_service(clock: ManualClock) -> Iterator[Service]:
    """A service in memory, whose clock the test moves: none of this depends on the store."""
    with keyturn.open(store="memory:", password=None, expiry=None, clock=clock) as service:
        yield service


def generation_of(service: Service, token: str) -> int | None:
    return service.inspect_token(token).generation


# --- overlap -----------------------------------------------------------------------------------


def test_an_old_token_is_good_until_the_overlap_ends(manager: Way, clock: ManualClock) -> None:
    token = manager.create_token()

    manager.rotate_key(60)

    verdicts = [manager.verify_token(token)]
    for seconds in (59, 1):
        clock.advance(seconds)
        verdicts.append(manager.verify_token(token))
    assert verdicts == [True, True, False]


def test_new_and_refreshed_tokens_are_under_the_new_key(
    manager: Way, stored_service: Service, clock: ManualClock
) -> None:
    old = manager.create_token(subject="alice")

    manager.rotate_key(60)

    new, refreshed = manager.create_token(), manager.refresh_token(old)
    clock.advance(61)
    assert [generation_of(stored_service, t) for t in (old, new, refreshed)] == [1, 2, 2]
    assert [manager.verify_token(t) for t in (old, new, refreshed)] == [False, True, True]


def test_g2_a_reset_ends_an_overlap_at_once(manager: Way) -> None:
    first = manager.create_token()
    manager.rotate_key(3600)
    second = manager.create_token()

    manager.reset_key()

    assert [manager.verify_token(token) for token in (first, second)] == [False, False]


def test_a_rotation_without_overlap_ends_the_old_key_at_once(manager: Way) -> None:
    token = manager.create_token()

    manager.rotate_key(0)

    assert not manager.verify_token(token)
    assert manager.inspect_token(token).refusal is Refusal.REVOKED


def test_each_of_several_rotations_keeps_its_own_overlap(
    manager: Way, clock: ManualClock
) -> None:
    held = []
    for overlap in (50, 10, 30):
        held.append(manager.create_token())
        manager.rotate_key(overlap)
    held.append(manager.create_token())

    verdicts = []
    for seconds in (0, 10, 20, 20):
        clock.advance(seconds)
        verdicts.append([manager.verify_token(token) for token in held])

    assert verdicts == [
        [True, True, True, True],
        [True, False, True, True],
        [True, False, False, True],
        [False, False, False, True],
    ]


def test_a_token_in_overlap_cannot_be_refreshed_once_that_has_ended(
    manager: Way, clock: ManualClock
) -> None:
    token = manager.create_token()
    manager.rotate_key(60)
    clock.advance(60)

    with pytest.raises(keyturn.TokenRefusedError) as caught:
        manager.refresh_token(token)

    assert caught.value.reason is Refusal.REVOKED


def test_g2_other_managers_of_the_log_know_the_overlap_too(
    tmp_path: Path, clock: ManualClock
) -> None:
    with (
        keyturn.open(path=tmp_path / "data", password=None, clock=clock) as service,
        keyturn.open(path=tmp_path / "data", password=None, clock=clock) as other,
    ):
        token = service.create_token()
        service.rotate_key(60)

        verdicts = [other.verify_token(token), service.verify_token(other.create_token())]
        clock.advance(60)
        verdicts.append(other.verify_token(token))

    assert verdicts == [True, True, False]


# --- the record --------------------------------------------------------------------------------


def test_inspecting_says_when_an_overlap_ended_and_who_began_it(
    manager: Way, stored_service: Service, clock: ManualClock
) -> None:
    token = manager.create_token()
    manager.rotate_key(60, "monthly", "carol")
    during = manager.inspect_token(token)
    clock.advance(90)

    after = manager.inspect_token(token)

    *_, rotation = stored_service.history()
    assert (during.valid, during.revoked_at, during.revoked_by) == (True, None, None)
    assert after.refusal is Refusal.REVOKED
    assert after.revoked_at is not None
    assert (after.revoked_at - rotation.at).total_seconds() == 60
    assert (after.revoked_by, after.revoked_because) == ("carol", "monthly")


def test_a_rotation_is_in_the_history_and_the_record_holds(
    manager: Way, stored_service: Service
) -> None:
    manager.rotate_key(60, "monthly", "carol")
    manager.rotate_key(0)

    rows = [(c.kind, c.generation, c.initiator, c.reason) for c in stored_service.history()]

    assert rows[1:2] == [("rotated", 2, "carol", "monthly")]
    assert [row[:2] for row in rows] == [("generated", 1), ("rotated", 2), ("rotated", 3)]
    assert stored_service.audit().holds


def test_subscribers_are_told_of_a_rotation(
    manager: Way, stored_service: Service, ear: Ear
) -> None:
    keyturn.ask(stored_service.manager, Subscribe(ear.ref))

    manager.rotate_key(60)

    event = ear.next()
    assert (event.kind, event.overlap) == ("rotated", 60)


# --- bad input and limits ----------------------------------------------------------------------


def test_g8_a_bad_overlap_is_refused_and_nothing_is_written(
    manager: Way, stored_service: Service
) -> None:
    token = manager.create_token()

    for overlap in [*BAD_OVERLAPS, MAX_OVERLAP + 1]:
        with pytest.raises(ExpiryError, match="whole number of seconds"):
            manager.rotate_key(overlap)

    assert len(list(stored_service.history())) == 1
    assert manager.verify_token(token)


def test_g8_a_bad_reason_is_refused_and_nothing_is_written(
    manager: Way, stored_service: Service
) -> None:
    with pytest.raises(AuditTextError):
        manager.rotate_key(60, "x" * 1001)

    assert len(list(stored_service.history())) == 1


def test_a_stopped_manager_does_not_rotate(manager: Way, stored_service: Service) -> None:
    manager.stop()

    with pytest.raises(SessionManagerNotRunningError):
        manager.rotate_key(60)

    assert len(list(stored_service.history())) == 1


def test_g8_too_many_keys_in_overlap_are_refused_until_one_has_ended(
    stored_service: Service, clock: ManualClock
) -> None:
    held = []
    for _ in range(MAX_RETIRING):
        held.append(stored_service.create_token())
        stored_service.rotate_key(60)

    with pytest.raises(OverlapLimitError, match="wait until") as caught:
        stored_service.rotate_key(60)

    assert all(map(stored_service.verify_token, held))
    assert caught.value.limit == MAX_RETIRING
    assert caught.value.until is not None
    clock.advance(caught.value.until.timestamp() - clock())
    stored_service.rotate_key(60)


def test_a_reset_makes_room_for_more_overlaps(stored_service: Service) -> None:
    for _ in range(MAX_RETIRING):
        stored_service.rotate_key(3600)

    stored_service.reset_key()

    stored_service.rotate_key(3600)
    assert (
        tokens.read_key_id(stored_service.create_token())
        == [*stored_service.history()][-1].key_id
    )
