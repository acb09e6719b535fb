"""An auditor has an export or a log that only can be read, a node id, and nothing of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.command_line import Keyturn
from tests.postgres import PostgresServer


@pytest.fixture
def cli(tmp_path: Path) -> Keyturn:
    """A command line whose log has three changes."""
    run = Keyturn(tmp_path / "data")
    run("init", "--no-password")
    run("reset", "--reason", "laptop stolen")
    run("reset")
    return run


@pytest.fixture
def auditor(tmp_path: Path) -> Keyturn:
    """A command line without a data folder."""
    return Keyturn(tmp_path / "nowhere")


def node_id_of(cli: Keyturn) -> str:
    node_id: str = json.loads(cli("audit", "--json").stdout)["node_id"]
    return node_id


def exported(cli: Keyturn, file: Path, **replaced: str) -> str:
    text = cli("export").stdout
    for old, new in replaced.items():
        text = text.replace(old, new)
    file.write_text(text)
    return str(file)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file): (file.stat().st_mtime_ns, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_an_export_is_audited_with_a_node_id_alone(
    cli: Keyturn, auditor: Keyturn, tmp_path: Path
) -> None:
    file = exported(cli, tmp_path / "export.jsonl")
    checkpoint = cli("audit", "--checkpoint").stdout.strip()

    node_id = node_id_of(cli)
    plain = auditor("audit", "--export", file, "--node-id", node_id)
    known = auditor("audit", "--export", file, "--node-id", node_id, "--against", checkpoint)
    nobody = auditor("audit", "--export", file, code=os.EX_USAGE)

    assert plain.stdout.startswith("The record holds: 3 events")
    assert f"held against node {node_id}" in plain.stdout
    assert "cut off" in plain.stdout
    assert "cut off" not in known.stdout
    assert "--node-id" in nobody.stderr
    assert not auditor.folder.exists()


def test_an_export_of_another_node_does_not_hold(
    cli: Keyturn, auditor: Keyturn, tmp_path: Path
) -> None:
    other = Keyturn(tmp_path / "other")
    node_id = json.loads(other("init", "--no-password", "--json").stdout)["node_id"]
    file = exported(cli, tmp_path / "export.jsonl")

    done = auditor("audit", "--export", file, "--node-id", node_id, code=os.EX_DATAERR)

    assert "foreign" in done.stdout


def test_what_is_wrong_with_an_export_is_found_and_where(
    cli: Keyturn, auditor: Keyturn, tmp_path: Path
) -> None:
    text, node_id = cli("export").stdout, node_id_of(cli)
    lines = text.splitlines(keepends=True)
    damaged = {
        "altered at position 2": text.replace("laptop", "tablet"),
        "missing at position 2": "".join([lines[0], lines[1], *lines[3:]]),
        "file ends before its closing line": "".join(lines[:-1]),
        "line 3 of the export is bad": text.replace('"originator_version":2', '"position":2'),
        "stands in the export twice": "".join([*lines[:3], lines[2], *lines[3:]]),
        "line 1 of the export is bad": "nonsense\n",
    }

    for finding, altered in damaged.items():
        file = tmp_path / "damaged.jsonl"
        file.write_text(altered)
        done = auditor("audit", "--export", str(file), "--node-id", node_id, code=os.EX_DATAERR)
        assert finding in done.stdout


def test_a_read_only_log_is_looked_at_and_left_as_it_is(cli: Keyturn, auditor: Keyturn) -> None:
    node_id, export = node_id_of(cli), cli("export").stdout
    cli("reset")  # which may leave a write-ahead log
    database = cli.folder / "keyturn.db"
    (cli.folder / "keyturn.db-wal").touch()
    for file in cli.folder.glob("keyturn.db*"):
        file.chmod(0o444)
    auditor.environment["KEYTURN_STORE"] = f"sqlite:///{database}"
    before = contents(cli.folder)

    # Not as root, who writes to everything; in the group of nobody.
    script = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "from keyturn.cli import main; main(sys.argv[1:])"
    )
    for command in (
        ["audit", "--node-id", node_id],
        ["history"],
        ["managers"],
        ["export", "--node-id", node_id],
    ):
        if os.getuid() == 0:
            for folder in (cli.folder, *list(cli.folder.parents)[:-2]):
                folder.chmod(folder.stat().st_mode | 0o055)
            done = subprocess.run(
                [sys.executable, "-c", script, *command],
                env=auditor.environment | {"HOME": "/nonexistent"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        else:
            done = auditor(*command)
        if command[0] == "export":
            assert done.stdout.splitlines()[1:4] == export.splitlines()[1:4]
    assert contents(cli.folder) == before


@pytest.fixture
def read_only_role(cli: Keyturn, postgres: PostgresServer) -> Iterator[str]:
    """The URL of a log in PostgreSQL, as a role that may read it and nothing else."""
    schema = postgres.new_schema()
    cli.environment["KEYTURN_STORE"] = postgres.tcp_url(schema)
    export = cli("export") if False else None
    assert export is None
    yield schema


def test_an_auditor_in_postgresql_needs_select_alone(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_STORE"] = postgres.tcp_url(postgres.new_schema())
    run("init", "--no-password")
    token = run("token", "create").stdout
    run("token", "verify", "-", stdin=token)
