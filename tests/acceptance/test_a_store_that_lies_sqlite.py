"""Who can write to a SQLite log, but has no key, may stop the service and never deceives it.

Each test goes the way of a user: a service, the command line, an audit.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

import keyturn
from keyturn import Refusal, Service
from keyturn.config import sqlite_connection
from keyturn.domain.errors import LogDamagedError, LogError
from tests.acceptance.tampering import (
    execute,
    forget_what_was_seen,
    hide_the_newest_row_in_the_index,
    in_another_process,
    purge_beside_three_writers,
    until,
)
from tests.api.command_line import Keyturn

BAD = os.EX_DATAERR


@pytest.fixture
def cli(tmp_path: Path) -> Keyturn:
    """A command line whose data folder is made already."""
    run = Keyturn(tmp_path / "data")
    run("init", "--no-password")
    return run


@pytest.fixture
def folder(cli: Keyturn) -> Path:
    return cli.folder


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """A host that runs while somebody does something to its log."""
    with keyturn.open(path=folder, password=None) as service:
        yield service


@pytest.fixture
def revoked(cli: Keyturn) -> str:
    """A token that the newest event of a closed log revoked."""
    cli("reset")
    token = cli("token", "create").stdout.strip()
    cli("reset", "--reason", "laptop stolen")
    return token


@pytest.fixture(params=["seen before", "never seen"])
def trust(request: pytest.FixtureRequest, folder: Path, revoked: str) -> list[str]:
    """Where the anchor would notice that the log went back, and where nothing but the log is."""
    if request.param == "seen before":
        return []
    forget_what_was_seen(folder)
    return ["--trust-log"]


def refuses(service: Service, token: str) -> bool:
    """Whether a service does not take a token: it says no, or that it cannot say."""
    try:
        return not service.verify_token(token)
    except LogError:
        return True


def nothing_is_accepted(cli: Keyturn, token: str, trust: list[str]) -> str:
    """See that no command takes the token or acknowledges a reset; return what the last said."""
    for use in ("verify", "inspect", "refresh"):
        assert cli(*trust, "token", use, "-", stdin=token, code=BAD).stdout == ""
    assert "The record holds" not in cli("audit", code=BAD).stdout
    with pytest.raises(LogError):
        keyturn.open(path=cli.folder, password=None, trust_log=bool(trust))
    return cli(*trust, "reset", code=BAD).stderr


# --- what can lie besides the rows -------------------------------------------------------------


def test_g2_an_index_that_hides_the_last_reset_revives_no_token(
    cli: Keyturn, revoked: str, trust: list[str]
) -> None:
    hide_the_newest_row_in_the_index(cli.folder)

    said = nothing_is_accepted(cli, revoked, trust)

    assert "integrity_check" in said
    assert "unaltered copy" in said
    execute(cli.folder, "REINDEX stored_events")
    assert cli(*trust, "token", "verify", "-", stdin=revoked, code=1).stdout.startswith("refused")
    cli(*trust, "reset")
    cli("audit")


def test_g2_a_view_that_hides_the_last_reset_revives_no_token(
    cli: Keyturn, revoked: str, trust: list[str]
) -> None:
    execute(
        cli.folder,
        "ALTER TABLE stored_events RENAME TO kept",
        "CREATE VIEW stored_events AS SELECT * FROM kept WHERE originator_version < 3",
    )

    said = nothing_is_accepted(cli, revoked, trust)

    assert "DROP VIEW stored_events" in said
    execute(cli.folder, "DROP VIEW stored_events", "ALTER TABLE kept RENAME TO stored_events")
    cli(*trust, "token", "verify", "-", stdin=revoked, code=1)
    cli(*trust, "reset")
    cli("audit")


def test_g2_a_view_put_in_place_beside_a_running_host_revives_no_token(
    service: Service, folder: Path
) -> None:
    old = service.create_token()
    service.reset_key()
    good = service.create_token()

    execute(
        folder,
        "BEGIN",
        "ALTER TABLE stored_events RENAME TO kept",
        "CREATE VIEW stored_events AS SELECT * FROM kept WHERE originator_version < 2",
        "COMMIT",
    )

    for _ in range(3):
        with pytest.raises(LogDamagedError, match="DROP VIEW stored_events"):
            service.verify_token(old)
    with pytest.raises(LogDamagedError):
        service.reset_key()
    with pytest.raises(LogDamagedError, match="DROP VIEW stored_events"):
        service.audit()
    execute(
        folder,
        "BEGIN",
        "DROP VIEW stored_events",
        "ALTER TABLE kept RENAME TO stored_events",
        "COMMIT",
    )
    assert not service.verify_token(old)
    assert service.verify_token(good)
    service.reset_key()
    assert service.audit().holds


def test_g1_a_reset_that_a_trigger_takes_back_is_not_acknowledged(
    cli: Keyturn, folder: Path
) -> None:
    token = cli("token", "create").stdout
    execute(
        folder,
        "CREATE TRIGGER undo AFTER INSERT ON stored_events BEGIN DELETE FROM stored_events "
        "WHERE originator_version = new.originator_version; END",
    )

    refused = cli("reset", code=BAD)

    assert "DROP TRIGGER undo" in refused.stderr
    assert cli("token", "verify", "-", stdin=token, code=BAD).stdout == ""
    assert "DROP TRIGGER undo" in cli("audit", code=BAD).stdout
    execute(folder, "DROP TRIGGER undo")
    cli("reset")
    cli("token", "verify", "-", stdin=token, code=1)
    cli("audit")


@pytest.mark.parametrize("how", ["deletes it", "writes the old one over it"])
def test_g1_a_running_host_acknowledges_no_reset_that_a_trigger_takes_back(
    service: Service, folder: Path, how: str
) -> None:
    service.reset_key()
    token = service.create_token()
    undo = (
        "DELETE FROM stored_events WHERE originator_version = new.originator_version"
        if how == "deletes it"
        else "UPDATE stored_events SET state = (SELECT state FROM stored_events WHERE "
        "originator_version = 1) WHERE originator_version = new.originator_version"
    )
    execute(folder, f"CREATE TRIGGER undo AFTER INSERT ON stored_events BEGIN {undo}; END")

    with pytest.raises(LogDamagedError, match="DROP TRIGGER undo"):
        service.reset_key()

    assert refuses(service, token)
    execute(folder, "DROP TRIGGER undo")
    assert service.verify_token(token)
    service.reset_key()
    assert not service.verify_token(token)


# --- files that are removed beside a running host ----------------------------------------------


def remove_the_wal_index(folder: Path) -> None:
    execute(folder, "PRAGMA wal_checkpoint(TRUNCATE)")
    (folder / "keyturn.db-shm").unlink()


def remove_wal_and_index(folder: Path) -> None:
    execute(folder, "PRAGMA wal_checkpoint(TRUNCATE)")
    for name in ("keyturn.db-wal", "keyturn.db-shm"):
        (folder / name).unlink()


def copy_the_database(folder: Path) -> None:
    """Read the file in this process, which drops its locks; the next command removes the rest."""
    shutil.copy(folder / "keyturn.db", folder.parent / "backup.db")


@pytest.mark.parametrize(
    "remove", [remove_the_wal_index, remove_wal_and_index, copy_the_database]
)
def test_g2_a_host_and_the_command_line_see_each_others_resets_whatever_files_are_removed(
    cli: Keyturn, service: Service, folder: Path, remove: Callable[[Path], None]
) -> None:
    told: list[str] = []
    service.subscribe(lambda event: told.append(type(event).__name__))
    for _ in range(2):
        token = service.create_token()
        remove(folder)
        cli("token", "verify", "-", stdin=token)

        cli("reset", "--reason", "laptop stolen")

        until(partial(refuses, service, token), "the host refuses the token", 0.2)
        mine = service.create_token()
        service.reset_key(reason="by the host")
        cli("token", "verify", "-", stdin=mine, code=1)
    reasons = [
        json.loads(line)["reason"] for line in cli("history", "--json").stdout.splitlines()
    ]
    assert reasons == [None, *["laptop stolen", "by the host"] * 2]
    until(lambda: told == ["KeyReset"] * 4, "subscribers are told")
    cli("audit")


def test_g2_no_event_loop_waits_while_the_log_must_be_opened_anew(folder: Path) -> None:
    # A process that has the log to itself keeps the host from opening it anew.
    done = in_another_process(KEEP_FROM_OPENING, folder)

    longest_wait, outcome = json.loads(done)
    assert longest_wait < 0.5
    assert outcome == "StaleKeyError"


KEEP_FROM_OPENING = """
import asyncio, json, shutil, subprocess, sys, time
from pathlib import Path
import keyturn

