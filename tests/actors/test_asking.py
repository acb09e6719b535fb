"""Asking an actor: whoever asks is answered, and learns whether a change was made."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pykka
import pytest

import keyturn
from keyturn import ActorStoppedError, AskTimeoutError, KeyturnError, Message
from keyturn.actors.asking import Asked
from keyturn.actors.supervision import SupervisedActor
from keyturn.domain.errors import MessageFailedError
from tests.actors.host_rings import Gate, raises


class Echo(SupervisedActor):
    """Replies with what it gets."""

    def handle(self, message: Any) -> Any:
        return message


@pytest.mark.usefixtures("quick_switches")
def test_an_ask_that_races_a_stop_is_always_answered() -> None:
    rounds, threads, asks = 500, 4, 3
    outcomes: queue.SimpleQueue[str] = queue.SimpleQueue()
    refs = [Echo.start(None) for _ in range(rounds)]
    together = threading.Barrier(threads + 1, timeout=30)

    def ask_often() -> None:
        for ref in refs:
            together.wait()
            for reply in [ref.ask("answered", block=False) for _ in range(asks)]:
                try:
                    outcomes.put(reply.get(timeout=5))
                except pykka.ActorDeadError:
                    outcomes.put("dead")
                except BaseException as error:
                    outcomes.put(repr(error))

    asking = [threading.Thread(target=ask_often) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for ref in refs:
        together.wait()
        ref.stop(timeout=10)
    for thread in asking:
        thread.join(60)

    counts = Counter(outcomes.get_nowait() for _ in range(outcomes.qsize()))
    assert set(counts) <= {"answered", "dead"}
    assert counts.total() == rounds * threads * asks == 6000


def test_an_ask_of_a_stopped_actor_says_that_it_is_dead() -> None:
    ref = Echo.start(None)
    ref.stop(timeout=30)

    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anybody there?", timeout=30)


def test_a_message_told_to_a_stopped_actor_says_that_it_is_dead() -> None:
    ref = Echo.start(None)
    ref.stop(timeout=30)

    with pytest.raises(pykka.ActorDeadError):
        ref.tell("anybody there?")


class FailsAtItsStart(Echo):
    """An actor of a host whose start fails."""

    def on_start(self) -> None:
        raise ValueError("broken")


class FailsAtItsEnd(Echo):
    """An actor of a host whose end fails."""

    def on_stop(self) -> None:
        raise ValueError("broken")


@pytest.mark.parametrize("kind", [FailsAtItsStart, FailsAtItsEnd])
def test_an_ask_of_an_actor_that_failed_at_its_start_or_end_says_that_it_is_dead(
    kind: type[Echo],
) -> None:
    ref = kind.start(None)
    ref.stop(timeout=30)

    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anybody there?", timeout=5)


def test_messages_from_before_a_stop_are_answered_before_it() -> None:
    ref = Echo.start(None)

    replies = [ref.ask(n, block=False) for n in range(100)]
    ref.stop(timeout=30)

    assert [reply.get(timeout=0) for reply in replies] == list(range(100))


def test_stopping_a_stopped_actor_does_nothing_and_says_so() -> None:
    ref = Echo.start(None)

    stops = [ref.stop(timeout=30), ref.stop(timeout=30)]

    assert stops == [True, False]


@pytest.mark.usefixtures("quick_switches")
def test_many_stops_at_once_are_all_answered() -> None:
    stopped: queue.Queue[bool] = queue.Queue()
    ref = Echo.start(None)
    together = threading.Barrier(8, timeout=30)

    def stop() -> None:
        together.wait()
        stopped.put(ref.stop(timeout=30))

    for _ in range(8):
        threading.Thread(target=stop).start()

    answers = [stopped.get(timeout=30) for _ in range(8)]
    assert any(answers)


class EndsSlowly(Echo):
    """An actor whose end takes its time."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(None)
        self._gate = gate
        self.has_ended = threading.Event()

    def on_stop(self) -> None:
        self._gate()
        self.has_ended.set()


def test_a_stop_returns_when_the_actor_has_ended() -> None:
    gate = Gate()
    ref = EndsSlowly.start(gate)
    has_ended = ref.proxy().has_ended.get(timeout=30)

    stopped = ref.stop(block=False)
    gate.wait_until_reached()
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anybody there?", timeout=5)
    gate.open()

    assert (stopped.get(timeout=30), has_ended.is_set()) == (True, True)


# --- typed asks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work(Message[str]):
    """Do this, and reply with what it returns."""

    work: Callable[[], object]


@dataclass(frozen=True)
class Change(Work):
    """The same, with an effect."""

    changes: ClassVar[bool] = True


