"""One service for each process, behind servers that fork (gunicorn) or spawn (uvicorn)."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from keyturn import opening
from keyturn.operations import handed_on
from keyturn.service import Service


class PerProcess:
    """A service that each process opens for itself, at its first use there.

    Safe to use from any thread, and across a fork: the child opens its own. What was opened is
    closed when its process ends.

    Args:
        open_service: opens one.
    """

    def __init__(self, open_service: Callable[[], Service]) -> None:
        self._open = open_service
        self._places: dict[int, _Place] = {}  # by process id: a lock is no use after a fork

    @property
    def opened(self) -> Service | None:
        """The service of this process; None if it was not used here yet. Never waits."""
        place = self._places.get(os.getpid())
        return None if place is None else place.service

    def get(self) -> Service:
        """Return the service of this process. The first call opens it, which takes its time.

        Raises:
            KeyturnError: it cannot be opened; the next call tries again.
        """
        place = self._places.setdefault(os.getpid(), _Place())
        if place.service is None:
            with place.lock:
                if place.service is None:
                    place.service = self._open()
                    atexit.register(self.close)
        return place.service

    def close(self) -> None:
        """Close the service of this process, if there is one. The next use opens it anew."""
        place = self._places.get(os.getpid())
        if place is not None:
            with place.lock:
                service, place.service = place.service, None
                atexit.unregister(self.close)
            if service is not None:
                service.close()

    def __repr__(self) -> str:
        return f"<keyturn.web.PerProcess: {self.opened or 'not opened yet'}>"


@dataclass
class _Place:
    """Where the service of one process is kept."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    service: Service | None = None


per_process = handed_on(opening.open, PerProcess)
"""Return a `PerProcess` that opens with these arguments: those of `keyturn.open`."""

ServiceSource: TypeAlias = Service | PerProcess
"""What serves a web host: a service that is open, or one for each process."""


def service_of(source: ServiceSource) -> Service:
    """Return the service of this process; one for each process may be opened for it."""
    return source.get() if isinstance(source, PerProcess) else source