folder = Path(sys.argv[1])
HOLD = '''
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
'''

async def main():
    settings = keyturn.Settings(path=folder, lock_timeout=1)
    service = await keyturn.open_async(settings, password=None)
    token = await service.create_token()
    shutil.copy(folder / "keyturn.db", folder.parent / "copy.db")  # drops this process's locks
    for name in ("keyturn.db-wal", "keyturn.db-shm"):
        (folder / name).unlink()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder / "keyturn.db"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    longest = 0.0

    async def beat():
        nonlocal longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    beating = asyncio.ensure_future(beat())
    outcome = "good"
    deadline = time.monotonic() + 10
    while outcome == "good" and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        try:
            await service.verify_token(token)
        except keyturn.KeyturnError as error:
            outcome = type(error).__name__
    beating.cancel()
    holder.communicate()
    await service.close()
    print(json.dumps([longest, outcome]))

asyncio.run(main())
"""


# --- an old copy, for who only looks and for who writes ----------------------------------------


def test_g5_a_service_that_only_creates_and_refreshes_refuses_an_old_copy_too(
    cli: Keyturn,
) -> None:
    token = cli("token", "create").stdout
    old = (cli.folder / "keyturn.db").read_bytes()
    cli("reset")
    (cli.folder / "keyturn.db").write_bytes(old)

    said = nothing_is_accepted(cli, token, [])

    assert "--accept-rollback" in said
    cli("--accept-rollback", "reset")
    cli("token", "verify", "-", stdin=token, code=1)


def test_g9_an_ended_session_stays_ended_on_an_old_copy_of_the_log(cli: Keyturn) -> None:
    token = cli("token", "create", "--subject", "alice").stdout
    old = (cli.folder / "keyturn.db").read_bytes()
    cli("session", "end", "--token", "-", stdin=token)
    (cli.folder / "keyturn.db").write_bytes(old)

    nothing_is_accepted(cli, token, [])


def test_g5_purged_rows_that_come_back_are_found_and_revive_nothing(cli: Keyturn) -> None:
    token = cli("token", "create").stdout
    rows = execute(cli.folder, "SELECT * FROM stored_events")
    cli("destroy", "--purge", "--yes")
    execute(cli.folder, "DELETE FROM stored_events")
    for row in rows:
        execute(cli.folder, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", values=row)

    nothing_is_accepted(cli, token, [])


def test_g5_an_audit_says_of_each_manager_whether_its_end_is_known(cli: Keyturn) -> None:
    cli("--name", "other", "init", "--no-password")
    line = cli("audit", "--checkpoint").stdout.strip()
    cli("--name", "other", "reset")
    forget_what_was_seen(cli.folder)
    execute(cli.folder, "DELETE FROM stored_events WHERE rowid = 3")

    facts = json.loads(cli("audit", "--against", line, "--json").stdout)
    done = cli("audit", "--against", line)

    assert facts["ends_known"] == ["default"]
    assert "whether the end of the history of other was cut off" in done.stdout


# --- whose log it is, and whose it was ---------------------------------------------------------


def test_g5_the_log_of_a_stranger_gets_no_verdict_unless_anybodys_will_do(
    cli: Keyturn, tmp_path: Path
) -> None:
    alone = Keyturn(tmp_path / "alone")
    alone.folder.mkdir(mode=0o700)
    shutil.copy(cli.folder / "keyturn.db", alone.folder)

    refused = alone("audit", code=os.EX_USAGE)
    anybodys = alone("audit", "--any-node")

    assert "--node-id" in refused.stderr
    assert "--any-node" in refused.stderr
    assert "nobody said whose record it should be" in anybodys.stdout


@pytest.mark.parametrize("look", ["verify", "inspect", "authenticate"])
def test_g9_an_old_export_on_a_new_machine_revives_nothing(
    cli: Keyturn, tmp_path: Path, look: str
) -> None:
    token = cli("token", "create").stdout
    export = cli("export").stdout
    cli("reset", "--reason", "laptop stolen")
    new = Keyturn(tmp_path / "new")
    new.folder.mkdir(mode=0o700)
    shutil.copy(cli.folder / "keyring.json", new.folder)
    new("import", stdin=export)

    refused = new("token", look, "-", stdin=token, code=BAD)
    new("token", "create")

    assert refused.stdout == ""
    assert "reset" in refused.stderr
    new("token", "verify", "-", stdin=token, code=1)
    changes = [json.loads(line) for line in new("history", "--json").stdout.splitlines()]
    assert [change["kind"] for change in changes] == ["generated", "reset"]


# --- what a long log and many writers cost -----------------------------------------------------


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the steps of SQLite's virtual machine, in tens, on connections made from now on."""
    counted = [0]
    begin = sqlite_connection.Connection.__init__

    def count() -> int:
        counted[0] += 1
        return 0

    def begin_counting(connection: sqlite3.Connection, *arguments: Any, **options: Any) -> None:
        begin(cast(Any, connection), *arguments, **options)
        connection.set_progress_handler(count, 10)

    monkeypatch.setattr(sqlite_connection.Connection, "__init__", begin_counting)
    return counted