class Worker(SupervisedActor):
    """Does what it is asked."""

    handlers: ClassVar = {
        Work: lambda self, m: m.work(),
        Change: lambda self, m: m.work(),
    }


def in_turn(*steps: Callable[[], object]) -> Callable[[], object]:
    return lambda: [step() for step in steps]


def ask_by_await(ref: pykka.ActorRef[Any], message: Message[Any], *, timeout: float = 30) -> Any:
    return asyncio.run(keyturn.ask_async(ref, message, timeout=timeout))


Ask = Callable[..., Any]
both_ways = pytest.mark.parametrize("ask", [keyturn.ask, ask_by_await])


@pytest.fixture
def worker() -> pykka.ActorRef[Any]:
    return Worker.start(None)


@pytest.fixture
def busy(worker: pykka.ActorRef[Any]) -> Gate:
    """Keeps the worker busy until it is opened."""
    gate = Gate()
    worker.ask(Work(gate), block=False)
    gate.wait_until_reached()
    return gate


@both_ways
@pytest.mark.parametrize("kind", [KeyturnError, ActorStoppedError, pykka.ActorDeadError])
def test_asking_a_stopped_actor_is_an_error_of_ours_and_of_pykkas(
    worker: pykka.ActorRef[Any], ask: Ask, kind: type[Exception]
) -> None:
    worker.stop(timeout=30)

    with pytest.raises(kind):
        ask(worker, Work(str))


@both_ways
@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("slow"), pykka.Timeout("slow")])
def test_what_is_no_error_of_ours_is_the_cause_of_one(
    worker: pykka.ActorRef[Any], ask: Ask, error: Exception
) -> None:
    with pytest.raises(MessageFailedError, match=f"Work raised {type(error).__name__}") as caught:
        ask(worker, Work(raises(error)))

    assert caught.value.__cause__ is error


@both_ways
def test_an_endless_timeout_is_one(worker: pykka.ActorRef[Any], ask: Ask) -> None:
    assert ask(worker, Work(lambda: "done"), timeout=float("inf")) == "done"


# --- deadlines ---------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("timeout", [-1, 0, 0.01])
@pytest.mark.parametrize("kind", [Work, Change])
def test_a_message_that_the_actor_has_not_begun_in_time_is_taken_back(
    worker: pykka.ActorRef[Any], busy: Gate, ask: Ask, timeout: float, kind: type[Work]
) -> None:
    done: list[str] = []

    with pytest.raises(AskTimeoutError) as caught:
        ask(worker, kind(lambda: done.append("change")), timeout=timeout)

    busy.open()
    keyturn.ask(worker, Work(str))
    assert (caught.value.recorded, caught.value.timeout, done) == (False, timeout, [])


@both_ways
@pytest.mark.parametrize(("kind", "recorded"), [(Work, False), (Change, None)])
def test_of_a_message_that_was_begun_nobody_knows_whether_it_changes_anything(
    worker: pykka.ActorRef[Any], ask: Ask, kind: type[Work], recorded: bool | None
) -> None:
    gate, done = Gate(), list[str]()

    with pytest.raises(AskTimeoutError) as caught:
        ask(worker, kind(in_turn(gate, lambda: done.append("change"))), timeout=0.05)

    gate.open()
    keyturn.ask(worker, Work(str))
    assert (caught.value.recorded, done) == (recorded, ["change"])


def test_the_actor_drops_a_late_message_and_says_so(
    worker: pykka.ActorRef[Any], busy: Gate
) -> None:
    done: list[str] = []
    reply = worker.ask(Change(lambda: done.append("change")), block=False, timeout=0)

    busy.open()

    with pytest.raises(AskTimeoutError) as caught:
        reply.get(timeout=30)
    assert (caught.value.recorded, done) == (False, [])


def test_a_wait_that_ends_before_the_deadline_takes_nothing_back(
    worker: pykka.ActorRef[Any], busy: Gate
) -> None:
    reply = worker.ask(Change(lambda: "changed"), block=False)

    with pytest.raises(AskTimeoutError) as caught:
        reply.get(timeout=0.01)

    busy.open()
    assert (caught.value.recorded, reply.get(timeout=30)) == (None, "changed")


def test_everybody_who_waits_for_a_message_that_was_taken_back_is_told(
    worker: pykka.ActorRef[Any], busy: Gate
) -> None:
    reply: Any = worker.ask(Change(str), block=False, timeout=0.01)
    answered = threading.Event()
    reply.then(answered.set)

    for _ in range(2):
        with pytest.raises(AskTimeoutError) as caught:
            reply.get(timeout=0.01)
        assert caught.value.recorded is False

    assert answered.is_set()
    busy.open()


