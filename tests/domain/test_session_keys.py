"""The aggregate: what each command does, what it refuses, and that a replay gives the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain import chain, session_keys
from keyturn.domain.errors import (
    ExpiryError,
    OverlapLimitError,
    SessionManagerDestroyedError,
)
from keyturn.domain.key_events import Abandoned
from keyturn.domain.key_ring import key_id_of
from keyturn.domain.session_keys import MAX_RETIRING, SessionKeys
from tests.domain import golden
from tests.domain.builders import NOON, history, mapper, new_keys, origin, secret

RING = KeyRing.ephemeral()
MAPPER = mapper()
STATE = ("id", "version", "manager", "node_id", "generation", "key_id", "sealed_key", "retiring")

commands = st.lists(
    st.tuples(
        st.sampled_from(
            ["reset", "rotate", "destroy", "regenerate", "end_session", "end_sessions"]
        ),
        st.floats(0, 5000),  # seconds since the command before
        st.integers(0, 10_000),  # the overlap of a rotation
    ),
    max_size=12,
)


def state_of(keys: Any) -> dict[str, object]:
    names = (*STATE, "since", "is_purged", "digest", "signature", "modified_on")
    return {name: getattr(keys, name) for name in names}


def carry_out(steps: list[tuple[str, float, int]]) -> SessionKeys:
    """Keys after those of the commands that can be carried out at their turn."""
    keys, seconds = new_keys(RING), 0.0
    for number, (name, passed, overlap) in enumerate(steps, start=2):
        seconds += passed
        by = origin(seconds)
        if keys.is_destroyed:
            if name == "regenerate":
                keys.regenerate(secret(number), RING, by)
        elif name == "reset":
            keys.reset(secret(number), RING, by)
        elif name == "rotate":
            keys.rotate(secret(number), RING, by, overlap=overlap)
        elif name == "destroy":
            keys.destroy(RING, by)
        elif name == "end_session":
            keys.end_session(f"sid-{number}", RING, by)
        elif name == "end_sessions":
            keys.end_sessions("alice", RING, by, keep="sid-0" if overlap % 2 else None)
    return keys


# --- replay ------------------------------------------------------------------------------------


@given(commands)
def test_g7_replaying_the_whole_log_gives_what_reading_it_from_since_on_does(
    steps: list[tuple[str, float, int]],
) -> None:
    keys = carry_out(steps)
    events: list[Any] = [
        MAPPER.to_domain_event(MAPPER.to_stored_event(e)) for e in keys.pending_events
    ]

    replayed: Any = None
    for event in events:
        replayed = event.mutate(replayed)

    resumed = SessionKeys.fold(events[events[-1].since - 1 :])
    assert state_of(replayed) == state_of(resumed) == state_of(keys)


@given(commands)
def test_g5_each_event_carries_the_digest_of_the_one_before(
    steps: list[tuple[str, float, int]],
) -> None:
    events: list[Any] = list(carry_out(steps).pending_events)

    before = [chain.NO_DIGEST, *(event.digest for event in events)]

    assert [event.previous_digest for event in events] == before[:-1]


@given(commands)
def test_generations_and_positions_have_no_gaps(steps: list[tuple[str, float, int]]) -> None:
    events: list[Any] = list(carry_out(steps).pending_events)

    generations = [event.generation for event in events if event.makes_a_key]

    assert generations == list(range(1, len(generations) + 1))
    assert [event.originator_version for event in events] == list(range(1, len(events) + 1))


def test_g7_the_log_of_version_0_1_is_replayed() -> None:
    replayed: Any = None
    for row in golden.ROWS:
        event: Any = MAPPER.to_domain_event(row)
        replayed = event.mutate(replayed)

    assert (replayed.generation, replayed.is_destroyed) == (3, True)


def test_keys_that_were_resumed_go_on_from_there() -> None:
    resumed = SessionKeys.fold(history(RING)[-1:])

    resumed.reset(secret(99), RING, origin(99))

    (event,) = resumed.collect_events()
    assert (event.originator_version, resumed.generation) == (5, 5)


# --- commands ----------------------------------------------------------------------------------


def test_a_new_manager_has_its_first_key() -> None:
    keys = new_keys(RING)

    assert (keys.generation, keys.key_id, keys.unseal(RING)) == (
        1,
        key_id_of(secret(1)),
        secret(1),
    )


def test_a_blank_manager_has_no_key_and_no_event() -> None:
    keys = SessionKeys.blank("default")

    assert (keys.generation, keys.version, keys.is_destroyed) == (0, 0, True)
    assert not keys.pending_events


def test_a_reset_ends_every_other_key() -> None:
    keys = new_keys(RING)
    keys.rotate(secret(2), RING, origin(1), overlap=1000)

    keys.reset(secret(3), RING, origin(2))

    assert (keys.generation, keys.unseal(RING), keys.retiring) == (3, secret(3), ())


def test_a_rotated_key_stays_good_until_its_overlap_ends() -> None:
    keys = new_keys(RING)

    keys.rotate(secret(2), RING, origin(10), overlap=60)

    (retiring,) = keys.retiring
    assert (retiring.generation, retiring.good_until) == (1, NOON + timedelta(seconds=70))
    assert keys.unseal(RING) == secret(2)


def test_a_rotation_keeps_the_overlaps_that_have_not_ended() -> None:
    keys = new_keys(RING)
    keys.rotate(secret(2), RING, origin(0), overlap=10)
    keys.rotate(secret(3), RING, origin(1), overlap=100)

    keys.rotate(secret(4), RING, origin(10), overlap=5)

    assert [key.generation for key in keys.retiring] == [3, 2]


def test_a_destroyed_manager_has_no_key() -> None:
    keys = new_keys(RING)
    keys.rotate(secret(2), RING, origin(1), overlap=1000)

    keys.destroy(RING, origin(2))

    assert (keys.is_destroyed, keys.sealed_key, keys.retiring) == (True, None, ())


def test_a_purge_is_recorded_of_keys_that_were_destroyed_before_too() -> None:
    keys = new_keys(RING)
    keys.destroy(RING, origin(1))

    keys.destroy(RING, origin(2), purge=True)

    assert (keys.is_destroyed, keys.is_purged, keys.version, keys.since) == (True, True, 3, 3)


def test_after_a_purge_a_manager_goes_on_from_its_position() -> None:
    keys = new_keys(RING)
    keys.destroy(RING, origin(1), purge=True)

    keys.regenerate(secret(2), RING, origin(2))

    assert (keys.generation, keys.version, keys.since) == (2, 3, 3)
    assert not keys.is_purged


def test_an_accepted_roll_back_is_recorded_with_the_position_that_was_given_up() -> None:
    keys = new_keys(RING)

    keys.reset(secret(2), RING, origin(1), abandoned=Abandoned(9, "9" * 64))

    event: Any = MAPPER.to_domain_event(MAPPER.to_stored_event(keys.pending_events[-1]))
    assert event.abandoned == Abandoned(9, "9" * 64)


def test_a_destroyed_manager_goes_on_with_the_next_generation() -> None:
    keys = new_keys(RING)
    keys.destroy(RING, origin(1))

    keys.regenerate(secret(2), RING, origin(2))

    assert (keys.generation, keys.unseal(RING), keys.version) == (2, secret(2), 3)


@pytest.mark.parametrize(
    "command",
    [
        lambda keys: keys.reset(secret(2), RING, origin(2)),
        lambda keys: keys.rotate(secret(2), RING, origin(2), overlap=5),
        lambda keys: keys.destroy(RING, origin(2)),
        lambda keys: keys.end_session("sid", RING, origin(2)),
        lambda keys: keys.end_sessions("alice", RING, origin(2)),
        lambda keys: keys.unseal(RING),
    ],
    ids=["reset", "rotate", "destroy", "end session", "end sessions", "unseal"],
)
def test_a_destroyed_manager_refuses_work(command: Callable[[SessionKeys], None]) -> None:
    keys = new_keys(RING)
    keys.destroy(RING, origin(1))

    with pytest.raises(SessionManagerDestroyedError):
        command(keys)

    assert len(keys.pending_events) == 2


def test_a_current_key_is_not_generated_over() -> None:
    keys = new_keys(RING)

    with pytest.raises(ValueError, match="reset it instead"):
        keys.regenerate(secret(2), RING, origin(1))


@pytest.mark.parametrize(
    "overlap", [-1, 1.5, 60.0, True, None, "60", float("nan"), 10**12, 10**30, -(10**30)]
)
def test_an_overlap_that_is_none_is_refused(overlap: Any) -> None:
    keys = new_keys(RING)

    with pytest.raises(ExpiryError):
        keys.rotate(secret(2), RING, origin(1), overlap=overlap)

    assert keys.generation == 1


def test_more_keys_in_overlap_than_an_event_can_hold_are_refused() -> None:
    keys = new_keys(RING)
    for number in range(MAX_RETIRING):
        keys.rotate(secret(2 + number), RING, origin(number), overlap=100)

    with pytest.raises(OverlapLimitError, match=f"at most {MAX_RETIRING}") as caught:
        keys.rotate(secret(99), RING, origin(99), overlap=1)

    assert caught.value.until == NOON + timedelta(seconds=100)
    keys.rotate(secret(99), RING, origin(100), overlap=1)
    assert len(keys.retiring) == MAX_RETIRING


def test_g7_an_event_with_more_keys_in_overlap_than_are_allowed_now_is_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_keys, "MAX_RETIRING", 3)
    keys = new_keys(RING)
    for number in range(3):
        keys.rotate(secret(2 + number), RING, origin(number), overlap=100)
    stored = [MAPPER.to_stored_event(event) for event in keys.pending_events]
    monkeypatch.setattr(session_keys, "MAX_RETIRING", 1)

    replayed: Any = None
    for row in stored:
        replayed = MAPPER.to_domain_event(row).mutate(replayed)

    assert len(replayed.retiring) == 3
    replayed.reset(secret(9), RING, origin(9))


# --- copies ------------------------------------------------------------------------------------


def test_a_copy_is_the_same_with_nothing_pending() -> None:
    keys = new_keys(RING)

    duplicate = copy.copy(keys)

    assert state_of(duplicate) == state_of(keys)
    assert not duplicate.pending_events


def test_what_is_done_to_a_copy_does_not_happen_to_the_original() -> None:
    keys = new_keys(RING)
    before = state_of(keys)

    copy.copy(keys).reset(secret(2), RING, origin(1))

    assert (state_of(keys), len(keys.pending_events)) == (before, 1)
