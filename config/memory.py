"""A log in memory: for tests, and for hosts whose sessions need not outlive the process."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from uuid import UUID

from eventsourcing.persistence import IntegrityError, Notification, StoredEvent

from keyturn.config.change_poller import PolledStore
from keyturn.domain.key_log import Row


class MemoryStore(PolledStore):
    """One log of this process."""

    location = "memory:"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._streams: defaultdict[UUID | str, dict[int, StoredEvent]] = defaultdict(dict)
        self._written: dict[int, StoredEvent] = {}
        self._newest = 0
        self._version = 0

    def insert(self, events: Iterable[StoredEvent], may_begin_anywhere: bool) -> Sequence[int]:
        coming = list(events)
        with self._lock:
            self._check_places(coming, may_begin_anywhere)
            return [self._write(event) for event in coming]

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        self._poller.make_sure_it_runs()
        with self._lock:
            stream = self._streams.get(originator_id, {})
            positions = sorted(
                p for p in stream if (gt is None or p > gt) and (lte is None or p <= lte)
            )
            if desc:
                positions.reverse()
            return [stream[position] for position in positions[:limit]]

    def numbered(
        self, first: int, last: int, topics: Sequence[str], limit: int
    ) -> Sequence[Notification]:
        with self._lock:
            found = (
                Notification(e.originator_id, e.originator_version, e.topic, e.state, number)
                for number, e in self._written.items()
                if first <= number <= last and (not topics or e.topic in topics)
            )
            return list(islice(found, limit))

    def max_notification_id(self) -> int | None:
        return max(self._written, default=None)

    def changes(self) -> object:
        return self._version

    def rows(self) -> Generator[Row, None, None]:
        with self._lock:
            stored = list(self._written.values())
        for event in stored:
            yield _row(event)

    def newest_rows(self, topics: Collection[str]) -> list[Row]:
        with self._lock:
            return [
                _row(stream[max(stream)])
                for stream in self._streams.values()
                if any(event.topic in topics for event in stream.values())
            ]

    def unknown_topic(self, known: Collection[str]) -> str | None:  # noqa: ARG002
        return None  # nobody else can have written here

    def schema_problems(self) -> list[str]:
        return []

    def exclusive(self) -> AbstractContextManager[None]:
        return self._lock  # type: ignore[return-value]  # whose value nobody takes

    def purge(self, last: StoredEvent) -> None:
        with self._lock:
            self._check_places([last], may_begin_anywhere=False)
            self.remove(last.originator_id)
            self._write(last)

    def remove(self, originator_id: UUID | str) -> None:
        """Remove every row of an aggregate: for tests, whose histories begin anew."""
        with self._lock:
            for number, event in list(self._written.items()):
                if event.originator_id == originator_id:
                    del self._written[number]
            self._streams.pop(originator_id, None)
            self._version += 1

    def reopen(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to close."""

    def _check_places(self, events: Sequence[StoredEvent], may_begin_anywhere: bool) -> None:
        coming: set[tuple[UUID | str, int]] = set()
        for event in events:
            id_, position = event.originator_id, event.originator_version
            stream = self._streams.get(id_, {})
            if position in stream or (id_, position) in coming:
                raise IntegrityError(f"position {position} of {id_} is taken")
            follows = position == 1 or position - 1 in stream or (id_, position - 1) in coming
            if not follows and not may_begin_anywhere:
                raise IntegrityError(f"position {position - 1} of {id_} is not there")
            coming.add((id_, position))

    def _write(self, event: StoredEvent) -> int:
        self._newest += 1
        self._streams[event.originator_id][event.originator_version] = event
        self._written[self._newest] = event
        self._version += 1
        return self._newest


def _row(event: StoredEvent) -> Row:
    id_ = event.originator_id
    name = id_.hex if isinstance(id_, UUID) else id_
    return Row(name, event.originator_version, event.topic, event.state)
