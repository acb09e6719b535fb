"""Messages to the manager's actor, beside messages to a stock pykka actor that does the same.

Two threads that hand a message over to each other do so at one of two speeds, by the CPUs that
they are on, and with pykka's actors as with ours. The thread that is started later is more often
on the asker's CPU, so the two actors are started in turns, and each figure is the median over
several pairs of them.
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

PAIRS = 10
PIPELINED = 100
PEER = "stock pykka actor that verifies"


class VerifyingActor(pykka.ThreadingActor):
    """A stock pykka actor that calls the same verification; first tell it whose."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> object:
        if isinstance(message, keyturn.Service):
            self._service = message
            return None
        return self._service.verify_token(message.token)


def message_figures(data: Path) -> Iterator[Figure]:
    """Yield the figures of one message, and of a hundred before the first reply is read."""
    single, pipelined = measure(data)
    yield figure("ask(VerifyToken)", single, PEER, goal=1.3)
    yield figure(f"{PIPELINED} asks, pipelined", pipelined, PEER)
    with one_cpu():
        single, pipelined = measure(data)
    yield figure("ask(VerifyToken), on one CPU", single, PEER)
    yield figure(f"{PIPELINED} asks, pipelined, on one CPU", pipelined, PEER)


def measure(data: Path) -> tuple[list[Turn], list[Turn]]:
    """Return the turns of single and of pipelined messages, over several pairs of actors."""
    single, pipelined = list[Turn](), list[Turn]()
    for pair in range(PAIRS):
        early = VerifyingActor.start()
        with keyturn.open(path=data, password=None) as service:
            late = VerifyingActor.start()
            manager, stock = service.manager, (early, late)[pair % 2]
            stock.tell(service)
            message = VerifyToken(service.create_token())
            ours, theirs = partial(ask, manager, message), partial(stock.ask, message)
            single += take_turns(ours, theirs, calls=200, rounds=5)
            many = partial(pipeline, manager, message)
            their_many = partial(pipeline, stock, message)
            pipelined += take_turns(many, their_many, calls=10, rounds=5)
        early.stop()
        late.stop()
    return single, pipelined


def pipeline(ref: pykka.ActorRef[Any], message: object) -> None:
    """Send many messages, and then read the replies."""
    for future in [ref.ask(message, block=False) for _ in range(PIPELINED)]:
        future.get()