def test_a_message_taken_back_at_the_moment_when_the_actor_would_begin_is_not_carried_out(
    worker: pykka.ActorRef[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, asker, done = Gate(), threading.current_thread(), list[str]()

    def is_late(message: Asked) -> bool:
        if threading.current_thread() is asker:
            return True
        looking()  # the actor found it in time, and the deadline passes before it begins
        return False

    monkeypatch.setattr(Asked, "is_late", property(is_late))
    reply = worker.ask(Change(lambda: done.append("change")), block=False)
    looking.wait_until_reached()

    with pytest.raises(AskTimeoutError) as caught:
        reply.get(timeout=0)
    looking.open()

    keyturn.ask(worker, Work(str))
    assert (caught.value.recorded, done) == (False, [])


@pytest.mark.usefixtures("quick_switches")
def test_what_an_asker_is_told_of_a_change_is_true_however_close_the_deadline(
    worker: pykka.ActorRef[Any],
) -> None:
    done, told = queue.SimpleQueue[tuple[int, int]](), dict[tuple[int, int], object]()

    def ask_often(number: int) -> None:
        chance = random.Random(number)
        for count in range(1000):
            this = (number, count)
            try:
                change = Change(partial(done.put, this))
                keyturn.ask(worker, change, timeout=chance.random() / 2000)
                told[this] = True
            except AskTimeoutError as error:
                told[this] = error.recorded

    threads = [threading.Thread(target=ask_often, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    keyturn.ask(worker, Work(str))

    made = {done.get_nowait() for _ in range(done.qsize())}
    assert len(told) == 4000
    assert {this for this, recorded in told.items() if recorded is True} <= made
    assert not {this for this, recorded in told.items() if recorded is False} & made
    assert set(told.values()) >= {True, False}


@pytest.mark.parametrize("has_begun", [True, False])
def test_cancelling_an_await_takes_nothing_back(
    worker: pykka.ActorRef[Any], has_begun: bool
) -> None:
    before, gate, done = Gate(), Gate(), list[str]()
    worker.ask(Work(before), block=False)

    async def cancel() -> None:
        change = Change(in_turn(gate, lambda: done.append("change")))
        asking = asyncio.ensure_future(keyturn.ask_async(worker, change))
        await asyncio.sleep(0)
        if has_begun:
            before.open()
            await asyncio.to_thread(gate.wait_until_reached)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(cancel())
    before.open()
    gate.open()
    keyturn.ask(worker, Work(str))

    assert done == ["change"]


# --- signals and forks -------------------------------------------------------------------------

PRELUDE = """
import os, random, signal, threading
from keyturn.actors.asking import Asked
from keyturn.actors.supervision import SupervisedActor

class Echo(SupervisedActor):
    def handle(self, message):
        return message

ref = Echo.start(None)
"""


def test_an_actor_goes_on_however_often_its_askers_are_interrupted(
    run_python: Callable[..., Any],
) -> None:
    done = run_python(
        PRELUDE
        + """
class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

signal.signal(signal.SIGALRM, interrupt)
interrupts = 0
while interrupts < 5000:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 6e-5))
        while True:
            ref.ask("a", timeout=10)
    except Interrupted:
        interrupts += 1

signal.signal(signal.SIGALRM, signal.SIG_IGN)
thread = threading.Thread(target=lambda: print(ref.ask("still there", timeout=10)))
thread.start()
thread.join(20)
print(ref.ask("here too", timeout=10), ref.stop(timeout=10))
"""
    )

    assert done.stdout.splitlines() == ["still there", "here too True"]


def test_an_actor_of_the_parent_is_dead_at_once_in_a_forked_child_which_starts_its_own(
    run_python: Callable[..., Any],
) -> None:
    done = run_python(
        PRELUDE
        + """
import pykka
stop = threading.Event()

def keep_asking():
    while not stop.is_set():
        ref.ask("a", timeout=10)

threads = [threading.Thread(target=keep_asking) for _ in range(3)]
for thread in threads:
    thread.start()

def refusal(use):
    try:
        return use()
    except pykka.ActorDeadError as error:
        return "start one in this process" in str(error)

for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        asked = refusal(lambda: ref.ask("a"))
        told = refusal(lambda: ref.tell("a"))
        called = refusal(lambda: ref.ask(pykka.messages.ProxyCall(("handle",), ("a",), {})))
        state = (ref.is_alive(), ref.stop(), Echo.start(None).ask("mine", timeout=10))
        print(asked, told, called, *state, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
stop.set()
for thread in threads:
    thread.join()
print(ref.ask("parent"))
"""
    )

    assert done.stdout.splitlines() == ["True True True False False mine"] * 20 + ["parent"]
