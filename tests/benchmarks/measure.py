"""How a figure is measured: beside its peer, in turn with it, in the same run.

The machine is shared and noisy, so nothing is asserted about time. Ours and the peer take turns;
each turn gives a ratio, and the median of these counts.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Turn = tuple[float, float]
"""The seconds of a call of ours, and then of a call of the peer's."""


@dataclass(frozen=True)
class Figure:
    """One row of the table: seconds for ours and for the peer, and their ratio.

    `goal` is what the ratio is measured against, None: nothing; with `is_speedup` more is better.
    `unit` is "s" for seconds, or what else the two numbers count.
    """

    what: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    goal: float | None
    is_speedup: bool
    unit: str = "s"

    @property
    def is_met(self) -> bool:
        if self.goal is None:
            return True
        return self.ratio >= self.goal if self.is_speedup else self.ratio <= self.goal


def figure(
    what: str,
    turns: Sequence[Turn],
    peer_name: str,
    *,
    goal: float | None = None,
    is_speedup: bool = False,
) -> Figure:
    """Return the figure of these turns: the medians of each and of their ratios."""
    ratios = [b / a if is_speedup else a / b for a, b in turns]
    return Figure(
        what,
        statistics.median(a for a, _ in turns),
        statistics.median(b for _, b in turns),
        peer_name,
        statistics.median(ratios),
        goal,
        is_speedup,
    )


def take_turns(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    calls: int = 1000,
    rounds: int = 15,
    tokens: int = 1,
) -> list[Turn]:
    """Measure both: `calls` of each a round, after one round to warm up.

    Args:
        ours: what is measured.
        peer: beside what.
        calls: how many of each a round.
        rounds: how many turns count.
        tokens: how many tokens a call of ours deals with; a call of the peer's has one.
    """
    turns = [(_time(ours, calls) / tokens, _time(peer, calls)) for _ in range(rounds + 1)]
    return turns[1:]


def compare(
    what: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    peer_name: str,
    *,
    goal: float | None = None,
    is_speedup: bool = False,
    calls: int = 1000,
    rounds: int = 15,
) -> Figure:
    """Measure one figure: see `take_turns`."""
    turns = take_turns(ours, peer, calls=calls, rounds=rounds)
    return figure(what, turns, peer_name, goal=goal, is_speedup=is_speedup)


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Keep the threads that are started in the block on one CPU."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def _time(call: Callable[[], object], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls
