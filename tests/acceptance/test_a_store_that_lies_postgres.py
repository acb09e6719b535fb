"""Who can write to a PostgreSQL log, but has no key, may stop the service and never deceives it.

Each test goes the way of a user: a service, the command line, an audit, on a real server with
real roles.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import Service, Settings
from keyturn.domain.errors import LogError, LogUnavailableError
from tests.acceptance.tampering import (
    forget_what_was_seen,
    purge_beside_three_writers,
    until,
)
from tests.api.command_line import Keyturn
from tests.config.postgres_stores import Stores, stores_of
from tests.postgres import PostgresServer

MAX_STALENESS = 0.1
OF_ROLE_0_1 = "GRANT SELECT, INSERT ON keyturn_events TO keyturn_service"
POLICY = (
    "ALTER TABLE keyturn_events ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY hide ON keyturn_events USING (originator_version < 2)"
)
NO_POLICY = (
    "DROP POLICY hide ON keyturn_events;ALTER TABLE keyturn_events DISABLE ROW LEVEL SECURITY"
)
VIEW = (
    "ALTER TABLE keyturn_events RENAME TO kept; CREATE VIEW keyturn_events AS"
    " SELECT * FROM kept WHERE originator_version < 2;"
    "GRANT SELECT, INSERT ON keyturn_events TO PUBLIC"
)
NO_VIEW = "DROP VIEW keyturn_events; ALTER TABLE kept RENAME TO keyturn_events"
UNDO = (
    "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM keyturn_events"
    " WHERE originator_version = NEW.originator_version; RETURN NULL; END';"
)
TRIGGERS = {
    "at once": "CREATE TRIGGER undo AFTER INSERT ON keyturn_events"
    " FOR EACH ROW EXECUTE FUNCTION undo()",
    "in its own commit": "CREATE CONSTRAINT TRIGGER undo AFTER INSERT ON keyturn_events"
    " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION undo()",
}


@pytest.fixture
def stores(postgres: PostgresServer) -> Iterator[Stores]:
    """A schema of its own, and roles for it."""
    yield from stores_of(postgres)


@pytest.fixture
def owner(stores: Stores, tmp_path: Path) -> Keyturn:
    """The command line of the table's owner, who has made the log."""
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_STORE"] = stores.server.url_of(stores.schema)
    run("init", "--no-password")
    return run


@pytest.fixture
def cli(owner: Keyturn, stores: Stores) -> Keyturn:
    """A command line with the rights that the documentation gives to a service."""
    run = Keyturn(owner.folder)
    run.environment["KEYTURN_STORE"] = stores.url_of(stores.role())
    return run


@pytest.fixture
def service(cli: Keyturn) -> Iterator[Service]:
    """A host that runs while somebody does something to its log."""
    with opened(cli) as service:
        service.verify_token("")
        yield service


def opened(cli: Keyturn, **more: Any) -> Service:
    store = cli.environment["KEYTURN_STORE"]
    settings = Settings(path=cli.folder, store=store, max_staleness=MAX_STALENESS)
    return keyturn.open(settings, password=None, **more)


def refuses(service: Service, token: str) -> bool:
    """Whether a service does not take a token: it says no, or that it cannot say."""
    try:
        return not service.verify_token(token)
    except LogError:
        return True


def accepts(service: Service, token: str) -> bool:
    return not refuses(service, token)


def resets(service: Service) -> bool:
    """Whether a reset is acknowledged."""
    try:
        service.reset_key()
    except LogError:
        return False
    return True


def nothing_is_accepted(cli: Keyturn, token: str, *trust: str, code: int) -> str:
    """See that no command takes the token or acknowledges a reset; return what the last said."""
    for use in ("verify", "inspect", "refresh"):
        done = cli(*trust, "token", use, "-", stdin=token, code=code)
        assert done.stdout == ""
    assert "The record holds" not in cli("audit", code=code).stdout
    with pytest.raises(LogError):
        opened(cli, trust_log=bool(trust))
    return cli(*trust, "reset", code=code).stderr


def never_accepts(service: Service, token: str) -> None:
    """See that it does not while it looks at the log a few times."""
    deadline = time.monotonic() + 2 * MAX_STALENESS
    while time.monotonic() < deadline:
        assert refuses(service, token)


def statement_in(message: str, begin: str) -> str:
    """Return the statement that an error names as the way out: it ends the message."""
    _, found, rest = message.strip().partition(begin)
    assert found, message
    return found + rest


