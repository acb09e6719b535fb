"""When a key is due: the policy and the age of a key, as functions of keys and time."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn import KeyRing
from keyturn.domain.claims import MAX_OVERLAP
from keyturn.domain.errors import SettingsError
from keyturn.domain.rotation import KeyAge, RotationPolicy
from keyturn.domain.session_keys import MAX_RETIRING
from tests.domain.builders import NOON, new_keys, origin, secret

RING = KeyRing.ephemeral()
DAY = 86400


# --- the policy --------------------------------------------------------------------------------


def test_without_rotate_every_there_is_no_policy() -> None:
    assert RotationPolicy.of(None, 60, None) is None


@pytest.mark.parametrize(
    ("expiry", "overlap"), [(3600, 3600), (3600.25, 3601), (0, 0), (10 * DAY, 10 * DAY)]
)
def test_an_overlap_that_nobody_said_is_as_long_as_a_token_lives(
    expiry: float, overlap: int
) -> None:
    assert RotationPolicy.of(DAY, None, expiry) == RotationPolicy(DAY, overlap)


def test_where_tokens_live_for_ever_the_overlap_must_be_said() -> None:
    with pytest.raises(SettingsError, match="say with overlap") as caught:
        RotationPolicy.of(DAY, None, None)

    assert caught.value.key == "overlap"
    assert RotationPolicy.of(DAY, 60, None) == RotationPolicy(DAY, 60)


@pytest.mark.parametrize(
    "rotate_every", [0, 0.5, -1, True, "60", float("nan"), float("inf"), 10**400, [], b"1"]
)
def test_a_bad_rotate_every_is_refused(rotate_every: Any) -> None:
    with pytest.raises(SettingsError, match="rotate_every is a number of seconds ≥ 1"):
        RotationPolicy.of(rotate_every, 0, DAY)


@pytest.mark.parametrize("overlap", [-1, 0.5, 60.0, True, "60", float("nan"), 10**400])
@pytest.mark.parametrize("rotate_every", [None, DAY])
def test_a_bad_overlap_is_refused(rotate_every: float | None, overlap: Any) -> None:
    with pytest.raises(SettingsError, match="whole number of seconds") as caught:
        RotationPolicy.of(rotate_every, overlap, DAY)

    assert caught.value.key == "overlap"


@pytest.mark.parametrize("expiry", [MAX_OVERLAP + 1, 1e300])
def test_tokens_that_live_too_long_for_an_overlap_need_one_said(expiry: float) -> None:
    with pytest.raises(SettingsError, match="say one"):
        RotationPolicy.of(DAY, None, expiry)


def test_more_keys_in_overlap_than_an_event_can_hold_are_refused_before_they_are_made() -> None:
    RotationPolicy.of(10, 10 * MAX_RETIRING, None)

    with pytest.raises(SettingsError, match="rotate every 11 s or less often") as caught:
        RotationPolicy.of(10, 10 * MAX_RETIRING + 1, None)

    assert caught.value.key == "rotate_every"


@pytest.mark.parametrize(
    ("every", "overlap"), [(10, 319), (10, 320), (7, 210), (1, 32), (1.5, 1)]
)
def test_a_policy_never_comes_to_the_limit_of_overlaps(every: float, overlap: int) -> None:
    policy = RotationPolicy.of(every, overlap, None)
    assert policy is not None
    keys = new_keys(RING)

    for number in range(1, 100):
        keys.rotate(secret(number + 1), RING, origin(number * every), overlap=policy.overlap)

    assert len(keys.retiring) == max(1, -(-overlap // every))


def test_the_reason_says_the_seconds_in_full() -> None:
    assert RotationPolicy(2592000.0, 0).reason == "every 2592000 s"
    assert RotationPolicy(1.5, 0).reason == "every 1.5 s"


# --- the age of a key --------------------------------------------------------------------------


class Clocks:
    """A wall clock that can be set, and one that nobody sets; both go on."""

    def __init__(self) -> None:
        self.lasting = 1000.0
        self.wall = NOON
        self.age = KeyAge(lambda: self.wall, lambda: self.lasting)
        self.keys = new_keys(RING)

    def go_on(self, seconds: float) -> None:
        self.lasting += seconds
        self.set(seconds)

    def set(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)


@pytest.fixture
def clocks() -> Clocks:
    """Clocks of a process that saw the first key when it was made."""
    clocks = Clocks()
    clocks.age.see(clocks.keys)
    return clocks


def test_a_key_that_nobody_has_seen_is_as_old_as_can_be() -> None:
    assert Clocks().age.seconds() == float("inf")


def test_a_key_ages_as_the_clock_goes_on(clocks: Clocks) -> None:
    clocks.go_on(60)

    assert clocks.age.seconds() == 60


def test_a_key_ages_while_the_machine_sleeps_or_nobody_runs(clocks: Clocks) -> None:
    other = Clocks()
    other.wall = NOON + timedelta(days=3)

    other.age.see(new_keys(RING))

    assert other.age.seconds() == 3 * DAY


def test_a_clock_that_is_set_back_does_not_keep_a_key_young(clocks: Clocks) -> None:
    clocks.go_on(60)
    clocks.set(-365 * DAY)
    clocks.go_on(60)

    assert clocks.age.seconds() == 120


def test_an_event_dated_in_the_future_does_not_keep_its_key_young(clocks: Clocks) -> None:
    keys = new_keys(RING)
    keys.reset(secret(2), RING, origin(365 * DAY))
    clocks.age.see(keys)

    clocks.go_on(60)

    assert clocks.age.seconds() == 60


def test_a_clock_set_forward_and_put_right_again_makes_one_early_rotation(clocks: Clocks) -> None:
    keys, rotations = clocks.keys, []

    def look(at: str) -> None:
        if clocks.age.seconds() >= DAY:
            by = origin((clocks.wall - NOON).total_seconds())
            keys.rotate(secret(2 + len(rotations)), RING, by, overlap=60)
            rotations.append(at)
        clocks.age.see(keys)

    clocks.set(+10 * DAY)
    for hour in range(12):
        look(f"{hour} h, ahead")
        clocks.go_on(3600)
    clocks.set(-10 * DAY)
    for hour in range(12, 48):
        look(f"{hour} h")
        clocks.go_on(3600)

    assert rotations == ["0 h, ahead", "24 h"]


def test_a_new_key_is_young_again(clocks: Clocks) -> None:
    clocks.go_on(60)
    keys = new_keys(RING)
    keys.reset(secret(2), RING, origin(50))

    clocks.age.see(keys)

    assert clocks.age.seconds() == 10


def test_a_key_that_is_seen_again_is_no_younger(clocks: Clocks) -> None:
    clocks.go_on(60)
    clocks.set(-DAY)

    clocks.age.see(copy.copy(clocks.keys))

    assert clocks.age.seconds() == 60


def test_ages_are_told_from_dates_without_losing_microseconds(clocks: Clocks) -> None:
    start = datetime.fromtimestamp(1_800_000_000.123457, NOON.tzinfo)
    clocks.wall = start + timedelta(seconds=3600)
    keys = new_keys(RING)
    keys.reset(secret(2), RING, origin((start - NOON).total_seconds()))

    clocks.age.see(keys)

    assert clocks.age.seconds() == 3600
