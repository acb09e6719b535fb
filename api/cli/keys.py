"""The commands about keys: reset, rotate, destroy, and which managers there are."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from keyturn import show
from keyturn.actors.key_writer import KeyWriter
from keyturn.actors.manager_parts import ManagerParts
from keyturn.cli.base import Command, cli, command, warn_of_unreadable
from keyturn.cli.parameters import PATH, duration, json_option, recorded
from keyturn.config.token_file import TokenFile
from keyturn.domain.errors import SessionManagerDestroyedError

_ROW = "{:24} {:>10} {:>10}  {:19}  {}"


@cli.command()
@recorded
@click.option("--clear-file", type=PATH, help="Remove a token file afterwards.")
@command
def reset(obj: Command, clear_file: Path | None) -> None:
    """Make a new key: all tokens are refused at once, everywhere."""
    with obj.open() as service:
        service.reset_key(obj.reason)
        obj.answer_with_change(service.parts)
    if clear_file is not None:
        TokenFile(clear_file).clear()


@cli.command()
@click.option(
    "--overlap",
    type=duration,
    required=True,
    help="How long tokens under the key before stay good: seconds, or 30m, 24h, 7d.",
)
@recorded
@command
def rotate(obj: Command, overlap: float) -> None:
    """Make a new key; earlier tokens stay good until an overlap ends."""
    if not overlap.is_integer():
        raise click.BadParameter("an overlap is of whole seconds", param_hint="--overlap")
    with obj.open() as service:
        service.rotate_key(int(overlap), obj.reason)
        obj.answer_with_change(service.parts)


@cli.command()
@recorded
@click.option("--purge", is_flag=True, help="Remove the history, too, for good.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command
def destroy(obj: Command, purge: bool, yes: bool) -> None:
    """End a manager: it has no key, and all its tokens are refused.

    `init` gives it a new key. --purge removes the history, also later.
    """
    if not yes:
        name = show.plain(obj.settings.name)
        what = "its keys and its history" if purge else "its keys"
        if not sys.stdin.isatty():
            raise click.UsageError(f"this destroys manager {name}, {what}: say --yes")
        click.confirm(f"Destroy manager {name}, {what}?", abort=True, err=True)
    try:
        with obj.open() as service:
            service.stop()
            service.destroy(purge, obj.reason)
            obj.answer_with_change(service.parts)
    except SessionManagerDestroyedError:
        if not purge:
            raise
        obj.answer_with_change(_purge_destroyed(obj))


def _purge_destroyed(obj: Command) -> ManagerParts:
    """Remove the history of a manager that was destroyed: no actor runs without a key."""
    parts = obj.read_only()
    KeyWriter(parts).destroy(obj.initiator, obj.reason, purge=True, only_if_destroyed=True)
    if not parts.activity.last_written:
        name = obj.settings.name
        raise SessionManagerDestroyedError(f"manager {name!r} was destroyed and purged before")
    return parts


@cli.command()
@json_option
@command
def managers(obj: Command) -> None:
    """Show the managers of the log. Needs no password.

    This is what the log says; whether it is true, `keyturn audit` tells.
    """
    states, unreadable = obj.log().readable_managers()
    warn_of_unreadable(unreadable)
    if not obj.as_json:
        heading = _ROW.format("manager", "generation", "position", "changed (UTC)", "")
        click.echo(heading.rstrip())
    for state in states:
        row = _ROW.format(
            show.plain(state.name),
            state.generation,
            state.position,
            show.time_text(state.changed_at),
            "destroyed" if state.is_destroyed else "",
        )
        obj.answer(state, row.rstrip())
