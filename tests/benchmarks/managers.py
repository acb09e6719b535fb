"""Many managers in one log and one process."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import keyturn
from tests.benchmarks.measure import Figure, figure

RESETS = 300


def manager_figures(folder: Path, *, count: int) -> Iterator[Figure]:
    """Yield the figures of making so many managers, and of resets beside them.

    Args:
        folder: where the log lies.
        count: how many are there when resets are measured; then as many are made once more.
    """
    with keyturn.open(path=folder / "managers", password=None) as service:
        first = making(service, 0, count)
        yield reset_among(service, count)
        second = making(service, count, 2 * count)
    what = f"make a manager, beside {count:,} to {2 * count:,}"
    turns = list(zip(second, first, strict=True))
    yield figure(what, turns, f"beside up to {count:,}", goal=1.3)


def making(service: keyturn.Service, first: int, last: int) -> list[float]:
    """Make managers, and return the seconds for one of them, for each of 20 batches."""
    batch = (last - first) // 20
    seconds = []
    for begin in range(first, last, batch):
        started = time.perf_counter()
        for number in range(begin, begin + batch):
            service.named(f"manager {number}")
        seconds.append((time.perf_counter() - started) / batch)
    return seconds


def reset_among(service: keyturn.Service, count: int) -> Figure:
    """Reset one manager after the other, in no order: the slowest of a hundred."""
    chance = random.Random(1)
    seconds = []
    for _ in range(RESETS):
        named = service.named(f"manager {chance.randrange(count)}")
        started = time.perf_counter()
        named.reset_key()
        seconds.append(time.perf_counter() - started)
    slowest = statistics.quantiles(seconds, n=100)[98]
    what = f"reset among {count:,} managers, p99"
    return figure(what, [(slowest, 0.010)], "at most", goal=1)
