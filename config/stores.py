"""How a log is opened: its URL says in which store it lies."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from eventsourcing.domain import Aggregate, CanMutateAggregate
from eventsourcing.utils import get_topic

from keyturn.config.event_log import EventLog
from keyturn.config.memory import MemoryStore
from keyturn.config.os_errors import reason
from keyturn.config.settings import Settings
from keyturn.config.sqlite import SQLiteStore
from keyturn.config.store_url import (
    MEMORY,
    WHAT_THERE_IS,
    StoreURL,
    is_postgres,
    shown,
    sqlite_path,
)
from keyturn.domain.errors import LogUnavailableError, SettingsError
from keyturn.domain.stored_events import check_host_topics

if TYPE_CHECKING:
    from keyturn.config.postgres_facts import ServerFacts


def open_event_log(
    url: str,
    *,
    lock_timeout: float = 5.0,
    max_staleness: float = 1.0,
    pool_size: int = 4,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
    for_audit: bool = False,
) -> EventLog:
    """Open a log, and make it if there is none.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user@host/database`
            (with the parameters of libpq) or `memory:`.
        lock_timeout: seconds to wait for another writer, or for a server.
        max_staleness: seconds for which PostgreSQL need not be asked again for what it has not
            told of; 0: it is asked each time.
        pool_size: how many connections to PostgreSQL may be in use at once; one more listens.
        aggregates: the host's own aggregate classes, if it keeps them in the same log.
        host_topics: the topics of a host's events, for who does not have its classes.
        for_audit: open it even if it holds topics that are not ours: an audit finds them.

    Raises:
        SettingsError: the URL names no store that we know, or a host topic is Keyturn's own.
        NotAKeyturnLogError: something else lies there, or there is a topic that is not ours.
        LogUnavailableError: it cannot be opened now.
    """
    topics = check_host_topics((*_topics(aggregates), *host_topics))
    url = StoreURL(url)
    path = sqlite_path(url)
    if url == MEMORY:
        return EventLog(MemoryStore, MEMORY, topics)
    if path is not None:
        log = EventLog(lambda: SQLiteStore(path, lock_timeout=lock_timeout), str(path), topics)
    elif is_postgres(url):
        log = EventLog(
            lambda: _postgres("postgres").PostgresStore(
                url, timeout=lock_timeout, max_staleness=max_staleness, pool_size=pool_size
            ),
            shown(url),
            topics,
        )
    else:
        raise SettingsError(f"a store is {WHAT_THERE_IS}", key="store", source="the argument")
    try:
        if not for_audit:
            log.refuse_unknown_topics()
    except BaseException:
        log.close()
        raise
    return log


def open_log(
    settings: Settings,
    *,
    aggregates: Collection[type[Aggregate]] = (),
    host_topics: Collection[str] = (),
    for_audit: bool = False,
) -> EventLog:
    """Open the log that the settings name: see `open_event_log`."""
    return open_event_log(
        settings.store_url,
        lock_timeout=settings.lock_timeout,
        max_staleness=0.0 if settings.freshness == "strict" else settings.max_staleness,
        pool_size=settings.pool_size,
        aggregates=aggregates,
        host_topics=host_topics,
        for_audit=for_audit,
    )


def has_log(url: str) -> bool:
    """Return whether something lies at the place of a log already."""
    path = sqlite_path(url)
    if path is not None:
        try:
            return os.stat(path).st_size > 0
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            message = f"the log {path} cannot be looked at: {reason(error)}"
            raise LogUnavailableError(message, location=str(path), recorded=False) from error
    if not is_postgres(url):
        return False
    return bool(_postgres("postgres_facts").has_rows(url))


def server_facts(url: str, *, timeout: float) -> ServerFacts:
    """Ask the PostgreSQL server of a log about itself: see `postgres_facts`."""
    facts: ServerFacts = _postgres("postgres_facts").server_facts(url, timeout=timeout)
    return facts


def _postgres(name: str) -> ModuleType:
    """Return a module of that store; psycopg is an extra, and takes its time to import."""
    try:
        return import_module(f"keyturn.config.{name}")
    except ImportError as error:
        raise SettingsError(
            "a log in PostgreSQL needs psycopg: pip install 'keyturn[postgres]'",
            key="store",
            source="the argument",
        ) from error


def _topics(aggregates: Collection[type[Aggregate]]) -> Iterator[str]:
    for aggregate in aggregates:
        for owner in aggregate.__mro__:  # events may be inherited
            for value in vars(owner).values() if owner not in Aggregate.__mro__ else ():
                if isinstance(value, type) and issubclass(value, CanMutateAggregate):
                    yield get_topic(value)
