"""How a figure is measured: beside its peer, in turn with it, in the same run.

The machine is shared and noisy, so nothing is asserted about time. Ours and the peer take turns;
each turn gives a ratio, and the median of these counts.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table: seconds for ours and for the peer, and their ratio.

    `goal` is what the ratio is measured against; with `is_speedup` more is better.
    """

    what: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    goal: float
    is_speedup: bool

    @property
    def is_met(self) -> bool:
        return self.ratio >= self.goal if self.is_speedup else self.ratio <= self.goal


def compare(
    what: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    peer_name: str,
    *,
    goal: float,
    is_speedup: bool = False,
    calls: int = 1000,
    rounds: int = 15,
) -> Figure:
    """Measure one figure: `calls` of each a round, after one round to warm up."""
    pairs = [(_time(ours, calls), _time(peer, calls)) for _ in range(rounds + 1)][1:]
    ratios = [b / a if is_speedup else a / b for a, b in pairs]
    return Figure(
        what,
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        peer_name,
        statistics.median(ratios),
        goal,
        is_speedup,
    )


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Keep the threads that are started in the block on one CPU.

    Two threads that hand messages over take three times as long when the scheduler puts them on
    two, and it decides that anew for each pair of threads.
    """
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
