"""The current key is never stale, and a log that lost what it held is not believed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import EventLog, KeyRing
from keyturn.domain.errors import ForeignLogError, LogRolledBackError, SealError
from keyturn.projections.current_key import CurrentKey
from tests.actors.host_rings import HostKeyRing
from tests.projections.conftest import Hand
from tests.settled import settled


@pytest.fixture
def current(log: EventLog, key_ring: KeyRing) -> CurrentKey:
    return CurrentKey(log, key_ring, "default")


def generation(current: CurrentKey) -> int | None:
    signing = current.get().keys.signing
    return None if signing is None else signing.generation


# --- never stale -------------------------------------------------------------------------------


def test_an_empty_log_has_no_current_key(current: CurrentKey) -> None:
    assert (current.get().position, generation(current)) == (0, None)


def test_the_current_key_is_the_newest_one(hand: Hand, current: CurrentKey) -> None:
    hand.reset()

    assert (generation(current), current.get().position) == (2, 2)


def test_g2_every_change_is_seen_by_the_next_get(hand: Hand, current: CurrentKey) -> None:
    seen = []
    for _ in range(50):
        hand.reset()
        seen.append(generation(current))

    assert seen == list(range(2, 52))


def test_a_snapshot_is_the_same_object_until_something_changes(
    hand: Hand, current: CurrentKey
) -> None:
    first = current.get()

    assert current.get() is first


def test_a_snapshot_that_was_taken_stays_as_it_was(hand: Hand, current: CurrentKey) -> None:
    before = current.get()

    hand.reset()
    current.get()

    assert (before.position, before.keys.signing.generation) == (1, 1)  # type: ignore[union-attr]


def test_only_the_newest_key_is_accepted_after_a_reset(hand: Hand, current: CurrentKey) -> None:
    hand.reset()

    keys = current.get().keys

    assert [key.generation for key, _ in keys.accepted.values()] == [2]


def test_after_a_destroy_there_is_no_key(hand: Hand, current: CurrentKey) -> None:
    current.get()

    hand.destroy()

    assert (generation(current), len(current.get().keys.accepted)) == (None, 0)


def test_after_a_purge_there_is_no_key(hand: Hand, current: CurrentKey) -> None:
    current.get()

    hand.log.purge("default")

    assert (generation(current), current.get().position) == (None, 0)


def test_a_change_by_another_manager_of_the_log_is_none(
    hand: Hand, current: CurrentKey, key_ring: KeyRing
) -> None:
    before = current.get().position

    Hand(hand.log, key_ring, "other").generate()

    assert (current.get().position, generation(current)) == (before, 1)


def test_g2_a_reset_in_another_process_is_seen_by_the_next_get(
    tmp_path: Path, key_ring: KeyRing, run_python: Callable[..., Any]
) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        ring = KeyRing.open(tmp_path / "keyring.json", None)
        current = CurrentKey(service.log, ring, "default")
        before = generation(current)

        run_python(
            "import sys, keyturn\n"
            "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
            "    service.reset_key()\n",
            tmp_path,
        )

        assert (before, generation(current)) == (1, 2)


def test_g2_no_thread_gets_an_older_key_than_was_acknowledged(
    hand: Hand, current: CurrentKey
) -> None:
    acknowledged, stale = [1], []
    is_over = threading.Event()

    def get_often() -> None:
        while not is_over.is_set():
            at_least = acknowledged[0]
            found = generation(current) or 0
            if found < at_least:
                stale.append((found, at_least))

    threads = [threading.Thread(target=get_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2, 60):
        hand.reset()
        acknowledged[0] = number
    is_over.set()
    for thread in threads:
        thread.join(30)

    assert stale == []


# --- peek and forget ---------------------------------------------------------------------------


def test_peek_gives_what_is_at_hand(hand: Hand, current: CurrentKey) -> None:
    settled(hand.log)
    snapshot = current.get()

    assert current.peek() is snapshot


def test_peek_gives_nothing_when_the_log_would_have_to_be_read(
    hand: Hand, current: CurrentKey
) -> None:
    before = current.peek()
    current.get()
    hand.reset()

    assert (before, current.peek()) == (None, None)


def test_after_forget_the_log_is_read_anew(hand: Hand, current: CurrentKey) -> None:
    current.get()

    current.forget()

    assert (current.peek(), generation(current)) == (None, 1)


# --- on_change ---------------------------------------------------------------------------------


def test_whoever_asked_is_told_once_of_each_newer_event(
    hand: Hand, log: EventLog, key_ring: KeyRing
) -> None:
    told: list[int] = []
    current = CurrentKey(log, key_ring, "default", lambda: told.append(1))

    for _ in range(3):
        hand.reset()
        for _ in range(3):
            current.get()

    assert len(told) == 3


# --- overlap -----------------------------------------------------------------------------------


def test_a_rotated_key_is_accepted_until_its_overlap_ends(
    hand: Hand, current: CurrentKey
) -> None:
    hand.rotate(overlap=60)

    accepted = current.get().keys.accepted.values()

    until = {key.generation: good_until for key, good_until in accepted}
    assert until == {1: hand.now.timestamp() + 60, 2: None}


def test_a_reset_ends_every_overlap(hand: Hand, current: CurrentKey) -> None:
    hand.rotate(overlap=10_000)
    hand.rotate(overlap=10_000)
    before = len(current.get().keys.accepted)

    hand.reset()

    assert (before, len(current.get().keys.accepted)) == (3, 1)


# --- what is not believed ----------------------------------------------------------------------


@pytest.fixture
def edited(tmp_path: Path, key_ring: KeyRing) -> Iterator[tuple[Hand, CurrentKey]]:
    """A log of three events that somebody can edit behind our back."""
    log = keyturn.open_event_log(f"sqlite:///{tmp_path}/edited.db")
    hand = Hand(log, key_ring)
    hand.generate()
    hand.reset()
    hand.reset()
    current = CurrentKey(log, key_ring, "default")
    current.get()
    yield hand, current
    log.close()


def edit(tmp_path: Path, statement: str) -> None:
    connection = sqlite3.connect(tmp_path / "edited.db")
    with connection:
        connection.execute(statement)
    connection.close()


def test_g5_a_log_that_lost_its_tail_while_running_is_refused(
    edited: tuple[Hand, CurrentKey], tmp_path: Path
) -> None:
    edit(tmp_path, "DELETE FROM stored_events WHERE originator_version > 1")

    with pytest.raises(LogRolledBackError) as caught:
        edited[1].get()

    assert (caught.value.expected_position, caught.value.found_position) == (3, 1)


def test_g5_a_log_that_lost_its_tail_is_refused_every_time(
    edited: tuple[Hand, CurrentKey], tmp_path: Path
) -> None:
    edit(tmp_path, "DELETE FROM stored_events WHERE originator_version > 1")

    for _ in range(3):
        with pytest.raises(LogRolledBackError):
            edited[1].get()


@pytest.mark.parametrize("resets", [1, 2, 3], ids=["shorter", "as long", "longer"])
def test_g5_a_log_that_lost_its_tail_and_grew_another_is_refused(
    edited: tuple[Hand, CurrentKey], tmp_path: Path, resets: int
) -> None:
    hand, current = edited
    edit(tmp_path, "DELETE FROM stored_events WHERE originator_version > 1")

    for _ in range(resets):
        hand.reset()

    with pytest.raises(LogRolledBackError):
        current.get()


def test_an_event_of_another_node_is_refused(
    hand: Hand, current: CurrentKey, log: EventLog
) -> None:
    current.get()

    Hand(log, KeyRing.ephemeral()).reset()

    with pytest.raises(ForeignLogError):
        current.get()


def test_a_key_ring_that_cannot_unseal_the_key_is_refused(
    hand: Hand, log: EventLog, key_ring: KeyRing
) -> None:
    class Stranger:
        node_id = key_ring.node_id
        unseal = KeyRing.ephemeral().unseal

    with pytest.raises(SealError):
        CurrentKey(log, Stranger(), "default").get()  # type: ignore[arg-type]


def test_a_key_is_unsealed_once_however_often_it_is_used(
    hand: Hand, log: EventLog, key_ring: KeyRing
) -> None:
    unsealed: list[bytes] = []

    class Counting:
        node_id = key_ring.node_id

        def unseal(self, sealed: bytes, context: bytes) -> bytes:
            unsealed.append(sealed)
            return key_ring.unseal(sealed, context)

    current = CurrentKey(log, Counting(), "default")  # type: ignore[arg-type]
    for _ in range(3):
        current.get()
        hand.rotate(overlap=10_000)
        current.get()

    assert len(unsealed) == 4


def test_g2_a_read_that_failed_for_one_thread_gives_no_other_an_old_key(
    log: EventLog, hand: Hand, key_ring: KeyRing
) -> None:
    ring = HostKeyRing(key_ring)
    current = CurrentKey(log, ring, "default")
    current.get()
    hand.reset()

    def fail() -> None:
        raise ConnectionError("the key ring is away")

    ring.before_unseal = fail
    with ThreadPoolExecutor(4) as pool, current._lock:
        waiting = [pool.submit(current.get) for _ in range(4)]
        time.sleep(0.2)  # so that one reads for all who wait

    outcomes = [future.exception(timeout=30) for future in waiting]
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 4
