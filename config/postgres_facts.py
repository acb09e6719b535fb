"""What `keyturn doctor` asks a PostgreSQL server about itself, the connection and the role."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from ipaddress import ip_address

from psycopg.sql import Identifier

from keyturn.config.postgres_connections import Pool
from keyturn.config.postgres_datastore import Datastore
from keyturn.config.postgres_recorder import TABLE

_FACTS = (
    "SELECT current_setting('server_version') AS version,"
    " (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encryption,"
    " has_table_privilege(to_regclass(%s), 'UPDATE, DELETE, TRUNCATE') AS may_rewrite"
)


@dataclass(frozen=True)
class ServerFacts:
    """What was found.

    Attributes:
        version: of the server.
        encryption: the protocol of the connection, None if it is not encrypted.
        is_local: whether the server is on this machine.
        may_rewrite: whether this role may change and delete events; None if there is no log yet.
    """

    version: str
    encryption: str | None
    is_local: bool
    may_rewrite: bool | None


def server_facts(url: str, *, patience: float) -> ServerFacts:
    """Ask the server.

    Raises:
        LogUnavailableError: it cannot be asked now.
    """
    with contextlib.closing(Pool(url, 1, patience)) as pool:
        datastore = Datastore(pool)
        with datastore.get_connection() as connection:
            table = Identifier(datastore.schema, TABLE).as_string(connection)
            found = connection.execute(_FACTS, (table,)).fetchone()
            assert found is not None
            return ServerFacts(**found, is_local=_is_here(connection.info.hostaddr))


def _is_here(address: str) -> bool:
    """Whether an address is of this machine; a socket in a folder has none."""
    return not address or ip_address(address.partition("%")[0]).is_loopback