def test_g8_opening_scans_no_long_log_whatever_kinds_of_events_it_has(
    folder: Path, steps: list[int]
) -> None:
    counts = []
    for _ in range(2):
        with keyturn.open(path=folder, password=None) as service:
            service.end_sessions(sids=[f"session {number}" for number in range(500)])
            service.end_sessions(subject="alice")
            service.rotate_key(overlap=0)
            service.reset_key()
        steps[0] = 0
        keyturn.open(path=folder, password=None).close()
        counts.append(steps[0])

    assert 0 < counts[1] < counts[0] + 100, counts


def test_g8_a_purge_beside_three_writers_leaves_a_log_that_opens_and_holds(
    cli: Keyturn, folder: Path
) -> None:
    purge_beside_three_writers(cli, lambda: keyturn.open(path=folder, password=None))

    cli("audit")
    with keyturn.open(path=folder, password=None) as service:
        service.reset_key()
        assert service.audit().holds


def test_g8_a_forged_token_costs_an_inspection_a_bounded_reading(
    steps: list[int], service: Service
) -> None:
    token = service.create_token()
    header, payload, signature = token.split(".")
    kid = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    other = "A" * len(kid) if kid != "A" * len(kid) else "B" * len(kid)
    forged_header = json.dumps(
        {"alg": "HS256", "kid": other, "typ": "JWT"}, separators=(",", ":")
    )
    forged = f"{spelled(forged_header)}.{payload}.{signature}"
    counts = []
    for _ in range(2):
        service.end_sessions(sids=[uuid4().hex for _ in range(4_000)])
        service.rotate_key(overlap=0)
        service.verify_token(token)
        steps[0] = 0
        assert service.inspect_token(forged).refusal is Refusal.UNKNOWN_KEY
        counts.append(steps[0])

    assert 0 < counts[1] < counts[0] + 100, counts