# --- what can lie besides the rows -------------------------------------------------------------


@pytest.mark.parametrize("trust", [(), ("--trust-log",)], ids=["seen before", "never seen"])
@pytest.mark.parametrize(
    ("hide", "show", "found", "code"),
    [
        (POLICY, NO_POLICY, "row policy", os.EX_IOERR),
        (VIEW, NO_VIEW, "is no table", os.EX_DATAERR),
    ],
    ids=["a row policy", "a view"],
)
def test_g2_what_hides_the_last_reset_revives_no_token(
    cli: Keyturn,
    stores: Stores,
    hide: str,
    show: str,
    found: str,
    code: int,
    trust: tuple[str, ...],
) -> None:
    token = cli("token", "create").stdout
    cli("reset", "--reason", "laptop stolen")
    if trust:
        forget_what_was_seen(cli.folder)
    stores.run(hide)

    assert found in nothing_is_accepted(cli, token, *trust, code=code)

    stores.run(show)
    cli(*trust, "token", "verify", "-", stdin=token, code=1)
    cli(*trust, "reset")
    cli("audit")


def test_g2_a_row_policy_beside_a_running_host_revives_no_token(
    service: Service, stores: Stores
) -> None:
    old = service.create_token()
    service.reset_key()
    good = service.create_token()

    stores.run(POLICY)

    never_accepts(service, old)
    assert refuses(service, good)
    assert not resets(service)
    with pytest.raises(LogError, match=r"row-level security|row policy"):
        service.audit()
    stores.run(NO_POLICY)
    until(lambda: accepts(service, good), "the host goes on")
    assert refuses(service, old)
    assert resets(service)
    assert service.audit().holds


@pytest.mark.parametrize("when", TRIGGERS)
def test_g1_no_reset_is_acknowledged_that_a_trigger_takes_back(
    cli: Keyturn, service: Service, stores: Stores, when: str
) -> None:
    token = service.create_token()
    stores.run(UNDO + TRIGGERS[when])

    assert not resets(service)
    done = cli("reset", code=os.EX_DATAERR)

    assert "trigger" in done.stderr
    assert "undo" in done.stderr
    until(lambda: refuses(service, token), "the host notices")
    stores.run("DROP TRIGGER undo ON keyturn_events; DROP FUNCTION undo()")
    until(lambda: accepts(service, token), "the host goes on")
    cli("reset")
    until(lambda: refuses(service, token), "the reset counts")
    cli("audit")


def test_g2_a_schema_that_a_role_puts_in_front_revives_no_token(
    owner: Keyturn, stores: Stores, tmp_path: Path
) -> None:
    role = stores.role()
    path = f'-csearch_path="$user",{stores.schema}'
    cli = Keyturn(owner.folder)
    cli.environment["KEYTURN_STORE"] = stores.server.url_of(
        stores.schema, user=role, options=path
    )
    with opened(cli) as service:
        old = service.create_token()
        service.reset_key()
        stores.server.sql(f"GRANT CREATE ON DATABASE postgres TO {role}")
        stores.server.sql(f"SET ROLE {role}; CREATE SCHEMA {role}")
        stores.server.sql(
            f"SET ROLE {role}; CREATE VIEW {role}.keyturn_events AS SELECT * FROM"
            f" {stores.table} WHERE originator_version < 2"
        )
        try:
            never_accepts(service, old)
            said = nothing_is_accepted(cli, old, code=os.EX_DATAERR)
            assert f"{role}.keyturn_events" in said
        finally:
            stores.server.sql(f"DROP SCHEMA {role} CASCADE")
            stores.server.sql(f"REVOKE CREATE ON DATABASE postgres FROM {role}")
        until(lambda: resets(service), "the host goes on")
        assert refuses(service, old)
        assert service.audit().holds


# --- order and freshness -----------------------------------------------------------------------


def test_g2_a_role_that_may_choose_numbers_is_refused_until_it_may_not(
    owner: Keyturn, stores: Stores
) -> None:
    role = stores.role(OF_ROLE_0_1)
    cli = Keyturn(owner.folder)
    cli.environment["KEYTURN_STORE"] = stores.url_of(role)

    refused = cli("reset", code=os.EX_IOERR)

    way_out = statement_in(refused.stderr, "REVOKE ")
    stores.run(way_out.replace(" (or from the group or PUBLIC that has it)", ""))
    token = cli("token", "create").stdout
    cli("reset")
    cli("token", "verify", "-", stdin=token, code=1)


