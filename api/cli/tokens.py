"""The commands about tokens."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from msgspec import UNSET

from keyturn import show
from keyturn.cli.base import Command, cli, command
from keyturn.cli.exit_codes import REFUSED
from keyturn.cli.parameters import DURATION, DURATION_OR_NEVER, MOMENT, NEVER, as_json
from keyturn.config.token_file import TokenFile
from keyturn.domain.errors import ClaimError, Refusal, TokenFileError, TokenRefusedError

token_argument = click.argument("token", required=False)
token_file = click.option(
    "--file", "file", type=click.Path(path_type=Path), help="Take the token from a token file."
)


@cli.group()
def token() -> None:
    """Create, verify, authenticate, refresh and inspect tokens.

    A token is taken from the argument, from standard input (-), or from a token file.
    """


@token.command("create")
@click.option(
    "--expiry",
    type=DURATION_OR_NEVER,
    help="How long it lives, instead of the default: seconds, or 30m, 24h, 90d, never.",
)
@click.option("--subject", help="Whose session it is; the node's if not given.")
@click.option("--claims", help="Claims of your own: a JSON object.")
@as_json
@command
def create_token(
    obj: Command, expiry: float | None, subject: str | None, claims: str | None, as_json: bool
) -> None:
    """Create a token, and with it a session."""
    is_for_ever = expiry == NEVER
    # None means the default, so that is what must be for ever.
    with obj.open(expiry=None if is_for_ever else UNSET) as service:
        own_expiry = None if is_for_ever else expiry
        _show_token(service.create_token(own_expiry, subject, _parse_claims(claims)), as_json)


@token.command("verify")
@token_argument
@token_file
@as_json
@command
def verify_token(obj: Command, token: str | None, file: Path | None, as_json: bool) -> None:
    """Tell whether a token is good. The exit code is 0 if it is, 1 if not."""
    report = obj.read_only().inspector.inspect(read_token(token, file))
    if report.refusal is not None:
        _refuse(report.refusal, as_json)
    click.echo(show.json_line({"valid": True, "reason": None}) if as_json else "good")


@token.command("authenticate")
@token_argument
@token_file
@click.option("--max-age", type=DURATION, help="How long ago the session may have begun.")
@as_json
@command
def authenticate(
    obj: Command, token: str | None, file: Path | None, max_age: float | None, as_json: bool
) -> None:
    """Show whose token it is, if it is good. If not: exit code 1, and why."""
    parts = obj.read_only()
    text = read_token(token, file)
    report = parts.inspector.inspect(text)  # which knows more of what is not good
    if report.refusal is not None:
        _refuse(report.refusal, as_json)
    try:
        who = parts.tokens.authenticate(text, max_age)
    except TokenRefusedError as error:
        _refuse(error.reason, as_json)
    facts = {
        "subject": who.subject,
        "sid": who.sid,
        "token_id": who.token_id,
        "generation": who.generation,
        "began_at": who.began_at,
        "issued_at": who.issued_at,
        "expires_at": who.expires_at,
        "claims": who.claims,
    }
    if as_json:
        click.echo(show.json_line({"valid": True, "reason": None, **facts}))
        return
    for name, value in facts.items():
        click.echo(f"{name:12} {_text(value)}")


@token.command("refresh")
@token_argument
@token_file
@click.option(
    "--expiry",
    type=DURATION,
    help="How long the new one lives, instead of as long as the old one was to.",
)
@as_json
@command
def refresh_token(
    obj: Command, token: str | None, file: Path | None, expiry: float | None, as_json: bool
) -> None:
    """Exchange a good token for a new one of the same session."""
    with obj.open() as service:
        text = read_token(token, file)
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
    """Show all that is known of a token. With --at: what was known of it then."""
    report = obj.read_only().inspector.inspect(read_token(token, file), at)
    if at is not None and report.revoked_at is not None and at < report.revoked_at:
        report = msgspec.structs.replace(
            report, revoked_at=None, revoked_by=None, revoked_because=None
        )
    if as_json:
        times = show.claim_times(report)
        click.echo(show.json_line({**msgspec.structs.asdict(report), "claim_times": times}))
    else:
        click.echo(show.report_text(report))


def read_token(token: str | None, file: Path | None) -> str:
    """Return the token of an argument, of standard input or of a token file."""
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


def _refuse(refusal: Refusal, as_json: bool) -> NoReturn:
    reason = refusal.value
    facts = {"valid": False, "reason": reason}
    click.echo(show.json_line(facts) if as_json else f"refused: {reason}")
    sys.exit(REFUSED)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, dict):
        return show.plain(show.json_line(value))
    return "never" if value is None else show.plain(str(value))
