"""What a PostgreSQL server says about itself, asked without opening the log. Makes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from keyturn.config.postgres_connection import Connection
from keyturn.config.postgres_errors import explaining
from keyturn.config.postgres_pool import Pool
from keyturn.config.postgres_schema import Rights, look, problems, sequence_problems
from keyturn.config.store_url import shown


@dataclass(frozen=True)
class ServerFacts:
    """What `keyturn doctor` asks a server about itself, the connection, the role and the table.

    Attributes:
        version: of the server.
        encryption: the protocol of the connection, None if it is not encrypted.
        is_local: whether the server is on this machine.
        schema_version: of the table; None if there is no log yet.
        rights: what this role may do with the table; None if there is no log yet.
        problems: what is wrong with the table and the sequence of its numbers.
    """

    version: str
    encryption: str | None
    is_local: bool
    schema_version: int | None
    rights: Rights | None
    problems: list[str]


def server_facts(url: str, *, timeout: float) -> ServerFacts:
    """Ask the server, without opening the log. Makes nothing.

    Raises:
        LogUnavailableError: it cannot be asked now.
    """
    with _asking(url, timeout) as connection:
        [(version, encryption)] = connection.execute(
            "SELECT current_setting('server_version'),"
            " (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid())"
        )
        address = connection.info.hostaddr  # a socket in a folder has none
        is_local = not address or ip_address(address.partition("%")[0]).is_loopback
        found = look(connection)
        if not found:
            return ServerFacts(version, encryption, is_local, None, None, [])
        table, wrong = found[0], problems(found)
        if not wrong and table.rights.may_read:
            wrong = sequence_problems(connection, table)
        return ServerFacts(version, encryption, is_local, table.version, table.rights, wrong)


def has_rows(url: str, *, timeout: float = 5.0) -> bool:
    """Return whether a database holds a log with events in it. Makes nothing."""
    with _asking(url, timeout) as connection:
        found = look(connection)
        statement = "SELECT FROM {} LIMIT 1"
        return bool(found) and connection.execute(statement.format(found[0].name)).rowcount > 0


@contextlib.contextmanager
def _asking(url: str, timeout: float) -> Iterator[Connection]:
    connection = Pool(url, 1, timeout).connect(timeout)
    with explaining(shown(url)), contextlib.closing(connection):
        yield connection
