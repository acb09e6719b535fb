"""The record on the command line: history, audit, checkpoints, export and import."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.api.command_line import Keyturn


@pytest.fixture
def cli(tmp_path: Path) -> Keyturn:
    """A command line whose data folder has a history of four changes."""
    run = Keyturn(tmp_path / "data")
    run("init", "--no-password")
    for who, why in (("alice", "laptop stolen"), ("bob", "=cmd()"), ("alice", None)):
        run("reset", "--initiator", who, *(["--reason", why] if why else []))
    return run


def positions(cli: Keyturn, *options: str) -> list[int]:
    lines = cli("history", "--json", *options).stdout.splitlines()
    return [json.loads(line)["position"] for line in lines]


def alter(cli: Keyturn, statement: str) -> None:
    """Do to the log what nobody should."""
    connection = sqlite3.connect(cli.folder / "keyturn.db")
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), [1, 2, 3, 4]),
        (("--newest-first", "--limit", "2"), [4, 3]),
        (("--by", "alice"), [2, 4]),
        (("--generation", "3"), [3]),
        (("--kind", "generated"), [1]),
        (("--since", "2100-01-01"), []),
        (("--until", "2100-01-01T00:00Z", "--by", "bob"), [3]),
        (("--at", "2100-01-01"), [4]),
        (("--at", "2000-01-01"), []),
    ],
)
def test_the_history_is_filtered(
    cli: Keyturn, options: tuple[str, ...], shown: list[int]
) -> None:
    assert positions(cli, *options) == shown


def test_the_history_as_csv_is_safe_in_a_spreadsheet(cli: Keyturn) -> None:
    rows = list(csv.DictReader(cli("history", "--csv").stdout.splitlines()))

    assert [row["reason"] for row in rows] == ["", "laptop stolen", "'=cmd()", ""]


def test_an_audit_of_a_sound_record_says_so_and_needs_no_password(cli: Keyturn) -> None:
    done = cli("audit")

    assert done.stdout.startswith("The record holds: 4 events of node v")


def test_g5_an_audit_names_what_was_altered_and_where(cli: Keyturn) -> None:
    alter(cli, "UPDATE stored_events SET originator_version = 9 WHERE originator_version = 2")

    report = json.loads(cli("audit", "--json", code=os.EX_DATAERR).stdout)

    assert ("missing", 2) in {(f["kind"], f["position"]) for f in report["findings"]}


def test_g5_an_alien_row_is_a_finding(cli: Keyturn) -> None:
    alter(cli, "INSERT INTO stored_events VALUES ('x', 1, 'os:system', 'ls')")

    done = cli("audit", code=os.EX_DATAERR)

    assert "The record does NOT hold" in done.stdout


def test_g5_an_audit_knows_from_the_anchor_that_the_log_was_cut_short(cli: Keyturn) -> None:
    alter(cli, "DELETE FROM stored_events WHERE originator_version = 4")

    done = cli("audit", code=os.EX_DATAERR)

    assert "truncated at position 4" in done.stdout


def test_an_audit_against_another_node_does_not_hold(cli: Keyturn, tmp_path: Path) -> None:
    other = Keyturn(tmp_path / "other")
    node = json.loads(other("init", "--no-password", "--json").stdout)["node_id"]

    done = cli("--path", str(cli.folder), "audit", "--node-id", node, code=os.EX_DATAERR)

    assert "foreign" in done.stdout


def test_a_checkpoint_proves_that_a_later_log_extends_it(cli: Keyturn, tmp_path: Path) -> None:
    line = cli("audit", "--checkpoint").stdout
    kept = tmp_path / "checkpoint"
    kept.write_text(line)
    cli("reset")

    assert len(line.splitlines()) == 1
    cli("audit", "--against", line.strip())
    cli("audit", "--against", str(kept))


def test_a_checkpoint_tells_of_a_log_that_was_put_back(cli: Keyturn) -> None:
    old = (cli.folder / "keyturn.db").read_bytes()
    cli("reset")
    line = cli("audit", "--checkpoint").stdout.strip()
    (cli.folder / "keyturn.db").write_bytes(old)
    (cli.folder / "anchor.json").unlink()

    done = cli("audit", "--against", line, code=os.EX_DATAERR)

    assert "which the checkpoint has seen" in done.stdout


@pytest.mark.parametrize("checkpoint", ["nonsense", "keyturn-checkpoint-v1 a b c"])
def test_a_bad_checkpoint_is_a_clear_error(cli: Keyturn, checkpoint: str) -> None:
    done = cli("audit", "--against", checkpoint, code=os.EX_DATAERR)

    assert "checkpoint" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_audit_writes_a_page_about_it(cli: Keyturn, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"

    cli("audit", "--html", str(page))

    assert "laptop stolen" in page.read_text("utf-8")


def test_an_export_is_imported_into_an_empty_log_of_the_same_key_ring(
    cli: Keyturn, tmp_path: Path
) -> None:
    token = cli("token", "create").stdout.strip()
    export = cli("export").stdout
    restored = Keyturn(tmp_path / "restored")
    restored.folder.mkdir(mode=0o700)
    ring = restored.folder / "keyring.json"
    ring.write_bytes((cli.folder / "keyring.json").read_bytes())
    ring.chmod(0o600)

    restored("import", stdin=export)

    assert restored("token", "verify", token).stdout == "good\n"
    assert positions(restored) == [1, 2, 3, 4]


def test_a_damaged_export_is_refused_with_its_line_and_nothing_is_written(
    cli: Keyturn, tmp_path: Path
) -> None:
    lines = cli("export").stdout.splitlines(keepends=True)
    lines[2] = lines[2].replace("laptop", "tablet")
    restored = Keyturn(tmp_path / "restored")
    restored.folder.mkdir(mode=0o700)
    ring = restored.folder / "keyring.json"
    ring.write_bytes((cli.folder / "keyring.json").read_bytes())
    ring.chmod(0o600)

    done = restored("import", stdin="".join(lines), code=os.EX_DATAERR)

    assert "line 3" in done.stderr
    assert "no log" in restored("history", code=os.EX_NOINPUT).stderr or not positions(restored)