def spelled(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


# --- the anchor --------------------------------------------------------------------------------


HOLD_AND_STOP = """
import fcntl, os, signal, sys
entry = open(sys.argv[1], "r+b")
fcntl.flock(entry, fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_g8_a_process_that_stopped_with_the_anchors_lock_holds_up_no_reset_for_long(
    service: Service, folder: Path
) -> None:
    (entry,) = (folder / "anchor.json.d").glob("*.json")
    token = service.create_token()
    with subprocess.Popen([sys.executable, "-c", HOLD_AND_STOP, str(entry)]) as holder:
        os.waitpid(holder.pid, os.WUNTRACED)

        started = time.monotonic()
        service.reset_key()
        took = time.monotonic() - started
        holder.kill()

    assert took < 1
    assert not service.verify_token(token)
    service.reset_key()
    assert service.audit().holds


def test_g5_a_power_cut_that_tore_one_anchor_entry_refuses_no_other_manager(
    cli: Keyturn, folder: Path
) -> None:
    before = set((folder / "anchor.json.d").iterdir())
    cli("--name", "other", "init", "--no-password")
    (entry,) = set((folder / "anchor.json.d").iterdir()) - before
    os.truncate(entry, 100)

    cli("token", "create")
    refused = cli("--name", "other", "token", "create", code=BAD)

    assert "--accept-rollback" in refused.stderr
    cli("--name", "other", "--accept-rollback", "reset")
    cli("--name", "other", "token", "create")


def test_g5_a_power_cut_that_the_anchor_did_not_survive_makes_no_purge_a_rollback(
    cli: Keyturn, folder: Path
) -> None:
    (entry,) = (folder / "anchor.json.d").glob("*.json")
    before = entry.read_bytes()
    cli("destroy", "--purge", "--yes")
    entry.write_bytes(before)

    cli("init")

    cli("token", "create")
    cli("audit")
