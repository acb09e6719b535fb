"""docs/operations.md: its recipes work, and what it lists is so."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from keyturn.cli.exit_codes import _CODES
from keyturn.cli.output import BROKEN_PIPE
from tests.api.command_line import Keyturn
from tests.postgres import PostgresServer
from tests.warm_python import warm_python

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")


def commands_under(heading: str) -> str:
    """Return the commands of the first block of a section, as a script."""
    section = PAGE.partition(f"# {heading}\n")[2]
    block = re.search(r"^```console\n(.*?)^```", section, re.M | re.S)
    assert block is not None
    return "\n".join(re.findall(r"^\$ (.+)", block[1], re.M))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `keyturn` that starts at once."""
    folder = tmp_path_factory.mktemp("programs")
    warm_python().make_programs(folder)
    return folder


class Site:
    """A folder with a data folder in use, and what an operator keeps of it."""

    def __init__(self, folder: Path, programs: Path, store: str | None = None) -> None:
        self.folder = folder
        self.programs = programs
        self.cli = Keyturn(folder / "data")
        self.cli.environment["KEYTURN_PASSWORD"] = "correct horse"
        if store is not None:
            self.cli.environment["KEYTURN_STORE"] = store
        self.cli("init")
        (folder / "old.jsonl").write_text(self.cli("export").stdout)
        self.old_token = self.cli("token", "create").stdout
        (folder / "token").write_text(self.old_token)
        self.cli("rotate", "--overlap", "1h")
        (folder / "checkpoints").write_text(self.cli("audit", "--checkpoint", "--all").stdout)
        self.node_id = json.loads(self.cli("audit", "--json").stdout)["node_id"]

    def follow(self, heading: str) -> str:
        """Do what a section says, and return what was shown."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands_under(heading)],
            cwd=self.folder,
            env=self.cli.environment
            | {"PATH": f"{self.programs}:{os.environ['PATH']}", "NODE_ID": self.node_id},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path, programs: Path) -> Site:
    return Site(tmp_path, programs)


def test_the_nightly_look_works(site: Site) -> None:
    shown = site.follow("Is all well?")

    assert shown.startswith("healthy")
    assert (site.folder / "checkpoints").read_text().startswith("keyturn-checkpoint")


def test_the_audit_of_an_auditor_works(site: Site) -> None:
    shown = site.follow("The audit, for somebody who has nothing of ours")

    assert shown.count("The record holds") == 2
    assert "3 checkpoints" in shown or "1 checkpoint" in shown


def test_a_key_ring_that_is_lost_for_good(site: Site) -> None:
    (site.cli.folder / "keyring.json").unlink()
    for command in (("init",), ("reset",), ("export",)):
        refused = site.cli(*command, code=os.EX_NOINPUT).stderr
        assert "lost for good" in refused
        assert "docs/operations.md" in refused

    shown = site.follow("A key ring that is lost for good")

    assert "The record holds" in shown
    assert site.node_id in shown.rpartition("The record holds")[2]
    site.cli("token", "verify", "-", stdin=(site.folder / "token").read_text())
    site.cli("token", "verify", "-", stdin=site.old_token, code=1)


def test_a_lost_anchor(site: Site) -> None:
    shutil.rmtree(site.cli.folder / "anchor.json.d")
    site.cli("token", "create", code=os.EX_DATAERR)

    site.follow("A lost anchor")

    site.cli("token", "verify", "-", stdin=site.old_token)


def test_an_old_backup(site: Site) -> None:
    for file in site.cli.folder.glob("keyturn.db*"):
        file.unlink()

    shown = site.follow("An old backup")

    assert "accepted a log that was rolled back" in " ".join(shown.split())
    assert "abandoned" not in site.cli("audit").stdout  # the anchor has followed
    later = site.cli("audit", "--against", str(site.folder / "checkpoints"))
    assert "abandoned" in later.stdout
    site.cli("token", "verify", "-", stdin=site.old_token, code=1)
    site.cli("token", "verify", "-", stdin=(site.folder / "token").read_text())


def test_a_second_machine(tmp_path: Path, programs: Path, postgres: PostgresServer) -> None:
    site = Site(tmp_path, programs, postgres.url())

    shown = site.follow("A second machine")

    assert "good\n" in shown
    site.cli("token", "verify", "-", stdin=(site.folder / "another").read_text())


def test_every_exit_code_is_on_the_page() -> None:
    table = PAGE.partition("### Exit codes")[2].partition("###")[0]
    listed = {
        int(code)
        for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M)
        for code in row.split(",")
    }

    assert {code for _, code in _CODES} | {0, 130, BROKEN_PIPE} <= listed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_as_documented(shell: str, tmp_path: Path) -> None:
    cli = Keyturn(tmp_path)
    cli.environment["_KEYTURN_COMPLETE"] = f"{shell}_source"

    assert "keyturn" in cli().stdout
    assert f"{shell}_source" in PAGE
