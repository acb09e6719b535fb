"""An auditor has an export or a log that only can be read, a node id, and nothing of ours."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import keyturn
from tests.api.command_line import Keyturn
from tests.config.postgres_stores import Stores
from tests.postgres import PostgresServer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Keyturn:
    """A command line that each test gets a copy of."""
    run = Keyturn(tmp_path_factory.mktemp("made") / "data")
    run("init", "--no-password")
    run("reset", "--reason", "laptop stolen")
    run("reset")
    return run


@pytest.fixture
def cli(made: Keyturn, tmp_path: Path) -> Keyturn:
    """A command line whose log has three changes."""
    return made.copy(tmp_path / "data")


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
    assert "knows default until position 3" in known.stdout
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


@contextlib.contextmanager
def somebody_else(folder: Path) -> Iterator[None]:
    """Be a user who may read what is in a folder and not write there; root may everything."""
    if os.getuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    for each in (folder, *list(folder.parents)[:-2]):
        each.chmod(each.stat().st_mode | 0o055)
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_log_that_only_can_be_read_is_looked_at_and_left_as_it_is(
    cli: Keyturn, auditor: Keyturn
) -> None:
    node_id = node_id_of(cli)
    auditor.environment |= {"KEYTURN_STORE": f"sqlite:///{cli.folder}/keyturn.db"}
    commands = [
        ("audit", "--node-id", node_id),
        ("history",),
        ("managers",),
        ("export", "--node-id", node_id),
    ]
    for command in commands:  # so that all is imported
        auditor(*command)
    with keyturn.open(path=cli.folder) as host:  # which leaves a write-ahead log
        host.reset_key()
        for file in cli.folder.glob("keyturn.db*"):
            file.chmod(0o444)
        before = contents(cli.folder)

        with somebody_else(cli.folder):
            shown = [auditor(*command).stdout for command in commands]

        assert contents(cli.folder) == before
    assert "keyturn.db-wal" in str(before)
    assert shown[0].startswith("The record holds: 4 events")
    assert shown[3].count("\n") == 6


def test_an_auditor_in_postgresql_needs_select_alone(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    stores = Stores(postgres)
    with contextlib.closing(stores):
        run = Keyturn(tmp_path / "data")
        run.environment["KEYTURN_STORE"] = postgres.url_of(stores.schema)
        run("init", "--no-password")
        token = run("token", "create").stdout
        node_id = node_id_of(run)
        role = stores.role("GRANT SELECT ON keyturn_events TO keyturn_service")

        for cli in (run, Keyturn(tmp_path / "nowhere")):
            cli.environment["KEYTURN_STORE"] = stores.url_of(role)
            cli("audit", "--node-id", node_id)
            cli("history")
            cli("managers")
            assert cli("export", "--node-id", node_id).stdout.count("\n") == 3
        assert run("token", "verify", "-", stdin=token).stdout == "good\n"
        facts = {
            (fact := json.loads(line))["what"]: fact["value"]
            for line in run("doctor", "--json").stdout.splitlines()
        }
        assert facts["role"] == f"{role} may only read"


@pytest.mark.parametrize(
    ("statement", "mending"),
    [
        ("CREATE RULE hide AS ON INSERT TO keyturn_events DO INSTEAD NOTHING", "drop it"),
        ("ALTER TABLE keyturn_events ENABLE ROW LEVEL SECURITY", "row-level security"),
        (
            "ALTER TABLE keyturn_events RENAME TO x; CREATE VIEW keyturn_events AS TABLE x",
            "no table",
        ),
    ],
    ids=["rule", "row security", "view"],
)
def test_g5_a_table_in_postgresql_that_can_lie_is_a_finding(
    tmp_path: Path, postgres: PostgresServer, statement: str, mending: str
) -> None:
    with contextlib.closing(Stores(postgres)) as stores:
        run = Keyturn(tmp_path / "data")
        run.environment["KEYTURN_STORE"] = postgres.url_of(stores.schema)
        run("init", "--no-password")
        stores.run(statement)

        found = json.loads(run("audit", "--json", code=os.EX_DATAERR).stdout)["findings"]
        doctor = run("doctor", code=1)

    assert "store" in {finding["kind"] for finding in found}
    assert mending in str(found)
    assert mending in doctor.stdout
