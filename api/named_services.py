"""The services of further managers of one log: one for each name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What a service is here."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


class NamedServices(Generic[S]):
    """Those that are open, by the name of their manager. Safe to use from any thread."""

    def __init__(self) -> None:
        self._services: dict[str, S] = {}
        self._opening = threading.Lock()

    def get(self, name: str, open_it: Callable[[str], S]) -> S:
        """Return the service of this name; one at a time is opened if there is none."""
        service = self._services.get(name)
        if service is None:
            with self._opening:
                service = self._services.get(name) or open_it(name)
                self._services[name] = service
        return service

    def discard(self, name: str) -> None:
        """Forget the service of this name: it is closed."""
        self._services.pop(name, None)

    def close(self) -> None:
        """Close all; one that is being opened is waited for."""
        with self._opening:
            services = list(self._services.values())
        for service in services:
            service.close()
