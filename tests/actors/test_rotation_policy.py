"""A manager with a policy rotates by itself, once, and says so in the history."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import EventLog, KeyChange, KeyRing, Service, SessionManager, Settings, Subscribe
from keyturn.actors.key_writer import KeyWriter, new_secret
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.rotation_timer import RotateIfDue, RotationTimer
from keyturn.actors.ticker import Tick, Ticker, process_ticker
from keyturn.domain.errors import SettingsError
from keyturn.domain.options import ManagerOptions
from keyturn.domain.session_keys import MAX_RETIRING, Origin
from keyturn.testing import ManualClock
from tests.actors.conftest import Ear
from tests.actors.host_rings import HostKeyRing, raises
from tests.config.second_process import SecondProcess
from tests.heads import keys_at_head

HOUR = 3600
POLICY: dict[str, Any] = {"rotate_every": HOUR, "overlap": 60}
Ref = pykka.ActorRef[SessionManager]
StartManager = Callable[..., Ref]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """None of this depends on the store."""
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
def start(start_manager: StartManager, clock: ManualClock) -> StartManager:
    """Start a manager with a policy, whose clock the test moves; nobody but `due` looks at it."""
    return lambda **more: start_manager(**{**POLICY, "clock": clock, "ticker": None, **more})


def due(*refs: pykka.ActorRef[Any]) -> None:
    """Do what the ticker does."""
    for ref in refs:
        keyturn.ask(ref, RotateIfDue())


def rows_of(log: EventLog) -> list[tuple[str, str, str | None]]:
    return [(c.kind, c.initiator, c.reason) for c in keyturn.RotationHistory(log)]


def kinds_of(log: EventLog) -> list[str]:
    return [kind for kind, _, _ in rows_of(log)]


BY_POLICY = ("rotated", "rotation policy", "every 3600 s")


# --- when --------------------------------------------------------------------------------------


def test_a_key_is_rotated_when_it_is_old_enough_and_not_before(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    ref = start()

    clock.advance(HOUR - 1)
    due(ref)
    before = kinds_of(log)
    clock.advance(1)
    due(ref)
    due(ref)

    assert before == ["generated"]
    assert rows_of(log)[1:] == [BY_POLICY]


def test_the_overlap_of_the_policy_lets_old_tokens_live_on(
    start: StartManager, clock: ManualClock
) -> None:
    ref = start()
    token = keyturn.ask(ref, keyturn.CreateToken())
    clock.advance(HOUR)
    due(ref)

    verdicts = []
    for seconds in (0, 59, 1):
        clock.advance(seconds)
        verdicts.append(keyturn.ask(ref, keyturn.VerifyToken(token)))

    assert verdicts == [True, True, False]


def test_without_an_overlap_said_tokens_live_as_long_as_they_would_have(
    start: StartManager, clock: ManualClock
) -> None:
    ref = start(overlap=None, expiry=5 * HOUR)
    token = keyturn.ask(ref, keyturn.CreateToken())

    verdicts = []
    for _ in range(5):
        clock.advance(HOUR - 1)
        due(ref)
        verdicts.append(keyturn.ask(ref, keyturn.VerifyToken(token)))

    assert verdicts == [True] * 5


@pytest.mark.parametrize("change", ["reset_key", "rotate_key"])
def test_a_change_by_another_process_postpones_the_next_rotation(
    start: StartManager, log: EventLog, clock: ManualClock, change: str
) -> None:
    ref, other = start(), start()
    clock.advance(HOUR / 2)
    getattr(other.proxy(), change)(*([60] if change == "rotate_key" else [])).get(timeout=30)
    kinds = kinds_of(log)

    clock.advance(HOUR / 2)
    due(ref, other)
    postponed = kinds_of(log)
    clock.advance(HOUR / 2)
    due(ref, other)

    assert postponed == kinds
    assert rows_of(log)[2:] == [BY_POLICY]


def test_of_many_managers_of_a_log_one_rotates(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    refs = [start() for _ in range(8)]

    for _ in range(5):
        clock.advance(HOUR)
        for reply in [ref.ask(RotateIfDue(), block=False) for ref in refs]:
            reply.get(timeout=30)

    assert rows_of(log)[1:] == [BY_POLICY] * 5
    assert keyturn.audit(log, any_node=True).holds


def test_of_two_that_find_a_key_due_at_once_the_slower_finds_a_new_one(
    log: EventLog, clock: ManualClock
) -> None:
    ring = HostKeyRing()
    slow, quick = (
        SessionManager.start(
            log, ring, options=ManagerOptions(**POLICY), clock=clock, ticker=None
        )
        for _ in range(2)
    )
    clock.advance(HOUR)

    def be_late() -> None:
        ring.before_sign = lambda: None
        due(quick)

    ring.before_sign = be_late
    due(slow)

    assert rows_of(log)[1:] == [BY_POLICY]


def test_a_machine_that_slept_through_several_due_times_rotates_once(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    ref = start()

    clock.advance(100 * HOUR)
    due(ref)
    due(ref)

    assert rows_of(log)[1:] == [BY_POLICY]


def test_a_key_that_grew_old_while_nobody_ran_is_rotated_after_the_start(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    start().stop(timeout=30)
    clock.advance(HOUR)

    due(start())

    assert rows_of(log)[1:] == [BY_POLICY]


def test_each_manager_of_a_log_has_a_policy_of_its_own(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    web, admins = start(name="web"), start(name="admins", rotate_every=3 * HOUR)

    for _ in range(4):
        clock.advance(HOUR)
        due(web, admins)

    histories = [list(keyturn.RotationHistory(log, name)) for name in ("web", "admins")]
    assert [len(history) for history in histories] == [1 + 4, 1 + 1]


# --- clocks that are wrong ---------------------------------------------------------------------


class Wall:
    """The time of day, which can be set back."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def reset_in_the_future(log: EventLog, key_ring: KeyRing) -> None:
    """Reset the key as a machine does whose clock is far ahead."""
    keys = keys_at_head(log, "default")
    assert keys is not None
    by = Origin("somebody@fast-clock", None, datetime.now(UTC) + timedelta(days=3650))
    keys.reset(new_secret(), key_ring, by)
    assert log.append(keys)


