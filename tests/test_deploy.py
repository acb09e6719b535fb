"""examples/deploy, tried as far as it can be here: commands, variables, units, grants, nights."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from keyturn import Settings
from keyturn.cli import cli as commands
from tests.api.command_line import Keyturn
from tests.config.postgres_stores import Stores
from tests.postgres import PostgresServer, find_programs

FOLDER = Path(__file__).parent.parent / "examples" / "deploy"
INSTALLED = "/opt/keyturn/bin/keyturn"
UNITS = ("keyturn.service", "keyturn-audit.service", "keyturn-audit.timer")
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
CONTAINER = (FOLDER / "Containerfile").read_text("utf-8")


def unit(name: str) -> list[tuple[str, str]]:
    """Return the settings of a unit, of which one may stand several times."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    return [(key, value) for key, mark, value in (line.partition("=") for line in lines) if mark]


def all_commands() -> Iterator[list[str]]:
    for name in UNITS[:2]:
        for key, value in unit(name):
            if key == "ExecStart":
                program, *arguments = shlex.split(value)
                assert program == INSTALLED
                yield arguments
    for text in re.findall(r"^(?:CMD|HEALTHCHECK.* CMD) (\[.*\])$", CONTAINER, re.M):
        yield [word for word in json.loads(text) if word != "keyturn"]
    for service in COMPOSE["services"].values():
        if service["image"] == "keyturn" and "command" in service:
            yield service["command"]


@pytest.mark.parametrize("arguments", list(all_commands()), ids=" ".join)
def test_every_command_is_one_with_these_options(arguments: list[str]) -> None:
    name, *rest = arguments
    if name == "serve" and name not in commands.commands:
        pytest.skip("keyturn serve is not there")
    command = commands.commands[name]

    context = command.make_context(name, list(rest), parent=click.Context(commands))

    assert context.args == []


def environments() -> Iterator[dict[str, str]]:
    for name in UNITS[:2]:
        yield dict(value.split("=", 1) for key, value in unit(name) if key == "Environment")
    yield dict(line.split("=", 1) for line in re.findall(r"^ENV (.+)$", CONTAINER, re.M))
    for service in COMPOSE["services"].values():
        yield service["environment"]


@pytest.mark.parametrize("environment", list(environments()))
def test_every_variable_is_a_setting(environment: dict[str, str]) -> None:
    assert environment
    Settings.load(environ=environment)  # which refuses what it does not know


def test_what_the_compose_file_names_is_in_it() -> None:
    for service in COMPOSE["services"].values():
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
        for secret in service.get("secrets", []):
            assert secret in COMPOSE["secrets"]
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (FOLDER / source).exists()
    build = COMPOSE["x-keyturn"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).resolve() == FOLDER / "Containerfile"


def installed_here(folder: Path) -> list[Path]:
    """Copy the units, with the program that is here in them."""
    program = str(Path(sys.executable).parent / "keyturn")
    copies = []
    for name in UNITS:
        text = (FOLDER / name).read_text("utf-8").replace(INSTALLED, program)
        copies.append(folder / name)
        copies[-1].write_text(text)
    return copies


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", *installed_here(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_each_night_adds_a_checkpoint_that_the_log_must_contain(tmp_path: Path) -> None:
    cli = Keyturn(tmp_path / "data")
    cli("init", "--no-password")
    settings = dict(unit("keyturn-audit.service"))
    arguments = shlex.split(settings["ExecStart"])[1:]
    assert settings["StandardOutput"].startswith("append:")
    kept = tmp_path / "checkpoints"

    for _ in range(2):
        night = cli(*arguments)
        assert night.stderr.startswith("The record holds")
        with kept.open("a") as file:
            file.write(night.stdout)
        cli("reset")

    facts = json.loads(cli("audit", "--against", str(kept), "--json").stdout)
    assert facts["held_against"]["checkpoints"] == {"default": [1, 2]}


def test_the_service_of_the_compose_file_may_append_and_not_rewrite(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    stores = Stores(postgres)
    role = f"service_of_{stores.schema}"
    cli = Keyturn(tmp_path / "data")
    cli.environment["KEYTURN_STORE"] = postgres.url_of(stores.schema)
    cli("init", "--no-password")
    statements = (FOLDER / "grants.sql").read_text("utf-8").replace("keyturn_service", role)
    programs = find_programs()
    assert programs is not None
    try:
        subprocess.run(
            [programs / "psql", "-q", postgres.url_of(stores.schema)],
            input=statements,
            env=os.environ | {"SERVICE_PASSWORD": "it's one"},
            text=True,
            timeout=60,
            check=True,
        )
        postgres.sql(f"GRANT USAGE ON SCHEMA {stores.schema} TO {role}")
        cli.environment["KEYTURN_STORE"] = postgres.url_of(stores.schema, user=role)

        cli("token", "create")
        cli("reset")
        shown: Any = [json.loads(line) for line in cli("doctor", "--json").stdout.splitlines()]

        (rights,) = (each for each in shown if each["what"] == "role")
        assert (rights["value"], rights["level"]) == (f"{role} may read and append", "ok")
    finally:
        postgres.sql(f"DROP OWNED BY {role}")
        postgres.sql(f"DROP ROLE {role}")
        stores.close()


def test_everything_in_the_folder_is_explained() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")

    assert [name for name in os.listdir(FOLDER) if name != "README.md" and name not in page] == []
