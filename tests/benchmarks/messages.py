"""Messages to the manager's actor, beside messages to an actor of pykka's that does nothing.

Two threads that hand a message over to each other do so at one of two speeds, on one CPU as on
two, and the scheduler decides that anew for each pair of threads, with pykka's actors as with
ours. So each figure is the median over several pairs of actors. The goals are about one CPU,
where it decides less.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pykka

import keyturn
from keyturn import VerifyToken, ask
from tests.benchmarks.measure import Figure, Turn, figure, one_cpu, take_turns

PAIRS = 9
PIPELINED = 100
PEER = "empty pykka actor"


class EmptyActor(pykka.ThreadingActor):
    """A stock pykka actor that does nothing."""

    use_daemon_thread = True

    def on_receive(self, message: object) -> object:
        return True


def message_figures(data: Path) -> Iterator[Figure]:
    """Yield the figures of one message, and of a hundred before the first reply is read."""
    with one_cpu():
        single, pipelined = measure(data)
    yield figure("ask(VerifyToken)", single, PEER, goal=1.1)
    yield figure(f"{PIPELINED} asks, pipelined", pipelined, PEER, goal=1.0)
    single, pipelined = measure(data)
    yield figure("ask(VerifyToken), on all CPUs", single, PEER)
    yield figure(f"{PIPELINED} asks, pipelined, on all CPUs", pipelined, PEER)


def measure(data: Path) -> tuple[list[Turn], list[Turn]]:
    """Return the turns of single and of pipelined messages, over several pairs of actors."""
    single, pipelined = list[Turn](), list[Turn]()
    for _ in range(PAIRS):
        with keyturn.open(path=data, password=None) as service:
            manager, empty = service.manager, EmptyActor.start()
            message = VerifyToken(service.create_token())
            ours, theirs = partial(ask, manager, message), partial(empty.ask, message)
            single += take_turns(ours, theirs, calls=200, rounds=5)
            many, their_many = (
                partial(pipeline, manager, message),
                partial(pipeline, empty, message),
            )
            pipelined += take_turns(many, their_many, calls=10, rounds=5)
            empty.stop()
    return single, pipelined


def pipeline(ref: pykka.ActorRef[Any], message: object) -> None:
    """Send many messages, and then read the replies."""
    for future in [ref.ask(message, block=False) for _ in range(PIPELINED)]:
        future.get()