def test_an_event_dated_in_the_future_does_not_stop_rotation(
    start_manager: StartManager, log: EventLog, key_ring: KeyRing, ear: Ear
) -> None:
    start_manager().stop(timeout=30)
    reset_in_the_future(log, key_ring)
    ref = start_manager(rotate_every=1, overlap=5)
    keyturn.ask(ref, Subscribe(ear.ref))

    event = ear.next()

    assert (event.kind, event.initiator, event.overlap) == ("rotated", "rotation policy", 5)


def test_a_key_is_seen_from_when_it_is_first_used(
    start: StartManager, log: EventLog, key_ring: KeyRing, clock: ManualClock
) -> None:
    ref = start()
    reset_in_the_future(log, key_ring)
    token = keyturn.ask(ref, keyturn.CreateToken())
    assert keyturn.ask(ref, keyturn.VerifyToken(token))

    clock.advance(HOUR)
    due(ref)

    assert rows_of(log)[2:] == [BY_POLICY]


def test_an_hour_back_and_forth_makes_one_early_rotation_at_the_most(
    start_manager: StartManager, log: EventLog
) -> None:
    wall = Wall()
    ref = start_manager(**POLICY, clock=wall, ticker=None)

    for step in (2 * HOUR, 0, -HOUR, 0, HOUR, 0, -HOUR, 0, HOUR / 2):
        wall.now += step
        due(ref)

    assert rows_of(log)[1:] == [BY_POLICY]


# --- stopped, destroyed, closed ----------------------------------------------------------------


