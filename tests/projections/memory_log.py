"""Logs in memory: written as a service writes them, put together anew, and audited."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from eventsourcing.persistence import StoredEvent

from keyturn.config.event_log import EventLog
from keyturn.config.memory import MemoryStore
from keyturn.config.store import Store
from keyturn.domain.mark import Mark
from keyturn.domain.stored_events import stored_of
from keyturn.projections.findings import AuditReport, FindingKind


class Marks(dict[str, Mark]):
    """What an anchor has seen."""

    def marks(self) -> dict[str, Mark]:
        return self


def new_log(store: type[Store] = MemoryStore) -> EventLog:
    return EventLog(store, "memory:")


def rows_in(log: EventLog) -> list[StoredEvent]:
    """All rows in the order of writing."""
    return [stored_of(row) for row in log.rows()]


def log_with(rows: Iterable[StoredEvent], store: type[Store] = MemoryStore) -> EventLog:
    """A log that holds these rows, written in this order, whatever they are."""
    log = new_log(store)
    log.restore(rows)
    return log


def mark_in(log: EventLog, manager: str = "default", *, purged: bool = False) -> Mark:
    """What an anchor says of the newest event."""
    event = next(log.key_events(manager, newest_first=True))
    return Mark(event.originator_version, event.digest, event.signature, purged=purged)


def kinds(report: AuditReport) -> list[FindingKind]:
    return [finding.kind for finding in report.findings]


def places(report: AuditReport) -> Collection[tuple[FindingKind, int | None]]:
    return [(finding.kind, finding.position) for finding in report.findings]
