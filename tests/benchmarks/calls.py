"""How many Python functions a use of a service calls: whether the way became shorter or longer.

Noise on a shared machine does not change these numbers. Builtins are not counted; the threads of
the service are.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import keyturn
from keyturn import SetupKey, ask
from tests.benchmarks.measure import Figure

OF_VERSION_0_1 = {
    "create": 11,
    "verify": 14,
    "reset": 146,
    "first verify after another's reset": 182,
    "open": 1_076,
}


class Counter:
    """Counts calls, in this thread and in those that are started while it exists."""

    def __init__(self) -> None:
        self.calls = 0
        self._is_on = False

    def of(self, use: Callable[[], object]) -> int:
        """Return how many calls a use takes, at least: its threads go on with other things."""
        return min(self.once(use) for _ in range(5))

    def once(self, use: Callable[[], object]) -> int:
        """Return how many calls a use takes, this time."""
        self.calls = 0
        self._is_on = True
        sys.setprofile(self._note)
        try:
            use()
        finally:
            sys.setprofile(None)
            self._is_on = False
        return self.calls

    @contextlib.contextmanager
    def in_new_threads(self) -> Iterator[None]:
        """Have the threads that are started in the block count theirs."""
        threading.setprofile(self._note)
        try:
            yield
        finally:
            threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and self._is_on:
            self.calls += 1


def call_figures(folder: Path) -> Iterator[Figure]:
    """Yield the number of calls of each use, beside that of version 0.1."""
    for what, calls in counted(folder / "calls").items():
        before = OF_VERSION_0_1[what]
        ratio = calls / before
        yield Figure(f"calls: {what}", calls, before, "0.1", ratio, None, False, "")


def counted(data: Path) -> dict[str, int]:
    """Return the number of calls of each use, once everything was used before."""
    counter = Counter()
    services = []

    def open_service() -> keyturn.Service:
        services.append(keyturn.open(path=data, password=None))
        return services[-1]

    open_service().close()
    with counter.in_new_threads(), open_service() as service, open_service() as other:
        for each in (service, other):
            each.reset_key()
            each.verify_token(each.create_token())
        token = service.create_token()
        other.verify_token(token)
        settle(service, other)
        found = {
            "create": counter.of(service.create_token),
            "verify": counter.of(partial(service.verify_token, token)),
            "reset": counter.of(service.reset_key),
        }
        first = []
        for _ in range(5):
            service.reset_key()
            settle(service)
            first.append(counter.once(partial(other.verify_token, token)))
        found["first verify after another's reset"] = min(first)
        found["open"] = counter.of(open_service)
        for opened in services[-5:]:
            opened.close()
    return found


def settle(*services: keyturn.Service) -> None:
    """Wait until the actors have dealt with what they were told."""
    for service in services:
        ask(service.manager, SetupKey())
