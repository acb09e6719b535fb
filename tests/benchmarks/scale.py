"""Many threads and many processes that verify at once, beside one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keyturn
from tests.benchmarks.measure import Figure, figure

SECONDS = 0.5
"""How long each process verifies, a turn."""

THREADS = 8
CALLS = 40_000

PROCESS = f"""
import sys, time, keyturn
with keyturn.open(path=sys.argv[1], password=None) as service:
    token = service.create_token()
    while True:
        print("ready", flush=True)
        if not sys.stdin.readline():
            break
        calls, until = 0, time.perf_counter() + {SECONDS}
        while time.perf_counter() < until:
            for _ in range(100):
                service.verify_token(token)
            calls += 100
        print(calls, flush=True)
"""


def scale_figures(service: keyturn.Service, data: Path) -> Iterator[Figure]:
    """Yield the figures of 2 processes and of 8 threads: seconds for each verification of all."""
    yield processes(data)
    yield threads(service)


def processes(data: Path) -> Figure:
    """Measure two processes on one log, beside one of them.

    Each has a CPU of its own: left alone, two that are woken together may share one for a while,
    whatever they do, and what is to be seen is whether one has to wait for the other.
    """
    workers = [Worker(data, number) for number in range(2)]
    try:
        turns = [(together(workers), together(workers[:1])) for _ in range(12)][1:]
    finally:
        for worker in workers:
            worker.end()
    return figure("verify, 2 processes", turns, "1 process", goal=1.8, is_speedup=True)


def threads(service: keyturn.Service) -> Figure:
    """Measure many threads on one handle, beside one: the GIL is the limit, no lock of ours."""
    token = service.create_token()

    def verify(calls: int) -> None:
        for _ in range(calls):
            service.verify_token(token)

    def many() -> float:
        started = time.perf_counter()
        running = [
            threading.Thread(target=verify, args=(CALLS // THREADS,)) for _ in range(THREADS)
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return (time.perf_counter() - started) / CALLS

    def one() -> float:
        started = time.perf_counter()
        verify(CALLS)
        return (time.perf_counter() - started) / CALLS

    turns = [(many(), one()) for _ in range(16)][1:]
    return figure(f"verify, {THREADS} threads", turns, "1 thread", goal=0.85, is_speedup=True)


class Worker:
    """A process that verifies tokens when it is told to, on the CPU of this number."""

    def __init__(self, data: Path, number: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if hasattr(os, "sched_setaffinity"):
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._process.pid, {cpus[number % len(cpus)]})
        self._read()

    def begin(self) -> None:
        """Let it verify for a while."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def verified(self) -> int:
        """Wait until it is done, and return how many tokens it verified."""
        calls = int(self._read())
        self._read()
        return calls

    def end(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def together(workers: list[Worker]) -> float:
    """Return the seconds for each verification when these verify at once."""
    for worker in workers:
        worker.begin()
    return SECONDS / sum(worker.verified() for worker in workers)