def test_g2_a_row_with_the_highest_number_freezes_no_host(
    cli: Keyturn, service: Service, stores: Stores
) -> None:
    with opened(cli) as other:
        token = service.create_token()
        stores.run(
            "INSERT INTO keyturn_events OVERRIDING SYSTEM VALUE"
            f" VALUES (gen_random_uuid(), 1, 'x', '', {2**63 - 1})"
        )

        for _ in range(3):
            until(lambda: accepts(service, token), "the host has read the log")  # noqa: B023
            other.reset_key()
            until(partial(refuses, service, token), "the host refuses the token", 5)
            token = other.create_token()

    refused = cli("reset", code=os.EX_IOERR)
    stores.run(statement_in(refused.stderr, "DELETE FROM "))
    cli("reset")
    until(partial(refuses, service, token), "the host refuses the token", 5)
    cli("audit")


@pytest.mark.parametrize("gap", [True, False])
def test_g2_a_sequence_behind_its_table_hides_no_reset(
    cli: Keyturn, service: Service, stores: Stores, gap: bool
) -> None:
    with opened(cli) as other:
        for _ in range(3):
            service.reset_key()
        token = service.create_token()
        if gap:  # the next numbers are free, and below that of the newest row
            stores.run("SELECT setval('keyturn_events_notification_id_seq', 1000)")
            service.reset_key()
            token = service.create_token()
            stores.run("SELECT setval('keyturn_events_notification_id_seq', 500)")
        else:
            stores.run("SELECT setval('keyturn_events_notification_id_seq', 1)")
        until(partial(accepts, other, token), "the other host has read the log")

        if gap:
            service.reset_key()
            until(partial(refuses, other, token), "the other host refuses the token", 5)
        else:
            with pytest.raises(LogUnavailableError, match="behind") as raised:
                service.reset_key()
            assert raised.value.recorded is False
            assert service.verify_token(token)

        refused = cli("reset", code=os.EX_IOERR)
        stores.run(statement_in(refused.stderr, "SELECT setval("))
        cli("reset")
        for host in (service, other):
            until(partial(refuses, host, token), "each host refuses the token", 5)
            host.reset_key()
    # Rows that were numbered below earlier ones are found: nobody else writes them so.
    report = json.loads(cli("audit", "--json", code=os.EX_DATAERR if gap else 0).stdout)
    assert {finding["kind"] for finding in report["findings"]} == (
        {"reordered"} if gap else set()
    )


LISTEN = """
import json, resource, sys, time
import keyturn
from keyturn import Settings
from keyturn.domain.errors import LogError

told = []
settings = Settings(path=sys.argv[1], store=sys.argv[2], max_staleness=0.2)
with keyturn.open(settings, password=None) as service:
    service.subscribe(lambda event: told.append(event.reason))
    print("listening", flush=True)
    sys.stdin.readline()
    token = service.create_token()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    print("no descriptor left", flush=True)
    sys.stdin.readline()
    is_stale = False
    while not is_stale:
        try:
            service.verify_token(token)
        except LogError:
            is_stale = True
    time.sleep(0.3)  # a few tries without a descriptor
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    print("descriptors again", flush=True)
    deadline = time.monotonic() + 20
    while len(told) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    print(json.dumps(told), flush=True)
    deadline = time.monotonic() + 20
    quick = 0
    while quick < 200 and time.monotonic() < deadline:  # by what is pushed, not by asking
        began = time.perf_counter()
        service.verify_token(token)
        quick = quick + 1 if time.perf_counter() - began < 0.0005 else max(0, quick - 50)
    print(quick >= 200, flush=True)
"""


def test_g2_a_host_that_lacks_descriptors_while_its_connections_drop_is_told_again(
    cli: Keyturn, stores: Stores
) -> None:
    url = stores.url_of(f"service_{stores.schema}")
    host = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LISTEN,
            str(cli.folder),
            f"{url}&application_name={stores.schema}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert host.stdin is not None
    assert host.stdout is not None
    host.stdout.readline()
    cli("reset", "--reason", "before")
    host.stdin.write("\n")
    assert host.stdout.readline() == "no descriptor left\n"
    stores.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
        stores.schema,
    )
    cli("reset", "--reason", "meanwhile")
    host.stdin.write("\n")
    assert host.stdout.readline() == "descriptors again\n"

    out, _ = host.communicate(timeout=60)

    told, is_quick = out.splitlines()
    assert json.loads(told) == ["before", "meanwhile"]
    assert is_quick == "True"


