"""A lifecycle under load: work under way is finished, and the end is a clear one."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

import pykka

import keyturn
from keyturn import (
    Destroy,
    SessionManager,
    Start,
    Stop,
)
from keyturn.domain import errors
from keyturn.domain.errors import (
    KeyturnError,
    LifecycleError,
)
from tests.actors.conftest import WORK
from tests.actors.host_rings import Gate, HostKeyRing

Ref = pykka.ActorRef[Any]
StartManager = Callable[..., pykka.ActorRef[SessionManager]]


def test_a_stop_lets_a_reset_that_is_under_way_finish() -> None:
    key_ring, gate = HostKeyRing(), Gate()
    with keyturn.open(store="memory:", key_ring=key_ring) as service:
        key_ring.before_sign = gate
        resetting = threading.Thread(target=service.reset_key, args=("under way",))
        resetting.start()
        gate.wait_until_reached()

        stopped = service.manager.ask(Stop(), block=False)
        gate.open()
        stopped.get(timeout=30)
        resetting.join(30)

        assert [change.reason for change in service.history()] == [None, "under way"]


def test_once_a_stop_has_returned_no_reset_is_recorded_any_more(stored_service: Any) -> None:
    outcomes: queue.Queue[Exception] = queue.Queue()
    started = threading.Event()

    def reset_until_refused() -> None:
        try:
            while True:
                stored_service.reset_key()
                started.set()
        except Exception as error:
            outcomes.put(error)

    for _ in range(4):
        threading.Thread(target=reset_until_refused).start()
    assert started.wait(30)
    stored_service.stop()
    recorded = len(list(stored_service.history()))

    errors_seen = [type(outcomes.get(timeout=30)) for _ in range(4)]
    assert set(errors_seen) == {errors.SessionManagerNotRunningError}
    assert len(list(stored_service.history())) == recorded


def test_lifecycle_messages_from_many_threads_give_only_lifecycle_errors(actor: Ref) -> None:
    surprises: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    together = threading.Barrier(6, timeout=30)

    def send(number: int) -> None:
        together.wait()
        orders = [Start(), Stop(), Destroy(), Start(fresh=True), *WORK[actor.actor_class]]
        for i in range(60):
            # Destroyed only towards the end, or else all is over at once.
            message = orders[(i * 7 + number) % len(orders)]
            if isinstance(message, Destroy) and i < 40:
                continue
            try:
                keyturn.ask(actor, message, timeout=30)
            except (LifecycleError, errors.TokenRefusedError):
                pass
            except BaseException as error:
                surprises.put(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert surprises.empty()


def test_after_lifecycle_messages_from_many_threads_the_end_state_is_one_of_three(
    actor: Ref,
) -> None:
    together = threading.Barrier(6, timeout=30)

    def send(number: int) -> None:
        together.wait()
        for i in range(30):
            message = [Start(), Stop(), Destroy()][(i + number) % 3]
            with contextlib.suppress(LifecycleError):
                keyturn.ask(actor, message, timeout=30)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (can(actor, Start()), can(actor, WORK[actor.actor_class][1])) in [
        (True, True),  # running, or stopped and started by this
        (False, False),  # destroyed
    ]


def can(actor: Ref, message: Any) -> bool:
    try:
        keyturn.ask(actor, message)
    except KeyturnError:
        return False
    return True
