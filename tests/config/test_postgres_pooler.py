"""A pooler before the server: in session mode it does, in transaction mode it is refused."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from keyturn.domain.errors import LogUnavailableError
from tests.postgres import USER, PostgresServer

from .postgres_stores import Stores, row, stores_of, until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer")


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    yield from stores_of(postgres)


@pytest.fixture
def pooled(stores: Stores, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start a pooler in a mode, and return the URL of the log behind it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = tmp_path / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\npostgres = host={stores.server.folder} port={stores.server.port}"
            f" user={USER} connect_query='SET search_path = {stores.schema}'\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {mode}\nserver_reset_query = SELECT 1\n"
        )
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        assert PROGRAM is not None
        command = [PROGRAM, *as_nobody, "/dev/stdin"]
        with settings.open() as configuration:  # in a folder that only its owner enters
            quiet = subprocess.DEVNULL
            started.append(
                subprocess.Popen(command, stdin=configuration, stdout=quiet, stderr=quiet)
            )
        url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            try:
                psycopg.connect(url).close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers, "the pooler answers")
        return url

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_g2_a_pooler_in_transaction_mode_is_refused_with_what_to_set(
    stores: Stores, pooled: Callable[[str], str]
) -> None:
    url = pooled("transaction")

    for _ in range(3):
        with pytest.raises(LogUnavailableError, match="pool_mode = session"):
            stores.open(url)


def test_g2_behind_a_pooler_in_session_mode_pushes_are_heard(
    stores: Stores, pooled: Callable[[str], str]
) -> None:
    store, other = stores.open(pooled("session"), max_staleness=3600), stores.open()
    until(lambda: store.changes() == store.changes(), "it listens")
    known = store.changes()

    other.insert_events([row(1)])

    until(lambda: store.changes() != known, "it is heard")
