"""The services of further managers of one log: one for each name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from keyturn.config.threads import in_thread

S = TypeVar("S")


class NamedServices(Generic[S]):
    """Those that are open, by the name of their manager. Safe to use from any thread."""

    def __init__(self) -> None:
        self._services: dict[str, S] = {}
        self._opening = threading.Lock()

    def get(self, name: str, open_it: Callable[[str], S]) -> S:
        """Return the service of this name; one at a time is opened if there is none.

        An opening that is interrupted by a signal goes on, and is there for the next call.
        """
        service = self._services.get(name)
        if service is not None:
            return service

        def get_or_open() -> S:
            with self._opening:
                service = self._services.get(name)
                if service is None:
                    service = self._services[name] = open_it(name)
                return service

        return in_thread(get_or_open)

    def discard(self, name: str) -> None:
        """Forget the service of this name: it is closed."""
        self._services.pop(name, None)

    def all(self) -> list[S]:
        """Return all that are open; one that is being opened is waited for."""
        with self._opening:
            return list(self._services.values())
