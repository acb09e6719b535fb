"""Fills the reference of commands and exit codes with what the code says."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator

import click

from keyturn.cli import cli
from keyturn.cli.exit_codes import exit_code
from keyturn.domain import errors


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put tables in place of their markers: a hook of mkdocs."""
    for marker, table in (
        ("<!-- commands -->", commands_list),
        ("<!-- exit codes -->", exit_code_table),
    ):
        if marker in markdown:
            markdown = markdown.replace(marker, "\n".join(table()))
    return markdown


def commands_list() -> Iterator[str]:
    """Yield a section for each command, with its arguments and options."""
    with click.Context(cli, info_name="keyturn") as context:
        yield from _section(cli, context)


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"### `{context.command_path}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n"
    records = [p.get_help_record(context) for p in command.params]
    options = [record for record in records if record is not None]
    if options:
        yield "| option | |\n|---|---|"
    for option, meaning in options:
        yield f"| `{option.replace('|', chr(92) + '|')}` | {meaning} |"
    yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            part = command.get_command(context, name)
            assert part is not None
            with click.Context(part, info_name=name, parent=context) as inner:
                yield from _section(part, inner)


def exit_code_table() -> Iterator[str]:
    """Yield the lines of a table of the exit codes, and the errors that lead to them."""
    names = {value: name for name, value in vars(os).items() if name.startswith("EX_")}
    by_code: dict[int, list[str]] = {}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.KeyturnError):
            error = kind.__new__(kind)
            vars(error).update(is_busy=False)
            by_code.setdefault(exit_code(error), []).append(f"`{name}`")
    yield "| code | in sysexits.h | errors |"
    yield "|---|---|---|"
    for code, kinds in sorted(by_code.items()):
        yield f"| {code} | {names.get(code, '')} | {', '.join(kinds)} |"
