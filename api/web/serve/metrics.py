"""The figures of a service for Prometheus, of all workers together.

With several workers each writes its figures to files (`PROMETHEUS_MULTIPROC_DIR`, which the
parent sets), and the worker that is asked adds them up; those of the others may be a second old.
"""

from __future__ import annotations

import asyncio
import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from keyturn.actors.activity import Metrics
from keyturn.aio import AsyncService

__all__ = ["CONTENT_TYPE_LATEST", "FOLDER_OF_FIGURES", "Figures"]

FOLDER_OF_FIGURES = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names where workers leave theirs; `prometheus_client` reads it when a worker
imports it."""

_COUNTERS = {
    "created": ("keyturn_tokens_created", "Tokens minted, each of a new session."),
    "accepted": ("keyturn_tokens_accepted", "Tokens that were checked and good."),
    "refreshed": ("keyturn_tokens_refreshed", "Tokens exchanged for new ones."),
    "sessions_ended": ("keyturn_sessions_ended", "Ends of sessions recorded here."),
    "resets": ("keyturn_key_resets", "Resets of the key recorded here."),
    "rotations": ("keyturn_key_rotations", "Rotations of the key recorded here."),
    "retries": ("keyturn_write_retries", "Writes that another process was faster than."),
}
_GAUGES = {
    "position": ("keyturn_log_position", "Position of the newest event read."),
    "ended_sessions": ("keyturn_ended_sessions", "Ends of sessions that are remembered."),
    "seconds_since_heard": ("keyturn_log_age_seconds", "Age of what is known of the log."),
}


class Figures:
    """What `GET /metrics` shows. Its counters are the process's, so make one."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._counters = {
            name: Counter(*described, registry=registry) for name, described in _COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(*described, registry=registry, multiprocess_mode="mostrecent")
            for name, described in _GAUGES.items()
        }
        self._refused = Counter(
            "keyturn_tokens_refused",
            "Tokens that were not good, by the reason.",
            ["reason"],
            registry=registry,
        )
        self._shown: dict[str, int] = {}

    def take(self, metrics: Metrics) -> None:
        """Take the figures of this moment."""
        for name, counter in self._counters.items():
            counter.inc(self._more(name, getattr(metrics, name)))
        for reason, number in metrics.refused.items():
            more = self._more(reason.value, number)
            self._refused.labels(reason.value).inc(more)
        for name, gauge in self._gauges.items():
            gauge.set(getattr(metrics, name))

    async def keep_taking(self, sessions: AsyncService, every: float = 1.0) -> None:
        """Take the figures again and again, until it is cancelled."""
        while True:
            self.take(sessions.metrics())
            await asyncio.sleep(every)

    def text(self) -> bytes:
        """Return the figures of all workers, as Prometheus reads them."""
        registry = self._registry
        if FOLDER_OF_FIGURES in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _more(self, name: str, number: int) -> int:
        more = number - self._shown.get(name, 0)
        self._shown[name] = number
        return more
