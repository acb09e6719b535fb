"""What goes wrong at the start reaches whoever starts; several may start at once."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import EventLog, KeyRing, RotationHistory, SessionManager
from keyturn.domain.errors import ForeignLogError, LogClosedError, LogDamagedError, SealError
from tests.actors.host_rings import HostKeyRing, raises

StartManager = Callable[..., pykka.ActorRef[SessionManager]]


def test_a_foreign_key_ring_is_refused_to_whoever_starts(
    start_manager: StartManager, log: EventLog, key_ring: KeyRing
) -> None:
    start_manager()
    stranger = KeyRing.ephemeral()

    with pytest.raises(ForeignLogError) as caught:
        SessionManager.start(log, stranger)

    assert (caught.value.expected, caught.value.found) == (stranger.node_id, key_ring.node_id)


def test_a_foreign_key_ring_is_refused_under_another_name_too(
    start_manager: StartManager, log: EventLog
) -> None:
    start_manager(name="one")

    with pytest.raises(ForeignLogError):
        SessionManager.start(log, KeyRing.ephemeral(), name="other")


def test_a_refused_start_leaves_no_actor_behind(log: EventLog, key_ring: KeyRing) -> None:
    SessionManager.start(log, key_ring).stop(timeout=30)

    with pytest.raises(ForeignLogError):
        SessionManager.start(log, KeyRing.ephemeral())

    assert pykka.ActorRegistry.get_all() == []


def test_a_refused_start_writes_nothing(log: EventLog, key_ring: KeyRing) -> None:
    SessionManager.start(log, key_ring)

    with pytest.raises(ForeignLogError):
        SessionManager.start(log, KeyRing.ephemeral(), fresh=True)

    assert [change.kind for change in RotationHistory(log)] == ["generated"]


@pytest.mark.parametrize("column", ["state", "topic", "originator_version"])
def test_g5_an_altered_newest_event_is_refused_to_whoever_starts(
    tmp_path: Path, key_ring: KeyRing, column: str
) -> None:
    log = keyturn.open_event_log(f"sqlite:///{tmp_path}/log.db")
    ref = SessionManager.start(log, key_ring)
    for _ in range(2):
        keyturn.ask(ref, keyturn.ResetKey(reason="lost"))
    ref.stop(timeout=30)
    alterations = {
        "state": "CAST(replace(CAST(state AS TEXT), 'lost', 'lent') AS BLOB)",
        "topic": "'keyturn.KeyGenerated'",
        "originator_version": "7",
    }
    alter(tmp_path / "log.db", f"SET {column} = {alterations[column]}")

    with pytest.raises(LogDamagedError) as caught:
        SessionManager.start(log, key_ring)

    log.close()
    assert caught.value.position == (7 if column == "originator_version" else 3)


def alter(database: Path, change: str) -> None:
    """Change the newest event behind everybody's back."""
    connection = sqlite3.connect(database)
    newest = "(SELECT max(originator_version) FROM stored_events)"
    with connection:
        connection.execute(f"UPDATE stored_events {change} WHERE originator_version = {newest}")
    connection.close()


def test_a_key_that_another_place_was_sealed_for_is_refused_to_whoever_starts(
    log: EventLog, start_manager: StartManager, key_ring: KeyRing
) -> None:
    class SwappedSealing(HostKeyRing):
        node_id = key_ring.node_id  # type: ignore[assignment]

    start_manager()

    with pytest.raises(SealError):
        SessionManager.start(log, SwappedSealing())


def test_a_closed_log_is_refused_to_whoever_starts(tmp_path: Path, key_ring: KeyRing) -> None:
    log = keyturn.open_event_log(f"sqlite:///{tmp_path}/log.db")
    log.close()

    with pytest.raises(LogClosedError):
        SessionManager.start(log, key_ring)


def test_a_failing_key_ring_is_shown_to_whoever_starts(log: EventLog) -> None:
    key_ring = HostKeyRing()
    key_ring.before_sign = raises(ConnectionError("the key service is away"))

    with pytest.raises(ConnectionError):
        SessionManager.start(log, key_ring)


def test_several_first_starts_at_once_share_one_key_generated(
    start_manager: StartManager, log: EventLog
) -> None:
    started: queue.Queue[Any] = queue.Queue()
    together = threading.Barrier(8, timeout=30)

    def start() -> None:
        together.wait()
        try:
            started.put(keyturn.ask(start_manager(), keyturn.SetupKey()).key_id)
        except BaseException as error:
            started.put(error)

    for _ in range(8):
        threading.Thread(target=start).start()

    key_ids = {started.get(timeout=30) for _ in range(8)}
    assert key_ids == {change.key_id for change in RotationHistory(log)}


def test_resets_by_several_managers_at_once_are_all_recorded_in_one_line(
    start_manager: StartManager, log: EventLog
) -> None:
    refs = [start_manager() for _ in range(4)]

    replies = [
        ref.ask(keyturn.ResetKey(reason=f"{number}"), block=False)
        for number in range(10)
        for ref in refs
    ]
    pykka.get_all(replies, timeout=60)

    changes = list(RotationHistory(log))
    assert [change.generation for change in changes] == list(range(1, 42))
    assert sorted(int(c.reason or -1) for c in changes) == sorted([-1, *list(range(10)) * 4])
