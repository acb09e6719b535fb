"""Functions that subscribe: called in order, in one thread that is nobody else's."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import keyturn
from keyturn import Service
from keyturn.actors import subscriptions
from keyturn.actors.messages import OverlapEnded
from keyturn.testing import ManualClock, open_service
from tests.actors.conftest import Ear
from tests.actors.host_rings import Gate


class Heard:
    """A function that keeps what it is called with, and in which thread."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.threads: set[str] = set()
        self._before = before

    def __call__(self, event: object) -> None:
        self._before()
        self.threads.add(threading.current_thread().name)
        self.events.put(event)

    def next_kinds(self, count: int) -> list[str]:
        found = [self.events.get(timeout=30) for _ in range(count)]
        return [getattr(event, "kind", type(event).__name__) for event in found]


def test_functions_are_called_in_order_in_one_thread_of_their_own(
    stored_service: Service,
) -> None:
    first, second = Heard(), Heard()
    stored_service.subscribe(first)
    stored_service.subscribe(second)

    stored_service.reset_key()
    stored_service.rotate_key(60)
    stored_service.end_sessions("alice")
    stored_service.stop()

    kinds = ["reset", "rotated", "sessions ended", "ManagerStopped"]
    assert first.next_kinds(4) == second.next_kinds(4) == kinds
    assert first.threads == second.threads == {"keyturn-subscribers"}


def test_a_function_may_call_any_method(stored_service: Service) -> None:
    done: queue.Queue[bool] = queue.Queue()

    def on_event(event: Any) -> None:
        if getattr(event, "kind", "") == "reset":
            stored_service.rotate_key(60)
            stored_service.unsubscribe(on_event)
            done.put(stored_service.verify_token(stored_service.create_token()))

    stored_service.subscribe(on_event)
    stored_service.reset_key()

    assert done.get(timeout=30)


