"""What an error says on the command line: its options, and nothing of Python."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

# Errors are written for hosts too, which pass arguments where a person has options.
_OF_HOSTS = (
    (re.compile(r"\w+=True \((--[\w-]+)[^)]*\)"), r"\1"),
    (re.compile(r"\((?:\w+=)?\w+, (--[\w-]+)\)"), r"(\1)"),
    (re.compile(r", or with create=True|with create=True or "), ""),
    (re.compile(r", or the argument `password`"), ""),
    (re.compile(r"use the argument `(\w+)`"), r"use --\1"),
    (re.compile(r"password=None makes"), "`keyturn init --no-password` makes"),
    (re.compile(r"; None means no password"), ""),
    (re.compile(r"\(None: never\)"), "(or never)"),
)


def for_command_line(text: str) -> str:
    """Return the text of an error as a person at a command line can use it."""
    for pattern, replacement in _OF_HOSTS:
        text = pattern.sub(replacement, text)
    return text


def usage_text(error: click.ClickException) -> str:
    """Return what is wrong with how a command was called, and where to read more."""
    context = getattr(error, "ctx", None)
    text = " ".join(error.format_message().split())
    if context is None:
        return text
    if isinstance(error, click.NoSuchOption):
        text = _misplaced(error.option_name, context) or text
    return f"{text} (see {context.command_path} --help)"


def _misplaced(option: str, context: click.Context) -> str | None:
    """Return where an option belongs that stands in the wrong place."""
    group = context.find_root().command
    if context.parent is not None and option in _options(group):
        return f"{option} stands before the command: keyturn {option} … {context.info_name}"
    if context.parent is None and any(option in _options(each) for each in _below(group)):
        return f"{option} stands after the command"
    return None


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts


def _below(command: click.Command) -> Iterator[click.Command]:
    for each in getattr(command, "commands", {}).values():
        yield each
        yield from _below(each)
