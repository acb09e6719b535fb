"""The commands about tokens."""

from __future__ import annotations

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
from keyturn.cli.parameters import NEVER, PATH, duration, duration_or_never, json_option, moment
from keyturn.config.token_file import TokenFile
from keyturn.domain.errors import Refusal, TokenFileError, TokenRefusedError
from keyturn.domain.tokens import refused

token_argument = click.argument("token", required=False)
token_file = click.option("--file", type=PATH, help="Take the token from a token file.")

_SHOWN = (
    "subject",
    "sid",
    "token_id",
    "generation",
    "began_at",
    "issued_at",
    "expires_at",
    "claims",
)


def json_object(text: str) -> dict[str, object]:
    """Return the claims that a JSON object holds."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter("claims are a JSON object") from error


@cli.group()
def token() -> None:
    """Create, verify, authenticate, refresh and inspect tokens.

    A token is taken from the argument, from standard input (-), or from a token file.
    """


@token.command("create")
@click.option(
    "--expiry",
    type=duration_or_never,
    metavar="DURATION",
    help="How long it lives, instead of the default: seconds, or 30m, 24h, 90d, never.",
)
@click.option("--subject", help="Whose session it is; the node's if not given.")
@click.option(
    "--claims", type=json_object, metavar="JSON", help="Claims of your own: a JSON object."
)
@json_option
@command
def create_token(
    obj: Command, expiry: float | None, subject: str | None, claims: dict[str, object] | None
) -> None:
    """Create a token, and with it a session."""
    is_for_ever = expiry == NEVER
    # None means the default, so that is what must be for ever.
    with obj.open(expiry=None if is_for_ever else UNSET) as service:
        own_expiry = None if is_for_ever else expiry
        token = service.create_token(own_expiry, subject, claims)
        obj.answer({"token": token}, token)


@token.command("verify")
@token_argument
@token_file
@json_option
@command
def verify_token(obj: Command, token: str | None, file: Path | None) -> None:
    """Tell whether a token is good. The exit code is 0 if it is, 1 if not."""
    report = obj.read_only().inspector.inspect(read_token(token, file))
    if report.refusal is not None:
        _refuse(obj, report.refusal)
    obj.answer({"valid": True, "reason": None}, "good")


@token.command("authenticate")
@token_argument
@token_file
@click.option("--max-age", type=duration, help="How long ago the session may have begun.")
@json_option
@command
def authenticate(
    obj: Command, token: str | None, file: Path | None, max_age: float | None
) -> None:
    """Show whose token it is, if it is good. If not: exit code 1, and why."""
    parts = obj.read_only()
    text = read_token(token, file)
    report = parts.inspector.inspect(text)  # which knows more of what is not good
    if report.refusal is not None:
        _refuse(obj, report.refusal)
    try:
        who = parts.tokens.authenticate(text, max_age)
    except TokenRefusedError as error:
        _refuse(obj, error.reason)
    facts = {name: getattr(who, name) for name in _SHOWN}
    lines = [f"{name:12} {_text(value)}" for name, value in facts.items()]
    obj.answer({"valid": True, "reason": None, **facts}, "\n".join(lines))


@token.command("refresh")
@token_argument
@token_file
@click.option(
    "--expiry",
    type=duration,
    help="How long the new one lives, instead of as long as the old one was to.",
)
@json_option
@command
def refresh_token(
    obj: Command, token: str | None, file: Path | None, expiry: float | None
) -> None:
    """Exchange a good token for a new one of the same session."""
    with obj.open() as service:
        text = read_token(token, file)
        report = service.inspect_token(text)
        if report.refusal is not None:
            raise refused(report.refusal)
        refreshed = service.refresh_token(text, expiry)
        obj.answer({"token": refreshed}, refreshed)


@token.command("inspect")
@token_argument
@token_file
@click.option("--at", type=moment, help="Judge it as of this moment.")
@json_option
@command
def inspect_token(
    obj: Command, token: str | None, file: Path | None, at: datetime | None
) -> None:
    """Show all that is known of a token. With --at: what was known of it then."""
    report = obj.read_only().inspector.inspect(read_token(token, file), at)
    if at is not None and report.revoked_at is not None and at < report.revoked_at:
        report = msgspec.structs.replace(
            report, revoked_at=None, revoked_by=None, revoked_because=None
        )
    facts = msgspec.structs.asdict(report)
    obj.answer({**facts, "claim_times": show.claim_times(report)}, show.report_text(report))


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


def _refuse(obj: Command, refusal: Refusal) -> NoReturn:
    obj.answer({"valid": False, "reason": refusal.value}, f"refused: {refusal.value}")
    raise click.exceptions.Exit(REFUSED)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{show.time_text(value)} UTC"
    if isinstance(value, dict):
        return show.plain(show.json_line(value))
    return "never" if value is None else show.plain(str(value))