def test_a_function_that_fails_is_logged_and_harms_nobody(
    stored_service: Service, ear: Ear
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    good = Heard()
    with capture_logs() as lines:
        stored_service.subscribe(Heard(before=fail))
        stored_service.subscribe(good)
        stored_service.subscribe(ear.ref)
        for _ in range(3):
            stored_service.reset_key()
        assert good.next_kinds(3) == ear.next_kinds(3) == ["reset"] * 3

    failures = [line for line in lines if line["event"] == "a subscriber failed"]
    assert [line["error"] for line in failures] == ["ZeroDivisionError"] * 3


def test_a_slow_function_holds_up_neither_changes_nor_actors_and_is_logged(
    stored_service: Service, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "SLOW", 0.0)
    gate = Gate()
    slow = Heard(before=gate)
    with capture_logs() as lines:
        stored_service.subscribe(slow)
        stored_service.subscribe(ear.ref)
        stored_service.reset_key()
        gate.wait_until_reached()

        stored_service.reset_key()
        assert ear.next_kinds(2) == ["reset"] * 2
        gate.open()
        assert slow.next_kinds(2) == ["reset"] * 2
        stored_service.unsubscribe(slow)

    assert "a subscriber is slow" in [line["event"] for line in lines]


def test_async_functions_are_awaited_in_their_loop_in_order(tmp_path: Path) -> None:
    async def listen() -> tuple[list[str], bool]:
        kinds: list[str] = []
        all_told = asyncio.Event()
        threads = set()

        async def on_event(event: Any) -> None:
            await asyncio.sleep(0)
            threads.add(threading.current_thread())
            kinds.append(event.kind)
            if len(kinds) == 3:
                all_told.set()

        async with keyturn.open_async(path=tmp_path / "data", password=None) as service:
            await service.subscribe(on_event)
            await service.reset_key()
            await service.rotate_key(60)
            await service.reset_key()
            await asyncio.wait_for(all_told.wait(), 30)
            await service.unsubscribe(on_event)
        return kinds, threads == {threading.current_thread()}

    assert asyncio.run(listen()) == (["reset", "rotated", "reset"], True)


def test_threads_that_could_not_be_started_leave_nobody_untold(
    stored_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, start = Heard(), threading.Thread.start

    def no_room(thread: threading.Thread) -> None:
        if thread.name in ("keyturn-subscribers", "keyturn-watcher", "keyturn-ticker"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with capture_logs() as lines:
        monkeypatch.setattr(threading.Thread, "start", no_room)
        stored_service.subscribe(heard)
        stored_service.reset_key()
        monkeypatch.setattr(threading.Thread, "start", start)
        stored_service.rotate_key(60)

        assert heard.next_kinds(2) == ["reset", "rotated"]

    assert "subscribers cannot be called now" in [line["event"] for line in lines]


def test_a_change_of_one_manager_makes_the_others_read_nothing(stored_service: Service) -> None:
    tenants = [stored_service.named(f"tenant {number}") for number in range(20)]
    heard = [Heard() for _ in tenants]
    for tenant, function in zip(tenants, heard, strict=True):
        tenant.subscribe(function)
        tenant.reset_key()
        assert function.next_kinds(1) == ["reset"]
    read: list[str] = []
    log, stored, looked = stored_service.log, stored_service.log.stored, threading.Event()
    log.watch(looked.set)  # called last

    def counted(manager: str, **how: Any) -> Any:
        read.append(manager)
        return stored(manager, **how)

    def reset_and_look() -> None:
        looked.clear()
        tenants[7].reset_key()
        assert heard[7].next_kinds(1) == ["reset"]
        assert looked.wait(30)

    reset_and_look()
    log.stored = counted  # type: ignore[method-assign]
    for _ in range(3):
        reset_and_look()

    assert set(read) == {"tenant 7"}


# --- the end of an overlap ---------------------------------------------------------------------


def test_the_end_of_an_overlap_is_told_when_the_clock_is_moved() -> None:
    clock, heard = ManualClock(), Heard()
    with open_service(clock=clock) as service:
        service.subscribe(heard)
        first, _ = service.history(), service.rotate_key(60)
        key_id = next(first).key_id
        assert heard.next_kinds(1) == ["rotated"]

        clock.advance(59)
        clock.advance(1)
        service.reset_key()

        ended = heard.events.get(timeout=30)
        assert ended == OverlapEnded("default", 1, key_id)
        assert heard.next_kinds(1) == ["reset"]


def test_an_overlap_that_a_reset_ended_is_not_told() -> None:
    clock, heard = ManualClock(), Heard()
    with open_service(clock=clock) as service:
        service.subscribe(heard)
        service.rotate_key(60)
        service.reset_key()
        service.rotate_key(600)
        clock.advance(61)
        service.stop()

        assert heard.next_kinds(4) == ["rotated", "reset", "rotated", "ManagerStopped"]


def test_the_end_of_an_overlap_is_told_once_though_the_actor_was_started_again() -> None:
    clock, heard = ManualClock(), Heard()
    with open_service(clock=clock) as service:
        service.subscribe(heard)
        service.rotate_key(60)
        service.manager.stop()
        clock.advance(61)
        assert service.manager.is_alive()  # another one
        clock.advance(1)
        clock.advance(1)
        service.stop()

        assert heard.next_kinds(3) == ["rotated", "OverlapEnded", "ManagerStopped"]


def test_the_end_of_an_overlap_is_told_with_the_real_clock(service: Service) -> None:
    heard = Heard()
    service.subscribe(heard)
    service.rotate_key(1)

    assert heard.next_kinds(2) == ["rotated", "OverlapEnded"]


def test_the_thread_that_calls_subscribers_ends_with_the_service(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        told: queue.Queue[threading.Thread] = queue.Queue()
        service.subscribe(lambda event: told.put(threading.current_thread()))
        service.reset_key()
        caller = told.get(timeout=10)

    caller.join(10)

    assert not caller.is_alive()
