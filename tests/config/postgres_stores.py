"""Stores in PostgreSQL, rows for them, and roles with the rights of the documentation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent

from keyturn.config.postgres import PostgresStore
from keyturn.config.postgres_statements import GRANT_SQL
from tests.postgres import PostgresServer

TIMEOUT = 0.2
"""Seconds that most stores here wait for a lock or a connection."""


class Stores:
    """Opens stores on one schema of a server; `close` closes all."""

    def __init__(self, server: PostgresServer, schema: str | None = None) -> None:
        self.server = server
        self.schema = schema or server.new_schema()
        self.table = f"{self.schema}.keyturn_events"
        self._stack = contextlib.ExitStack()

    def open(
        self,
        url: str | None = None,
        *,
        timeout: float = TIMEOUT,
        max_staleness: float = 0.2,
        pool_size: int = 2,
    ) -> PostgresStore:
        store = PostgresStore(
            url or self.server.url_of(self.schema),
            timeout=timeout,
            max_staleness=max_staleness,
            pool_size=pool_size,
        )
        self._stack.callback(store.close)
        return store

    def role(self, statements: str | None = GRANT_SQL) -> str:
        """Return a new role that got these statements in place of `keyturn_service`."""
        name = f"service_{self.schema}"
        self.server.sql(f"CREATE ROLE {name} LOGIN")
        self._stack.callback(self._drop, name)
        self.server.sql(f"GRANT USAGE ON SCHEMA {self.schema} TO {name}")
        if statements is not None:
            self.run(statements.replace("keyturn_service", name))
        return name

    def url_of(self, role: str) -> str:
        return self.server.url_of(self.schema, user=role)

    def run(self, statements: str) -> None:
        """Run statements as the administrator, with the search_path of the log."""
        self.server.sql(f"SET search_path = {self.schema}; {statements}")

    def close(self) -> None:
        self._stack.close()

    def _drop(self, role: str) -> None:
        self.server.sql(f"DROP OWNED BY {role}")
        self.server.sql(f"DROP ROLE {role}")


def stores_of(server: PostgresServer) -> Iterator[Stores]:
    """Give stores to a test, and close them."""
    stores = Stores(server)
    try:
        yield stores
    finally:
        stores.close()


def row(position: int, id_: UUID | None = None, state: bytes = b"{}") -> StoredEvent:
    """Return a row for a store, of a new aggregate unless told otherwise."""
    return StoredEvent(id_ or uuid4(), position, "keyturn.Some", state)


def positions(store: PostgresStore, id_: UUID) -> list[int]:
    return [event.originator_version for event in store.select_events(id_)]


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so, and fail if it never is."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
