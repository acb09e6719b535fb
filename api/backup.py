"""The log to a file and back. No password: what is sealed stays sealed.

Only the log is in an export. The key ring has its own backup, and the anchor is none of it: see
`docs/backup.md`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from itertools import chain, islice
from typing import BinaryIO
from uuid import UUID

from eventsourcing.domain import Aggregate
from eventsourcing.persistence import StoredEvent

from keyturn.config import key_ring_file
from keyturn.config.anchor import Anchor
from keyturn.config.settings import Settings
from keyturn.config.store_url import shown
from keyturn.config.stores import has_log, open_log
from keyturn.domain.errors import LogUnavailableError
from keyturn.domain.mark import Mark
from keyturn.domain.stored_events import read_event
from keyturn.projections.export import export_lines, lines_of, read_lines


def export_log(
    settings: Settings,
    file: BinaryIO,
    *,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
    node_id: str | None = None,
) -> int:
    """Write the log to a file as JSON Lines, and return the number of events.

    Args:
        settings: where the log and the key ring are.
        file: what to write to. After an error it holds an export that nobody can import.
        aggregates: classes of the host's own aggregates in the log; they are left out.
        host_topics: the topics of their events, for who does not have the classes.
        node_id: whose log it is; None: the key ring's in the data folder.

    Raises:
        KeyRingError: the key ring's file cannot be read, which says whose log it is.
        LogError: the log cannot be read, or is not to be trusted; its subclasses say why.
        ExportError: an event is too long for a line.
    """
    node_id = node_id or _node_id(settings)
    lines = 0
    if not has_log(settings.store_url):
        place = shown(settings.store_url)
        raise LogUnavailableError(f"there is no log at {place} to export", location=place)
    log = open_log(settings, aggregates=aggregates, host_topics=host_topics)
    with contextlib.closing(log):
        for line in export_lines(log.rows(), node_id, host_topics=log.host_topics):
            file.write(line)
            lines += 1
    return lines - 2  # the first and the last are no events


def import_log(
    settings: Settings,
    file: BinaryIO,
    *,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
) -> int:
    """Load an export into an empty log, all or nothing, and return the number of events.

    The key ring's file must be there already. The anchor remembers the newest event of each
    manager as imported, unless it has seen that event or a later one: so the next opening resets
    the key, for nobody knows what was revoked after the export; it refuses an export that ends
    before what this node has seen.

    Args:
        settings: where the log, the key ring and the anchor are.
        file: the export. It is read as it is written, and never held whole.
        aggregates: classes of the host's own aggregates that the log may hold already.
        host_topics: the topics of their events, for who does not have the classes.

    Raises:
        KeyRingError: the key ring's file cannot be read, which says whose log it is to be.
        ExportError: it is not a whole and unaltered export of this node; `line` says where.
        LogNotEmptyError: the log holds key events already.
        LogError: the log cannot be opened or written.
        AnchorError: the anchor is damaged, or cannot be written; then the events are in the log,
            and the next opening must be told to trust it.
    """
    node_id = _node_id(settings)
    anchor = Anchor(settings.anchor_path, node_id)
    seen = anchor.marks()
    events = read_lines(lines_of(file), node_id)
    begin = list(islice(events, 1))  # what is no export is refused before there is a log
    newest: dict[UUID | str, StoredEvent] = {}

    def noting_newest() -> Iterator[StoredEvent]:
        for event in chain(begin, events):
            newest[event.originator_id] = event
            yield event

    log = open_log(settings, aggregates=aggregates, host_topics=host_topics)
    with contextlib.closing(log):
        count = log.restore(noting_newest())
    for event in map(read_event, newest.values()):
        known = seen.get(event.manager) or seen.get(event.originator_id.hex)
        if known is None or known.position < event.originator_version:
            mark = Mark(event.originator_version, event.digest, event.signature, imported=True)
            anchor.replace(event.manager, mark)
    return count


def _node_id(settings: Settings) -> str:
    path = settings.key_ring_path
    return key_ring_file.read(path, group_readable=settings.group_readable).node_id
