"""The reference names everything that is public."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import keyturn
from keyturn.cli import cli
from keyturn.config.settings import setting_rows
from keyturn.domain import errors

DOCS = Path(__file__).parent.parent.parent / "docs"
SHOWN = {
    name
    for page in DOCS.glob("reference/*.md")
    for name in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)
}


def filled(page: str) -> str:
    """A page of the reference as the site has it: its tables filled in."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return str(hooks.on_page_markdown((DOCS / "reference" / page).read_text("utf-8")))


@pytest.mark.parametrize("name", keyturn.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    module = getattr(getattr(keyturn, name), "__module__", None)

    assert f"keyturn.{name}" in SHOWN or module in SHOWN


@pytest.mark.parametrize(
    "module",
    ["keyturn.actors.messages", "keyturn.domain.errors", "keyturn.testing", "keyturn.backup"],
)
def test_modules_that_hosts_import_are_in_the_reference_as_a_whole(module: str) -> None:
    assert module in SHOWN


def test_the_table_of_settings_is_what_their_declarations_say() -> None:
    page = (DOCS / "reference" / "settings.md").read_text("utf-8")

    assert re.findall(r"^\| `\w+` \| `KEYTURN_.*$", page, re.M) == [
        f"| `{name}` | `{variable}` | {default} | {description} |"
        for name, variable, default, description in setting_rows()
    ]


def test_every_command_and_option_is_in_the_reference() -> None:
    page = filled("commands.md")

    def missing(command: click.Command, path: str) -> Iterator[str]:
        if f"### `{path}`" not in page:
            yield path
        for option in (name for p in command.params for name in p.opts if name[:2] == "--"):
            if option not in page:
                yield f"{path} {option}"
        for name, part in getattr(command, "commands", {}).items():
            yield from missing(part, f"{path} {name}")

    assert list(missing(cli, "keyturn")) == []


def test_every_error_is_in_the_table_of_exit_codes() -> None:
    page = filled("commands.md")

    names = [
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.KeyturnError)
    ]
    assert [name for name in names if f"`{name}`" not in page] == []