# --- an old copy, and rows that come back ------------------------------------------------------


def test_g5_a_log_that_lost_its_last_reset_revives_no_token(
    cli: Keyturn, service: Service, stores: Stores
) -> None:
    token = service.create_token()
    service.reset_key()
    stores.run("DELETE FROM keyturn_events WHERE originator_version > 1")

    assert "--accept-rollback" in nothing_is_accepted(cli, token, code=os.EX_DATAERR)

    never_accepts(service, token)
    assert not resets(service)


def test_g5_purged_rows_that_come_back_are_found_and_revive_nothing(
    owner: Keyturn, cli: Keyturn, stores: Stores
) -> None:
    token = cli("token", "create").stdout
    stores.run("CREATE TABLE kept AS TABLE keyturn_events")
    owner("destroy", "--purge", "--yes")
    stores.run(
        "DELETE FROM keyturn_events;"
        "INSERT INTO keyturn_events (originator_id, originator_version, topic, state)"
        " SELECT originator_id, originator_version, topic, state FROM kept; DROP TABLE kept"
    )

    nothing_is_accepted(cli, token, code=os.EX_DATAERR)


def test_g9_an_old_export_in_a_new_database_revives_nothing(
    cli: Keyturn, stores: Stores, tmp_path: Path
) -> None:
    token = cli("token", "create").stdout
    export = cli("export").stdout
    cli("reset", "--reason", "laptop stolen")
    new = Keyturn(tmp_path / "new")
    new.folder.mkdir(mode=0o700)
    shutil.copy(cli.folder / "keyring.json", new.folder)
    new.environment["KEYTURN_STORE"] = stores.server.url()
    new("import", stdin=export)

    for look in ("verify", "inspect", "authenticate"):
        refused = new("token", look, "-", stdin=token, code=os.EX_DATAERR)
        assert refused.stdout == ""
    new("token", "create")

    new("token", "verify", "-", stdin=token, code=1)


# --- settings that change what a statement means -----------------------------------------------

REASON = "C:\\new\\table \\' é ☃ \\x41"


def test_g1_a_reset_is_stored_as_it_was_written_whatever_the_role_sets(
    cli: Keyturn, stores: Stores
) -> None:
    role = f"service_{stores.schema}"
    for setting in (
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "bytea_output = escape",
        "TimeZone = 'Asia/Kathmandu'",
        "default_transaction_isolation = serializable",
        "synchronous_commit = off",
    ):
        stores.server.sql(f"ALTER ROLE {role} SET {setting}")
    token = cli("token", "create", "--subject", "O'Brien \\ é").stdout

    cli("reset", "--reason", REASON)

    cli("token", "verify", "-", stdin=token, code=1)
    report = json.loads(cli("token", "inspect", "-", "--json", stdin=token).stdout)
    assert report["revoked_because"] == REASON
    cli("audit")


def test_g1_a_database_without_an_encoding_is_as_good_as_any(
    stores: Stores, tmp_path: Path
) -> None:
    name = f"ascii_of_{stores.schema}"
    stores.server.sql(
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
        " TEMPLATE template0"
    )
    cli = Keyturn(tmp_path / "data")
    url = stores.server.url_of("public").replace("/postgres?", f"/{name}?")
    cli.environment["KEYTURN_STORE"] = url
    cli("init", "--no-password")
    token = cli("token", "create", "--subject", "Zoë").stdout

    with opened(cli) as service:
        assert service.verify_token(token.strip())
        service.reset_key(reason=REASON, initiator="José")
        assert not service.verify_token(token.strip())
        assert service.audit().holds

    report = json.loads(cli("token", "inspect", "-", "--json", stdin=token).stdout)
    assert (report["revoked_because"], report["revoked_by"]) == (REASON, "José")
    stores.server.sql(f"DROP DATABASE {name} WITH (FORCE)")


# --- many writers ------------------------------------------------------------------------------


def test_g8_a_purge_beside_three_writers_leaves_a_log_that_opens_and_holds(
    owner: Keyturn, cli: Keyturn
) -> None:
    purge_beside_three_writers(cli, lambda: opened(owner))

    cli("audit")
    with opened(cli) as service:
        service.reset_key()
        assert service.audit().holds
