"""Commands that only look at tokens hold the log against the anchor, and move neither."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.api.command_line import Keyturn

LOOKS = [("verify",), ("inspect",), ("authenticate",)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Keyturn:
    """A command line that each test gets a copy of."""
    run = Keyturn(tmp_path_factory.mktemp("made") / "data")
    run("init", "--no-password")
    return run


@pytest.fixture
def cli(made: Keyturn, tmp_path: Path) -> Keyturn:
    """A command line whose data folder is made already."""
    return made.copy(tmp_path / "data")


@pytest.fixture
def revoked(cli: Keyturn) -> str:
    """A token that was revoked, but is good in the log that was put back."""
    token = cli("token", "create").stdout
    old = (cli.folder / "keyturn.db").read_bytes()
    cli("reset")
    (cli.folder / "keyturn.db").write_bytes(old)
    return token


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("look", LOOKS)
def test_a_revoked_token_is_not_good_on_an_old_copy_of_the_log(
    cli: Keyturn, revoked: str, look: tuple[str, ...]
) -> None:
    anchor = contents(cli.folder / "anchor.json.d")

    refused = cli("token", *look, "-", stdin=revoked, code=os.EX_DATAERR)

    assert refused.stdout == ""
    assert "old copy" in refused.stderr
    assert contents(cli.folder / "anchor.json.d") == anchor


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("damage", ["removed", "emptied", "shortened"])
def test_without_the_anchors_entry_a_log_is_not_trusted(
    cli: Keyturn, revoked: str, look: tuple[str, ...], damage: str
) -> None:
    folder = cli.folder / "anchor.json.d"
    (entry,) = folder.glob("*.json")
    if damage == "removed":
        shutil.rmtree(folder)
    elif damage == "emptied":
        entry.unlink()
    else:
        os.truncate(entry, 100)

    refused = cli("token", *look, "-", stdin=revoked, code=os.EX_DATAERR)

    assert refused.stdout == ""
    assert "--trust-log" in refused.stderr or "--accept-rollback" in refused.stderr


def test_purged_rows_that_come_back_are_not_good(cli: Keyturn) -> None:
    token = cli("token", "create").stdout
    with sqlite3.connect(cli.folder / "keyturn.db") as connection:
        rows = connection.execute("SELECT * FROM stored_events").fetchall()
    connection.close()
    cli("destroy", "--purge", "--yes")
    with sqlite3.connect(cli.folder / "keyturn.db") as connection:
        connection.execute("DELETE FROM stored_events")
        connection.executemany("INSERT INTO stored_events VALUES (?, ?, ?, ?)", rows)
    connection.close()

    for look in LOOKS:
        assert cli("token", *look, "-", stdin=token, code=os.EX_DATAERR).stdout == ""


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_log_that_was_never_seen_is_taken_when_that_is_said(cli: Keyturn, how: str) -> None:
    token = cli("token", "create").stdout
    shutil.rmtree(cli.folder / "anchor.json.d")
    cli("token", "verify", "-", stdin=token, code=os.EX_DATAERR)
    option = ["--trust-log"] if how == "option" else []
    if how == "variable":
        cli.environment["KEYTURN_TRUST_LOG"] = "yes"

    good = cli(*option, "token", "verify", "-", stdin=token)
    is_still_unknown = not (cli.folder / "anchor.json.d").exists()
    cli(*option, "reset")
    cli.environment.pop("KEYTURN_TRUST_LOG", None)

    assert good.stdout == "good\n"
    assert is_still_unknown
    cli("token", "verify", "-", stdin=token, code=1)
