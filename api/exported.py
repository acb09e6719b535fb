"""An export as a log that can only be read: for who has the file, and nothing else of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from eventsourcing.persistence import IntegrityError, StoredEvent

from keyturn.config.event_log import EventLog
from keyturn.config.memory import MemoryStore
from keyturn.projections.export import lines_of, look_at_lines, read_lines


class _ExportedStore(MemoryStore):
    """The events of an export, with what is wrong with its lines."""

    is_read_only = True

    def __init__(self, events: Iterable[StoredEvent], problems: list[str]) -> None:
        super().__init__()
        self._problems = problems
        for event in events:
            try:
                self.insert_events([event], may_begin_anywhere=True)
            except IntegrityError as error:
                problems.append(f"an event stands in the export twice: {error}")

    def schema_problems(self) -> list[str]:
        return self._problems


def open_export(file: BinaryIO, *, for_audit: bool = False) -> EventLog:
    """Return an export as a log. It needs no password, no key ring and no data folder.

    Args:
        file: the export.
        for_audit: take what can be read of it; what is wrong with its lines is what the log
            says of itself, so the audit finds it.

    Raises:
        ExportError: it is not a whole and unaltered export of one node. Not for an audit.
    """
    problems: list[str] = []
    lines = lines_of(file)
    events = look_at_lines(lines, problems) if for_audit else read_lines(lines, None)
    location = str(getattr(file, "name", "the export"))
    return EventLog(lambda: _ExportedStore(events, problems), location)
