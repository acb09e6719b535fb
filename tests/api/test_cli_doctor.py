"""`keyturn doctor` is a health check: 0 for healthy, 1 for wrong, warnings apart."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from keyturn.cli import doctor as doctor_module
from keyturn.cli import places
from tests.api.command_line import Keyturn


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Keyturn:
    """A command line that each test gets a copy of."""
    run = Keyturn(tmp_path_factory.mktemp("made") / "data")
    run.environment["KEYTURN_PASSWORD"] = "secret"
    run("init")
    return run


@pytest.fixture
def cli(made: Keyturn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyturn:
    """A command line whose data folder is made already, and is healthy."""
    monkeypatch.setattr(doctor_module, "WAL_RESET_FIXED", (3, 0))  # whatever SQLite is here
    return made.copy(tmp_path / "data")


def looked_at(cli: Keyturn, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
    lines = cli("doctor", "--json", *options, code=code).stdout.splitlines()
    return {(found := json.loads(line))["what"]: found for line in lines}


def test_a_healthy_installation_is_shown_with_all_that_was_looked_at(cli: Keyturn) -> None:
    before = {file: file.read_bytes() for file in cli.folder.rglob("*") if file.is_file()}

    text = cli("doctor", "--strict").stdout
    found = looked_at(cli)

    assert text.splitlines()[0] == "healthy"
    assert found["password"]["value"] == "opens the key ring"
    assert found["anchor"]["value"] == "agrees with 1 of 1 managers"
    assert found["log"]["value"].endswith("(opened)")
    assert found["file system"]["value"] != "unknown"
    assert {"python", "keyturn", "sqlite", "node"} <= found.keys()
    assert {found["level"] for found in found.values()} == {"ok"}
    assert (
        before.items()
        <= {f: f.read_bytes() for f in cli.folder.rglob("*") if f.is_file()}.items()
    )


def test_each_setting_is_shown_with_where_it_comes_from(cli: Keyturn, tmp_path: Path) -> None:
    config = tmp_path / "keyturn.toml"
    config.write_text("expiry = '30m'\nrotate_every = '90d'\n")
    cli.environment["KEYTURN_ROTATE_EVERY"] = "24h"
    cli.environment["KEYTURN_CONFIG"] = str(config)

    found = looked_at(cli)

    assert found["setting path"]["value"] == f"{cli.folder} (arguments)"
    assert found["setting rotate_every"]["value"] == "86400 (KEYTURN_ROTATE_EVERY)"
    assert found["setting expiry"]["value"] == f"1800 ({config})"
    assert found["setting overlap"]["value"] == "as long as a token lives (default)"
    assert found["setting anchor"]["value"] == f"{cli.folder}/anchor.json (default)"


def wrong(found: dict[str, dict[str, Any]], level: str = "wrong") -> dict[str, str]:
    return {what: each["message"] for what, each in found.items() if each["level"] == level}


def test_a_warning_is_not_healthy_if_it_is_to_be_strict(cli: Keyturn) -> None:
    cli.folder.chmod(0o755)

    assert cli("doctor").stdout.startswith("healthy: 1 to be warned of\n")
    strict = cli("doctor", "--strict", code=1).stdout
    assert strict.startswith("NOT healthy: 1 to be warned of\n")


def test_a_wrong_password_is_wrong_and_none_is_not_tried(cli: Keyturn) -> None:
    cli.environment["KEYTURN_PASSWORD"] = "guessed"
    assert wrong(looked_at(cli, code=1)).keys() == {"key ring"}

    del cli.environment["KEYTURN_PASSWORD"]
    assert looked_at(cli)["password"]["value"] == "not tried: none was given"


def test_a_key_ring_that_its_group_may_read_is_healthy_and_audited_where_a_setting_says_so(
    cli: Keyturn,
) -> None:
    (cli.folder / "keyring.json").chmod(0o440)
    assert wrong(looked_at(cli, code=1)).keys() == {"key ring"}
    cli("audit", code=os.EX_NOPERM)

    cli.environment["KEYTURN_GROUP_READABLE"] = "true"

    assert cli("doctor", "--strict").stdout.startswith("healthy\n")
    cli("audit")


def test_a_log_that_was_put_back_or_is_gone_is_wrong(cli: Keyturn) -> None:
    old = (cli.folder / "keyturn.db").read_bytes()
    cli("reset")
    (cli.folder / "keyturn.db").write_bytes(old)
    assert "--accept-rollback" in wrong(looked_at(cli, code=1))["manager"]

    (cli.folder / "keyturn.db").unlink()
    assert "put it back" in wrong(looked_at(cli, code=1))["log"]


def test_the_managers_that_agree_are_counted_among_all_that_were_looked_at(cli: Keyturn) -> None:
    cli("--name", "tenant-7", "init")
    with sqlite3.connect(cli.folder / "keyturn.db") as connection:
        connection.execute("DELETE FROM stored_events WHERE rowid = 2")
    connection.close()

    assert looked_at(cli, code=1)["anchor"]["value"] == "agrees with 1 of 2 managers"


def test_a_lost_anchor_and_a_lost_key_ring_are_wrong(cli: Keyturn) -> None:
    shutil.rmtree(cli.folder / "anchor.json.d")
    assert "--trust-log" in wrong(looked_at(cli, code=1))["manager"]

    (cli.folder / "keyring.json").unlink()
    assert "key ring" in wrong(looked_at(cli, code=1))


def test_a_store_that_can_lie_is_wrong_with_what_mends_it(cli: Keyturn) -> None:
    with sqlite3.connect(cli.folder / "keyturn.db") as connection:
        connection.execute("CREATE VIEW spy AS SELECT 1")
    connection.close()

    assert "DROP VIEW spy" in wrong(looked_at(cli, code=1))["log"]


def test_what_others_can_read_is_a_warning_or_wrong_where_it_is_refused(
    cli: Keyturn, tmp_path: Path
) -> None:
    (cli.folder / "anchor.json.d").chmod(0o755)
    cli.folder.chmod(0o750)
    assert wrong(looked_at(cli), "warning").keys() == {"anchor folder", "data"}
    looked_at(cli, "--strict", code=1)

    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    cli.environment["KEYTURN_PASSWORD_FILE"] = str(secret)
    (cli.folder / "keyring.json").chmod(0o644)
    found = looked_at(cli, code=1)
    assert "chmod 600" in wrong(found)["password file"]
    assert "key ring" in wrong(found)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_files_of_somebody_else_are_warned_of(cli: Keyturn) -> None:
    os.chown(cli.folder / "keyturn.db", 65534, 65534)

    assert "belongs to nobody, and this is root" in wrong(looked_at(cli), "warning")["database"]


def test_a_file_system_of_several_machines_is_wrong(
    cli: Keyturn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_kind_of_file_system", lambda path: "nfs4")

    assert "local file system" in wrong(looked_at(cli, code=1))["file system"]


def test_an_old_sqlite_is_warned_of(cli: Keyturn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "WAL_RESET_FIXED", (99, 0))

    assert "rare fault" in wrong(looked_at(cli), "warning")["sqlite"]


def test_where_nothing_was_made_the_doctor_says_how(tmp_path: Path) -> None:
    cli = Keyturn(tmp_path / "nowhere")

    found = looked_at(cli, code=1)

    assert "keyturn init" in wrong(found)["key ring"]
    assert not cli.folder.exists()