def test_a_stopped_manager_does_not_rotate_and_started_again_it_does(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    ref = start()
    keyturn.ask(ref, keyturn.Stop())
    clock.advance(HOUR)
    due(ref)
    stopped = kinds_of(log)

    keyturn.ask(ref, keyturn.Start())
    due(ref)

    assert stopped == ["generated"]
    assert rows_of(log)[1:] == [BY_POLICY]


def test_a_destroyed_manager_does_not_rotate(
    start: StartManager, log: EventLog, clock: ManualClock
) -> None:
    ref, other = start(), start()
    keyturn.ask(ref, keyturn.Stop())
    keyturn.ask(ref, keyturn.Destroy())
    clock.advance(HOUR)

    due(ref, other)

    assert kinds_of(log) == ["generated", "destroyed"]


def test_only_running_managers_with_a_policy_are_looked_at(start_manager: StartManager) -> None:
    counts = [len(process_ticker._due)]
    start_manager()
    counts.append(len(process_ticker._due))
    ref = start_manager(**POLICY)
    counts.append(len(process_ticker._due))
    keyturn.ask(ref, keyturn.Stop())
    counts.append(len(process_ticker._due))
    keyturn.ask(ref, keyturn.Start())
    counts.append(len(process_ticker._due))
    ref.stop(timeout=30)
    counts.append(len(process_ticker._due))

    assert counts == [0, 0, 1, 0, 1, 0]


def test_closed_services_leave_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        with keyturn.open(path=tmp_path / "data", password=None, **POLICY):
            pass

    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert set(threading.enumerate()) <= before


def test_a_manager_that_died_and_was_started_again_rotates_on(
    tmp_path: Path, clock: ManualClock
) -> None:
    with keyturn.open(path=tmp_path / "data", password=None, clock=clock, **POLICY) as service:
        service.manager.stop(timeout=30)
        clock.advance(HOUR)

        due(service.manager)

        assert [change.kind for change in service.history()] == ["generated", "rotated"]


def test_many_managers_need_one_thread_for_all_their_policies(
    log: EventLog, key_ring: KeyRing
) -> None:
    for number in range(50):
        options = ManagerOptions(name=f"{number}", **POLICY)
        SessionManager.start(log, key_ring, options=options)

    tickers = [t for t in threading.enumerate() if t.name == "keyturn-ticker"]
    for ended in set(tickers) - {process_ticker._thread}:  # of the test before
        ended.join(30)
    assert [t for t in tickers if t.is_alive()] == [process_ticker._thread]
    assert len(process_ticker._due) == 50


# --- who is told, and what goes wrong ----------------------------------------------------------


def test_subscribers_are_told_of_a_rotation_by_the_policy(
    start: StartManager, clock: ManualClock, ear: Ear
) -> None:
    ref = start()
    keyturn.ask(ref, Subscribe(ear.ref))
    clock.advance(HOUR)

    due(ref)

    event = ear.next()
    assert (event.kind, event.initiator, event.overlap) == ("rotated", "rotation policy", 60)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_g8_a_log_that_is_locked_when_a_key_is_due_is_a_warning_and_tried_again(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(path=tmp_path / "data", lock_timeout=0.1, **POLICY)
    with (
        keyturn.open(settings, password=None, clock=clock) as service,
        SecondProcess(tmp_path / "data", service=False) as locker,
    ):
        clock.advance(HOUR)
        locker.sql("BEGIN IMMEDIATE")
        due(service.manager, service.manager)
        locked = warnings_in(caplog), len(list(service.history()))
        locker.sql("ROLLBACK")

        due(service.manager)

        assert len(list(service.history())) == 2
    assert (len(locked[0]), locked[1]) == (2, 1)
    assert "could not be rotated" in locked[0][0]
    assert "locked for too long" in locked[0][0]


def test_g8_a_key_ring_that_fails_when_a_key_is_due_is_logged_and_tried_again(
    log: EventLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    ring = HostKeyRing()
    ref = SessionManager.start(
        log, ring, options=ManagerOptions(**POLICY), clock=clock, ticker=None
    )
    clock.advance(HOUR)
    ring.before_sign = raises(ConnectionError("the key service is away"))
    ref.tell(RotateIfDue())
    keyturn.ask(ref, keyturn.VerifyToken("a.b.c"))
    ring.before_sign = lambda: None

    due(ref)

    assert "the key service is away" in caplog.text
    assert rows_of(log)[1:] == [BY_POLICY]


def test_g8_too_many_overlaps_by_hand_only_postpone_a_rotation(
    start: StartManager, log: EventLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    ref = start()
    for _ in range(MAX_RETIRING):
        keyturn.ask(ref, keyturn.RotateKey(2 * HOUR))
    clock.advance(HOUR)
    due(ref)
    postponed = len(kinds_of(log))

    clock.advance(HOUR)
    due(ref)

    assert postponed == 1 + MAX_RETIRING
    assert rows_of(log)[postponed:] == [BY_POLICY]
    assert "keys of manager" in caplog.text


class HandTicker(Ticker):
    """A ticker that ticks when the test says so."""

    def add(self, tick: Tick) -> None:
        self.tick = tick


def test_a_manager_that_waits_for_its_log_is_told_once_and_not_again_and_again(
    service: Service, clock: ManualClock
) -> None:
    ticker, told = HandTicker(), list[RotateIfDue]()
    options = ManagerOptions(rotate_every=HOUR, overlap=60)
    parts = ManagerParts(service.log, service.parts.key_ring, options, clock=clock)
    rotator = RotationTimer(parts, KeyWriter(parts), ticker, told.append)
    rotator.see(parts.reader.get())
    clock.advance(HOUR)

    for _ in range(10):
        ticker.tick()
    unanswered = len(told)
    rotator.look()
    rotator.see(parts.reader.get())
    ticker.tick()
    clock.advance(HOUR)
    ticker.tick()

    assert (unanswered, len(told)) == (1, 2)


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"rotate_every": 0},
        {"rotate_every": 60, "overlap": 60 * MAX_RETIRING + 1},
        {"rotate_every": HOUR, "expiry": None},
        {"overlap": -1},
    ],
)
def test_a_bad_policy_is_refused_wherever_it_is_said(
    start_manager: StartManager, tmp_path: Path, bad: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        start_manager(**bad)
    with pytest.raises(SettingsError):
        keyturn.open(path=tmp_path / "data", password=None, **bad)
    with pytest.raises(SettingsError):
        Settings(**bad)

    assert not (tmp_path / "data").exists()


@pytest.fixture
def by_itself(tmp_path: Path) -> Iterator[Service]:
    """A service that rotates every second of the real time."""
    with keyturn.open(
        path=tmp_path / "data", password=None, rotate_every=1, overlap=30
    ) as service:
        yield service


def test_a_service_rotates_by_itself_as_its_settings_say(by_itself: Service, ear: Ear) -> None:
    token = by_itself.create_token()
    keyturn.ask(by_itself.manager, Subscribe(ear.ref))

    kinds = ear.next_kinds(1)

    changes: list[KeyChange] = list(by_itself.history())
    assert kinds == ["rotated"]
    assert {(c.initiator, c.reason) for c in changes[1:]} == {("rotation policy", "every 1 s")}
    assert by_itself.verify_token(token)
