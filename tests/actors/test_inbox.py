"""The inbox: whoever asks is answered, also when the actor stops meanwhile."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from keyturn.actors.reply import Inbox, Reply
from keyturn.actors.supervision import SupervisedActor


class Echo(SupervisedActor):
    """Replies with what it gets."""

    def on_receive(self, message: Any) -> Any:
        return message


@pytest.mark.usefixtures("quick_switches")
def test_an_ask_that_races_a_stop_is_always_answered() -> None:
    rounds, threads, asks = 500, 4, 6
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
    assert counts.total() == rounds * threads * asks


def test_a_message_that_slips_in_after_the_end_is_answered() -> None:
    inbox, reply = Inbox(), Reply[str]()
    inbox.close()

    inbox.put(Envelope("anybody there?", reply_to=reply))

    with pytest.raises(pykka.ActorDeadError):
        reply.get(timeout=0)


def test_what_is_in_the_inbox_at_the_end_is_answered() -> None:
    inbox, reply = Inbox(), Reply[str]()
    inbox.put(Envelope("anybody there?", reply_to=reply))

    inbox.close()

    with pytest.raises(pykka.ActorDeadError):
        reply.get(timeout=0)


def test_a_stop_that_slips_in_after_the_end_is_fulfilled() -> None:
    inbox, reply = Inbox(), Reply[None]()
    inbox.close()

    inbox.put(Envelope(_ActorStop(), reply_to=reply))

    assert reply.get(timeout=0) is None


def test_a_told_message_that_comes_too_late_is_no_failure() -> None:
    inbox, failures = Inbox(), list[BaseException]()
    inbox.on_untold_failure = failures.append
    inbox.close()

    inbox.put(Envelope("anybody there?"))

    assert (failures, inbox.empty()) == ([], True)


def test_an_ask_of_a_stopped_actor_says_that_it_is_dead() -> None:
    ref = Echo.start(None)
    ref.stop(timeout=30)

    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anybody there?", timeout=30)


class FailsAtItsStart(Echo):
    """An actor of a host whose start fails."""

    def on_start(self) -> None:
        raise ValueError("broken")


class FailsAtItsEnd(Echo):
    """An actor of a host whose end fails, before it closed the inbox."""

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
