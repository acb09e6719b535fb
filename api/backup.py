"""The log to a file and back. No password: what is sealed stays sealed.

Only the log is in an export. The key ring has its own backup, and the anchor stays where it
is: see `docs/backup.md`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import BinaryIO

from eventsourcing.domain import Aggregate

from keyturn.config import key_ring_file
from keyturn.config.settings import Settings
from keyturn.config.store_url import shown
from keyturn.config.stores import has_log, open_log
from keyturn.domain.errors import LogUnavailableError
from keyturn.projections.export import export_lines, lines_of, read_lines


def export_log(
    settings: Settings,
    file: BinaryIO,
    *,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
) -> int:
    """Write the log to a file as JSON Lines, and return the number of events.

    Args:
        settings: where the log and the key ring are.
        file: what to write to. After an error it holds an export that nobody can import.
        aggregates: classes of the host's own aggregates in the log; they are left out.
        host_topics: the topics of their events, for who does not have the classes.

    Raises:
        KeyRingError: the key ring's file cannot be read, which says whose log it is.
        LogError: the log cannot be read, or is not to be trusted; its subclasses say why.
        ExportError: an event is too long for a line.
    """
    node_id = key_ring_file.read(settings.key_ring_path).node_id
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

    The key ring's file must be there already. The anchor is left alone: the next open compares
    the log with it, and refuses an export that is older.

    Args:
        settings: where the log and the key ring are.
        file: the export.
        aggregates: classes of the host's own aggregates that the log may hold already.
        host_topics: the topics of their events, for who does not have the classes.

    Raises:
        KeyRingError: the key ring's file cannot be read, which says whose log it is to be.
        ExportError: it is not a whole and unaltered export of this node; `line` says where.
        LogNotEmptyError: the log holds key events already.
        LogError: the log cannot be opened or written.
    """
    node_id = key_ring_file.read(settings.key_ring_path).node_id
    events = list(read_lines(lines_of(file), node_id))  # before there is so much as a log
    log = open_log(settings, aggregates=aggregates, host_topics=host_topics)
    with contextlib.closing(log):
        return log.restore(events)
