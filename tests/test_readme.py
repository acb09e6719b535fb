"""The README is code: every snippet in it runs, and what it lists is all there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import keyturn
from keyturn import Settings
from keyturn.cli import cli
from keyturn.config.settings import setting_rows
from tests.postgres import PostgresServer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_python_snippet_runs(number: int, tmp_path: Path) -> None:
    snippet = blocks("python")[number]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_first_snippet_prints_what_its_comments_say(tmp_path: Path) -> None:
    snippet = blocks("python")[0]

    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    lines = done.stdout.splitlines()
    assert [lines[0], lines[1], lines[-1]] == re.findall(r"# (.+)", snippet)
    assert len(snippet.strip().splitlines()) <= 11


@pytest.mark.parametrize("number", range(len(blocks("console"))))
def test_every_console_snippet_runs(number: int, tmp_path: Path) -> None:
    commands = re.findall(r"^\$ (.+)", blocks("console")[number], re.M)
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_role_of_the_sql_snippet_is_enough_for_a_service(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    [snippet] = blocks("sql")
    schema = postgres.new_schema()
    keyturn.open_event_log(postgres.url_of(schema)).close()
    postgres.sql(f"GRANT USAGE ON SCHEMA {schema} TO public")

    postgres.sql(f"SET search_path = {schema}; {snippet}")

    [role] = re.findall(r"CREATE ROLE (\w+)", snippet)
    url = postgres.url_of(schema, user=role)
    with keyturn.open(path=tmp_path, store=url, password=None) as service:
        token = service.create_token()
        service.reset_key()
        assert not service.verify_token(token)
        assert service.audit().holds


def test_the_store_of_the_ini_snippet_is_one(tmp_path: Path) -> None:
    [(name, url)] = re.findall(r"(\w+)=(.+)", blocks("ini")[0])

    settings = Settings.load(environ={name: url})

    assert settings.store == url


def test_ci_calls_the_test_command_that_the_readme_prints() -> None:
    printed = [block.strip() for block in blocks("sh")]

    pattern = re.search(r"grep -E '(.+?)' README.md", (ROOT / ".ci" / "run").read_text("utf-8"))

    assert pattern is not None
    assert re.findall(pattern[1], README, re.M) == [c for c in printed if c.endswith("pytest")]
    assert [c.rsplit("/", 1)[1] for c in printed] == ["keyturn demo", "pytest"]


def test_the_table_of_settings_is_what_their_declarations_say() -> None:
    rows = re.findall(r"^\| `\w+` \| `KEYTURN_.*$", README, re.M)

    assert rows == [
        f"| `{name}` | `{variable}` | {default} | {description} |"
        for name, variable, default, description in setting_rows()
    ]


def test_every_command_is_in_the_readme() -> None:
    def names(group: click.Group, prefix: str) -> list[str]:
        found = []
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                found += names(command, f"{prefix}{name} ")
            else:
                found.append(f"{prefix}{name}")
        return found

    commands = re.sub(r"keyturn --path data ", "keyturn ", README)

    assert [n for n in names(cli, "") if f"keyturn {n}" not in commands] == []


def test_every_option_before_the_command_is_in_the_readme() -> None:
    options = [o for p in cli.params for o in p.opts if o.startswith("--")]

    assert [o for o in options if o not in README and o not in ("--version", "--help")] == []


def test_every_promise_is_in_the_readme() -> None:
    assert re.findall(r"^\| (G\d) \|", README, re.M) == [f"G{n}" for n in range(1, 10)]
