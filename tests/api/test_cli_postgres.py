"""The command line on a PostgreSQL log does what it does on any other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.api.command_line import Keyturn
from tests.postgres import PostgresServer


@pytest.fixture
def cli(tmp_path: Path, postgres: PostgresServer) -> Keyturn:
    """A command line whose log is made already."""
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_STORE"] = postgres.tcp_url(postgres.new_schema())
    run("init", "--no-password")
    return run


def test_a_whole_session_on_the_command_line(cli: Keyturn) -> None:
    token = cli("token", "create", "--subject", "alice").stdout
    cli("token", "verify", "-", stdin=token)
    cli("rotate", "--overlap", "60")
    cli("token", "verify", "-", stdin=token)

    cli("reset", "--reason", "laptop stolen")

    cli("token", "verify", "-", stdin=token, code=1)
    report = json.loads(cli("token", "inspect", "-", "--json", stdin=token).stdout)
    history = [json.loads(line) for line in cli("history", "--json").stdout.splitlines()]
    assert report["revoked_because"] == "laptop stolen"
    assert [change["kind"] for change in history] == ["generated", "rotated", "reset"]
    cli("audit")


def test_a_log_moves_from_postgresql_to_sqlite_and_back(
    cli: Keyturn, postgres: PostgresServer, tmp_path: Path
) -> None:
    token = cli("token", "create").stdout
    cli("reset")
    second = cli("token", "create").stdout
    export = cli("export").stdout

    for url in (f"sqlite:///{tmp_path}/moved.db", postgres.url()):
        cli.environment["KEYTURN_STORE"] = url
        cli("import", stdin=export)
        cli("token", "verify", "-", stdin=token, code=1)
        cli("token", "verify", "-", stdin=second)
        cli("audit")
        assert cli("export").stdout.splitlines()[1:-1] == export.splitlines()[1:-1]


def test_a_log_that_is_not_there_is_named_without_its_password(
    cli: Keyturn, postgres: PostgresServer
) -> None:
    cli.environment["KEYTURN_STORE"] = postgres.tcp_url("nowhere")

    done = cli("history", code=os.EX_IOERR)

    assert f"postgresql://keyturn@127.0.0.1:{postgres.port}/postgres" in done.stderr
    assert "sesame" not in done.stderr


def test_an_empty_database_is_no_log_and_nothing_is_made_in_it(
    cli: Keyturn, postgres: PostgresServer
) -> None:
    schema = postgres.new_schema()
    cli.environment["KEYTURN_STORE"] = postgres.tcp_url(schema)

    done = cli("history", code=os.EX_NOINPUT)

    assert "has seen one: put it back" in done.stderr
    assert "sesame" not in done.stderr
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace"
    assert postgres.sql(tables, schema) == [(0,)]


def test_the_doctor_tells_of_the_server_and_of_a_role_that_may_do_too_much(
    cli: Keyturn, postgres: PostgresServer
) -> None:
    done = cli("doctor")
    cli("doctor", "--strict", code=1)

    assert done.stdout.startswith("healthy: 1 to be warned of")
    assert "postgresql://keyturn@127.0.0.1" in done.stdout
    assert "sesame" not in done.stdout
    assert "on this machine" in done.stdout
    assert "run services as a role with SELECT and INSERT alone" in done.stdout


def test_the_doctor_says_why_a_server_cannot_be_asked(cli: Keyturn) -> None:
    cli.environment["KEYTURN_STORE"] = "postgresql://keyturn:sesame@127.0.0.1:1/postgres"

    done = cli("doctor", code=1)

    assert "no connection to its server" in done.stdout
    assert "sesame" not in done.stdout
