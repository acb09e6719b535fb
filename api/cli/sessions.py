"""The commands about sessions and the token files of clients."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

import keyturn
from keyturn import show
from keyturn.cli.base import Command, cli, command
from keyturn.cli.exit_codes import REFUSED
from keyturn.cli.parameters import PATH, recorded
from keyturn.cli.tokens import read_token, token_argument
from keyturn.config.token_file import TokenFile
from keyturn.token_file import ClientSession


@cli.group()
def session() -> None:
    """Read, write and clear a client's token file; end its session."""


@session.command("read")
@click.argument("path", type=PATH)
def read_session(path: Path) -> None:
    """Print the token in a token file. The exit code is 1 if there is none."""
    token = TokenFile(path).read()
    if token is None:
        raise click.exceptions.Exit(REFUSED)
    click.echo(token)


@session.command("write")
@click.argument("path", type=PATH)
@token_argument
@click.option(
    "--replacing",
    help="Only if the file still holds this token; - for standard input, '' for none.",
)
def write_session(path: Path, token: str | None, replacing: str | None) -> None:
    """Write a token to a token file. Exit code 1: --replacing found another one."""
    if token == replacing == "-":  # noqa: S105
        raise click.UsageError("standard input holds one token: give the other as an argument")
    text = read_token(token, None)
    if replacing == "-":
        replacing = read_token(replacing, None)
        if not replacing:
            raise click.UsageError("standard input holds no token to replace")
    with ClientSession(path) as client:
        condition = keyturn.ANY_TOKEN if replacing is None else (replacing or None)
        if not client.write_token(text, condition):
            click.echo("not written: the file holds another token", err=True)
            raise click.exceptions.Exit(REFUSED)


@session.command("clear")
@click.argument("path", type=PATH)
def clear_session(path: Path) -> None:
    """Remove the token: log out here."""
    with ClientSession(path) as client:
        client.clear_token()


@session.command("end")
@click.option("--token", help="A token of the session; - for standard input.")
@click.option("--sid", help="The id of the session.")
@click.option("--file", type=PATH, help="A token file; it is cleared afterwards.")
@recorded
@command
def end_session(
    obj: Command,
    token: str | None,
    sid: str | None,
    file: Path | None,
) -> None:
    """End one session: its tokens are refused at once. Exit code 1: there was none to end."""
    if [token, sid, file].count(None) != 2:
        raise click.UsageError("give one of --token, --sid and --file")
    text = read_token(token, file) if sid is None else None
    with obj.open() as service:
        is_ended = service.end_session(text, sid, obj.reason)
        if is_ended:
            obj.answer_with_change(service.parts)
    if file is not None:
        TokenFile(file).clear()
    if not is_ended:
        _nothing_to_end(obj)


@cli.group()
def sessions() -> None:
    """End many sessions at once."""


@sessions.command("end")
@click.option("--subject", help="All sessions of this subject that have begun.")
@click.option(
    "--keep",
    help="But for this one: a good token of that subject, - for standard input, or a sid.",
)
@click.option("--sid", "sids", multiple=True, help="This one; may be given more than once.")
@recorded
@command
def end_sessions(
    obj: Command,
    subject: str | None,
    keep: str | None,
    sids: tuple[str, ...],
) -> None:
    """End all sessions of a subject, or those of some ids, in one change."""
    if keep == "-":
        keep = read_token(keep, None)
        if not keep:
            raise click.UsageError("standard input holds no token to keep: nothing was ended")
    with obj.open() as service:
        is_ended = service.end_sessions(subject, keep, sids or None, obj.reason)
        if is_ended:
            obj.answer_with_change(service.parts)
    if not is_ended:
        _nothing_to_end(obj)


def _nothing_to_end(obj: Command) -> NoReturn:
    if obj.as_json:
        click.echo(show.json_line({"events": 0}))
    click.echo("nothing to end: no good token, or it was ended before", err=True)
    raise click.exceptions.Exit(REFUSED)
