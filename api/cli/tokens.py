"""The commands about tokens and token files."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import click

import keyturn
from keyturn import show
from keyturn.actors.token_inspector import TokenInspector, inspector_of
from keyturn.cli.base import MOMENT, Command, as_json, cli, command
from keyturn.cli.exit_codes import REFUSED
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.token_file import TokenFile
from keyturn.domain.errors import ClaimError, TokenFileError, TokenRefusedError
from keyturn.token_file import ClientSession

token_argument = click.argument("token", required=False)
token_file = click.option(
    "--file", "file", type=click.Path(path_type=Path), help="Take the token from a token file."
)
expiry_option = click.option(
    "--expiry", type=float, help="Seconds until it expires, instead of the default."
)


@cli.group()
def token() -> None:
    """Create, verify, refresh and inspect tokens.

    A token is taken from the argument, from standard input (-), or from a token file.
    """


@token.command("create")
@expiry_option
@click.option("--subject", help="Whose session it is; the node's if not given.")
@click.option("--claims", help="Claims of your own: a JSON object.")
@as_json
@command
def create_token(
    obj: Command, expiry: float | None, subject: str | None, claims: str | None, as_json: bool
) -> None:
    """Create a token, and with it a session."""
    with obj.open() as service:
        _show_token(service.create_token(expiry, subject, _parse_claims(claims)), as_json)


@token.command("verify")
@token_argument
@token_file
@as_json
@command
def verify_token(obj: Command, token: str | None, file: Path | None, as_json: bool) -> None:
    """Tell whether a token is good: exit code 0 if it is, 1 if not."""
    report = _inspector(obj).inspect(_read_token(token, file))
    reason = None if report.refusal is None else report.refusal.value
    if as_json:
        click.echo(show.json_line({"valid": report.valid, "reason": reason}))
    else:
        click.echo("good" if report.valid else f"refused: {reason}")
    if not report.valid:
        sys.exit(REFUSED)


@token.command("refresh")
@token_argument
@token_file
@expiry_option
@as_json
@command
def refresh_token(
    obj: Command, token: str | None, file: Path | None, expiry: float | None, as_json: bool
) -> None:
    """Exchange a good token for a new one of the same session."""
    with obj.open() as service:
        text = _read_token(token, file)
        report = service.inspect_token(text)
        if report.refusal is not None:
            message = f"the token is not good: {report.refusal.value}"
            raise TokenRefusedError(message, reason=report.refusal)
        _show_token(service.refresh_token(text, expiry), as_json)


@token.command("inspect")
@token_argument
@token_file
@click.option("--at", type=MOMENT, help="Judge it as of this moment.")
@as_json
@command
def inspect_token(
    obj: Command, token: str | None, file: Path | None, at: datetime | None, as_json: bool
) -> None:
    """Show all that is known of a token, good or not, now or as of a moment."""
    report = _inspector(obj).inspect(_read_token(token, file), at)
    click.echo(show.json_line(report) if as_json else show.report_text(report))


@cli.group()
def session() -> None:
    """Read, write and clear a client's token file."""


@session.command("read")
@click.argument("path", type=click.Path(path_type=Path))
def read_session(path: Path) -> None:
    """Print the token in a token file; exit code 1 if there is none."""
    token = TokenFile(path).read()
    if token is None:
        sys.exit(REFUSED)
    click.echo(token)


@session.command("write")
@click.argument("path", type=click.Path(path_type=Path))
@token_argument
@click.option("--replacing", help="Only if the file still holds this token; '' for none.")
def write_session(path: Path, token: str | None, replacing: str | None) -> None:
    """Write a token to a token file; exit code 1 if --replacing found another one."""
    with ClientSession(path) as client:
        text = _read_token(token, None)
        condition = keyturn.ANY_TOKEN if replacing is None else (replacing or None)
        if not client.write_token(text, condition):
            click.echo("not written: the file holds another token", err=True)
            sys.exit(REFUSED)


@session.command("clear")
@click.argument("path", type=click.Path(path_type=Path))
def clear_session(path: Path) -> None:
    """Remove the token: log out here."""
    with ClientSession(path) as client:
        client.clear_token()


def _inspector(obj: Command) -> TokenInspector:
    """Return what looks at tokens and changes nothing: no manager is started for it."""
    key_ring = KeyRing.open(obj.settings.key_ring_path, obj.password())
    return inspector_of(
        obj.log(),
        key_ring,
        obj.settings.name,
        max_lifetime=obj.settings.max_lifetime,
    )


def _read_token(token: str | None, file: Path | None) -> str:
    if (token is None) == (file is None):
        raise click.UsageError("give a token, - for standard input, or --file with a token file")
    if file is not None:
        token = TokenFile(file).read()
        if token is None:
            raise TokenFileError(f"the token file {file} holds no token", path=str(file))
    elif token == "-":  # noqa: S105
        token = sys.stdin.readline().strip()
    assert token is not None
    return token


def _parse_claims(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        claims = json.loads(text)
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise ClaimError("claims are a JSON object")
    return claims


def _show_token(token: str, as_json: bool) -> None:
    click.echo(show.json_line({"token": token}) if as_json else token)
