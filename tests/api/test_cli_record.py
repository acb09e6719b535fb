"""The record on the command line: history, audit, checkpoints, export and import."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.api.command_line import Keyturn


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Keyturn:
    """A command line that each test gets a copy of."""
    run = Keyturn(tmp_path_factory.mktemp("made") / "data")
    run("init", "--no-password")
    for who, why in (("alice", "laptop stolen"), ("bob", "=cmd()"), ("alice", None)):
        run("reset", "--initiator", who, *(["--reason", why] if why else []))
    return run


@pytest.fixture
def cli(made: Keyturn, tmp_path: Path) -> Keyturn:
    """A command line whose data folder has a history of four changes."""
    return made.copy(tmp_path / "data")


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
        (("--initiator", "alice"), [2, 4]),
        (("--after", "2"), [3, 4]),
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
    assert "nobody can tell" not in done.stdout


def test_an_audit_says_when_nobody_can_tell_whether_the_end_is_missing(cli: Keyturn) -> None:
    shutil.rmtree(cli.folder / "anchor.json.d")

    done = cli("audit")

    assert "nobody can tell whether the end of the history of default was cut off" in done.stdout


def test_g5_a_log_that_is_gone_is_a_finding(cli: Keyturn) -> None:
    (cli.folder / "keyturn.db").unlink()

    done = cli("audit", code=os.EX_DATAERR)

    assert "truncated at position 4" in done.stdout


def test_a_log_that_is_gone_never_holds_for_want_of_events(cli: Keyturn) -> None:
    (cli.folder / "keyturn.db").unlink()

    done = cli("audit", "--any-node", code=os.EX_NOINPUT)

    assert done.stdout == ""
    assert "there is no log" in done.stderr


def test_g5_a_damaged_anchor_is_a_finding(cli: Keyturn) -> None:
    (cli.folder / "anchor.json").write_text("{}")

    done = cli("audit", code=os.EX_DATAERR)

    assert "anchor" in done.stdout


def test_the_verdict_for_programs_says_whether_the_record_holds(cli: Keyturn) -> None:
    facts = json.loads(cli("audit", "--json").stdout)

    assert facts["holds"] is True
    assert facts["held_against"] == {
        "node_id": facts["node_id"],
        "anchor": {"default": 4},
        "checkpoints": {},
        "node_id_from": "key ring",
    }
    assert facts["ends_known"] == ["default"]


def test_without_a_key_ring_an_audit_must_be_told_whose_record_it_should_be(
    cli: Keyturn,
) -> None:
    node_id = json.loads(cli("audit", "--json").stdout)["node_id"]
    (cli.folder / "keyring.json").unlink()

    refused = cli("audit", code=os.EX_USAGE)
    told, any_node = cli("audit", "--node-id", node_id), cli("audit", "--any-node")

    assert "whose record it should be" in refused.stderr
    assert "not both" not in refused.stderr
    assert f"held against node {node_id}" in told.stdout
    assert f"nobody said whose record it should be: it is that of node {node_id}" in (
        any_node.stdout
    )


@pytest.mark.parametrize("command", ["audit", "export", "history"])
def test_g5_our_own_events_cannot_be_left_out_as_a_hosts(cli: Keyturn, command: str) -> None:
    done = cli("--host-topic", "keyturn.KeyReset", command, code=os.EX_CONFIG)

    assert "Keyturn's own" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("options", [("--name", "nobody"), ()])
def test_nothing_but_a_checkpoint_is_printed_for_one(
    cli: Keyturn, options: tuple[str, ...]
) -> None:
    if not options:
        alter(cli, "DELETE FROM stored_events WHERE originator_version = 2")

    done = cli(*options, "audit", "--checkpoint", code=os.EX_DATAERR)

    assert done.stdout == ""


def test_the_aggregates_of_a_host_are_named_by_their_topics(cli: Keyturn) -> None:
    alter(cli, "INSERT INTO stored_events VALUES ('00', 1, 'host:Opened', '{}')")

    cli("history", code=os.EX_DATAERR)

    for command in (("history",), ("audit",), ("export",), ("reset",), ("token", "create")):
        cli("--host-topic", "host:Opened", *command)


def test_looking_at_a_token_changes_nothing(cli: Keyturn) -> None:
    import keyturn

    token = cli("token", "create").stdout.strip()
    with keyturn.open(path=cli.folder, password=None) as service:
        service.stop()
        service.destroy()
    before = positions(cli)

    cli("token", "inspect", token)
    cli("token", "verify", token, code=1)

    assert positions(cli) == before


def test_a_token_is_judged_as_of_a_moment(cli: Keyturn) -> None:
    token = cli("token", "create").stdout.strip()

    report = json.loads(cli("token", "inspect", token, "--at", "2000-01-01", "--json").stdout)

    assert report["refusal"] == "not issued yet"


def test_a_forged_reason_is_not_told_of_a_token(cli: Keyturn) -> None:
    token = cli("token", "create").stdout.strip()
    cli("reset", "--reason", "honest")
    alter(
        cli,
        "UPDATE stored_events SET state = CAST(replace(state, 'honest', 'forged') AS BLOB) "
        "WHERE originator_version = 5",
    )

    done = cli("token", "inspect", token, code=os.EX_DATAERR)

    assert "position 5" in done.stderr
    assert "forged" not in done.stdout


@pytest.mark.parametrize("damage", ["topic = 'os:system'", "state = 'text'", "state = x'00'"])
def test_g5_a_damaged_log_has_a_page_too(cli: Keyturn, tmp_path: Path, damage: str) -> None:
    alter(cli, f"UPDATE stored_events SET {damage} WHERE originator_version = 3")

    cli("audit", "--html", str(tmp_path / "page.html"), code=os.EX_DATAERR)

    assert "laptop stolen" in (tmp_path / "page.html").read_text("utf-8")


def test_a_rotation_is_in_the_record(cli: Keyturn, tmp_path: Path) -> None:
    cli("rotate", "--overlap", "60", "--reason", "monthly rotation")

    cli("audit", "--html", str(tmp_path / "page.html"))

    assert positions(cli, "--kind", "rotated") == [5]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "monthly rotation" in page
    for shown in (page, cli("history").stdout):
        assert "rotated +60 s" in shown


def test_a_page_that_cannot_be_written_keeps_nobody_from_the_verdict(cli: Keyturn) -> None:
    done = cli("audit", "--html", str(cli.folder / "no" / "page.html"), code=os.EX_CANTCREAT)

    assert done.stdout.startswith("The record holds")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("statement", "mending"),
    [
        ("DROP TABLE stored_events", "table of events is missing"),
        ("CREATE VIEW spy AS SELECT * FROM stored_events", "DROP VIEW spy"),
        (
            "CREATE TRIGGER hide AFTER INSERT ON stored_events BEGIN SELECT raise(IGNORE); END",
            "DROP TRIGGER hide",
        ),
    ],
)
def test_g5_a_store_that_can_lie_is_a_finding_with_what_mends_it(
    cli: Keyturn, tmp_path: Path, statement: str, mending: str
) -> None:
    alter(cli, statement)
    page = tmp_path / "page.html"

    done = cli("audit", "--json", "--html", str(page), code=os.EX_DATAERR)

    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["kind"] == "store"
    assert mending in finding["message"]
    assert mending in page.read_text("utf-8")
    assert "nothing was read of it" in page.read_text("utf-8")
    assert "The record does NOT hold" in cli("audit", code=os.EX_DATAERR).stdout


def test_g5_the_verdict_on_a_store_that_can_lie_says_what_is_not_compared_and_why(
    cli: Keyturn,
) -> None:
    point = cli("audit", "--checkpoint").stdout.strip()
    alter(cli, "CREATE VIEW spy AS SELECT * FROM stored_events")

    shown = cli("audit", "--against", point, code=os.EX_DATAERR).stdout

    assert "the anchor of 1 manager: default at 4; 1 checkpoint: default at 4" in shown
    assert "No row was read, because such a store can show what was never written" in shown
    assert "nobody can tell" not in shown


def test_a_bad_node_id_is_a_usage_error(cli: Keyturn) -> None:
    cli("audit", "--node-id", "foo", code=os.EX_USAGE)


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
    shutil.rmtree(cli.folder / "anchor.json.d")

    done = cli("audit", "--against", line, code=os.EX_DATAERR)

    assert "which the checkpoint has seen" in done.stdout


def test_checkpoints_of_several_managers_and_times_are_kept_in_one_file(
    cli: Keyturn, tmp_path: Path
) -> None:
    cli("--name", "other", "init")
    kept = tmp_path / "checkpoints"
    kept.write_text(cli("audit", "--checkpoint", "--all").stdout)
    cli("reset")
    with kept.open("a") as file:
        file.write("\n" + cli("audit", "--checkpoint").stdout)

    facts = json.loads(cli("audit", "--against", str(kept), "--json").stdout)
    cli("audit", "--against", "-", stdin=kept.read_text())
    alter(cli, "DELETE FROM stored_events WHERE originator_version = 1")
    broken = cli("audit", "--against", str(kept), code=os.EX_DATAERR)

    assert facts["held_against"]["checkpoints"] == {"default": [4, 5], "other": [1]}
    assert "of other" in broken.stdout


def test_a_bad_checkpoint_is_a_clear_error(cli: Keyturn) -> None:
    done = cli("audit", "--against", "keyturn-checkpoint-v1 a b c", code=os.EX_DATAERR)

    assert "checkpoint" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_of_checkpoints_that_is_not_there_is_no_verdict_on_the_record(
    cli: Keyturn,
) -> None:
    done = cli("audit", "--against", "/nowhere/points", code=os.EX_NOINPUT)

    assert "/nowhere/points" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_audit_writes_a_page_about_it(cli: Keyturn, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"

    cli("audit", "--html", str(page))

    assert "laptop stolen" in page.read_text("utf-8")


def test_an_export_is_imported_into_an_empty_log_of_the_same_key_ring(
    cli: Keyturn, tmp_path: Path
) -> None:
    export = cli("export").stdout
    restored = Keyturn(tmp_path / "restored")
    restored.folder.mkdir(mode=0o700)
    ring = restored.folder / "keyring.json"
    ring.write_bytes((cli.folder / "keyring.json").read_bytes())
    ring.chmod(0o600)

    restored("import", stdin=export)

    assert positions(restored) == [1, 2, 3, 4]
    assert restored("export").stdout == export


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
    assert "it has none" in restored("history", code=os.EX_NOINPUT).stderr


def test_the_page_of_a_manager_that_the_record_has_not_is_not_written(
    cli: Keyturn, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"

    refused = cli("audit", "--html", str(page), "--name", "zz", code=os.EX_NOINPUT)

    assert "no manager 'zz'" in refused.stderr
    assert not page.exists()


def test_an_export_says_that_the_log_was_cut_off(cli: Keyturn) -> None:
    whole = cli("export")
    alter(cli, "DELETE FROM stored_events WHERE originator_version = 4")

    cut = cli("export")

    assert whole.stderr == ""
    assert "manager default it ends at position 3, and this machine has seen 4" in cut.stderr
    assert len(cut.stdout.splitlines()) == len(whole.stdout.splitlines()) - 1


def test_a_file_that_is_no_export_gets_a_verdict_that_can_be_read(
    cli: Keyturn, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text("garbage\n" * 1000)

    done = cli("audit", "--export", str(garbage), code=os.EX_DATAERR)

    assert len(done.stdout.splitlines()) < 110
    assert done.stdout.endswith(" more: --json shows all\n")


def test_the_page_of_some_managers_since_a_moment(cli: Keyturn, tmp_path: Path) -> None:
    cli("--name", "web", "init")
    page = tmp_path / "page.html"

    cli("audit", "--html", str(page), "--since", "1h", "--name", "web")
    text = page.read_text("utf-8")
    refused = cli("audit", "--name", "web", code=os.EX_USAGE)

    assert "1 of 2 managers" in text
    assert "laptop stolen" not in text
    assert "--html" in refused.stderr


def test_g5_the_verdict_says_what_an_altered_row_claims(cli: Keyturn) -> None:
    altered = "replace(CAST(state AS TEXT), 'alice', 'mallory')"
    alter(cli, f"UPDATE stored_events SET state = CAST({altered} AS BLOB)")

    done = cli("audit", code=os.EX_DATAERR)

    assert "by mallory)" in done.stdout
