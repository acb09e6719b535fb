"""The command line: parse, call the handle, show."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
from msgspec import UNSET, UnsetType

import keyturn
from keyturn import Service, Settings, show
from keyturn.actors.token_file import TokenFile
from keyturn.client import ClientSession
from keyturn.config.event_log import has_log, open_event_log
from keyturn.config.logging import configure_for_command_line, without_tokens
from keyturn.config.settings import find_password
from keyturn.domain import key_ring_file
from keyturn.domain.errors import (
    ClaimError,
    KeyRingExistsError,
    KeyRingNotFoundError,
    KeyturnError,
    PasswordRequiredError,
    TokenFileError,
    TokenRefusedError,
)
from keyturn.domain.key_ring import KeyRing
from keyturn.exit_codes import REFUSED, exit_code
from keyturn.opening import open_key_ring
from keyturn.projections.rotation_history import RotationHistory

as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
token_argument = click.argument("token", required=False)
token_file = click.option(
    "--file", "file", type=click.Path(path_type=Path), help="Take the token from a token file."
)
expiry_option = click.option(
    "--expiry", type=float, help="Seconds until it expires, instead of the default."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(keyturn.__version__, prog_name="keyturn")
@click.option("--path", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--store", help="The URL of the log, if it is not in the data folder.")
@click.option("--name", help="Which session manager of the log.")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option(
    "--accept-rollback",
    is_flag=True,
    help="Take a log that is not the one seen last as it is, and reset its key.",
)
@click.pass_context
def cli(
    context: click.Context,
    path: Path | None,
    store: str | None,
    name: str | None,
    config: Path | None,
    accept_rollback: bool,
) -> None:
    """Session tokens whose keys have a history.

    The password of the key ring is taken from KEYTURN_PASSWORD, from the file that
    KEYTURN_PASSWORD_FILE names, or asked for.
    """
    given = {"path": path, "store": store, "name": name}
    explicit = {key: value for key, value in given.items() if value is not None}
    settings = Settings.load(explicit, config=config)
    configure_for_command_line(settings.log_level)
    context.obj = _Command(settings, accept_rollback)


class _Command:
    """What every command needs: the settings, and a service when it asks for one."""

    def __init__(self, settings: Settings, accept_rollback: bool) -> None:
        self.settings = settings
        self._accept_rollback = accept_rollback

    def open(self, *, initiator: str | None = None) -> Service:
        """Open the service of the data folder, which `keyturn init` must have made."""
        return keyturn.open(
            self.settings,
            password=self.password(),
            initiator=UNSET if initiator is None else initiator,
            accept_rollback=self._accept_rollback,
        )

    def password(self) -> str | None:
        """Return the password of the key ring, asked for if it needs one that nobody gave."""
        stored = key_ring_file.read(self.settings.key_ring_path)
        password = find_password(self.settings)
        if not stored.has_password:
            return None
        if password is UNSET:
            password = _ask_for_password("Password")
        return None if isinstance(password, UnsetType) else password

    def history(self) -> RotationHistory:
        """Return the history; needs no password."""
        url = self.settings.store_url
        if not has_log(url):
            raise KeyRingNotFoundError(f"there is no log at {url}: make one with `keyturn init`")
        log = open_event_log(url, lock_timeout=self.settings.lock_timeout)
        click.get_current_context().call_on_close(log.close)
        return RotationHistory(log, self.settings.name)


command = click.pass_obj


@cli.command()
@click.option("--svg", type=click.Path(path_type=Path), help="Also write it as a picture.")
def demo(svg: Path | None) -> None:
    """Show what Keyturn does, in a temporary folder."""
    from keyturn.demo import run

    run(svg)


@cli.command()
@click.option("--no-password", is_flag=True, help="Protect the key ring by its mode alone.")
@as_json
@command
def init(obj: _Command, no_password: bool, as_json: bool) -> None:
    """Make a data folder: key ring, log and first session key."""
    path = obj.settings.key_ring_path
    if path.exists():
        raise KeyRingExistsError(f"{path} exists already: nothing was changed", path=str(path))
    password: str | None | UnsetType = None
    if not no_password:
        password = find_password(obj.settings)
        if password is UNSET:
            password = _ask_for_password("New password", confirm=True)
    ring, _ = open_key_ring(obj.settings, password)
    with keyturn.open(obj.settings, key_ring=ring):
        pass
    facts = {"node_id": ring.node_id, "path": str(obj.settings.data_folder)}
    if as_json:
        click.echo(show.json_line(facts))
    else:
        click.echo(f"node {ring.node_id}\nin   {facts['path']}")


@cli.command()
@click.option("--no-password", is_flag=True, help="Take the password away.")
@command
def password(obj: _Command, no_password: bool) -> None:
    """Change the password of the key ring."""
    old = obj.password()
    new = None if no_password else _ask_for_password("New password", confirm=True)
    KeyRing.change_password(obj.settings.key_ring_path, old, new)


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
    obj: _Command, expiry: float | None, subject: str | None, claims: str | None, as_json: bool
) -> None:
    """Create a token, and with it a session."""
    with obj.open() as service:
        _show_token(service.create_token(expiry, subject, _parse_claims(claims)), as_json)


@token.command("verify")
@token_argument
@token_file
@as_json
@command
def verify_token(obj: _Command, token: str | None, file: Path | None, as_json: bool) -> None:
    """Tell whether a token is good: exit code 0 if it is, 1 if not."""
    with obj.open() as service:
        report = service.inspect_token(_read_token(token, file))
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
    obj: _Command, token: str | None, file: Path | None, expiry: float | None, as_json: bool
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
@as_json
@command
def inspect_token(obj: _Command, token: str | None, file: Path | None, as_json: bool) -> None:
    """Show all that is known of a token, good or not."""
    with obj.open() as service:
        report = service.inspect_token(_read_token(token, file))
    click.echo(show.json_line(report) if as_json else show.report_text(report))


@cli.command()
@click.option("--reason", help="Why, for the record.")
@click.option("--initiator", help="Who, for the record; user@host if not given.")
@command
def reset(obj: _Command, reason: str | None, initiator: str | None) -> None:
    """Make a new key: every token is refused at once, in every running process."""
    with obj.open(initiator=initiator) as service:
        service.reset_key(reason)


@cli.command()
@as_json
@command
def history(obj: _Command, as_json: bool) -> None:
    """Show every change of keys. Needs no password."""
    changes = obj.history().changes()
    if as_json:
        for change in changes:
            click.echo(show.json_line(change))
    else:
        show.console().print(show.history_table(changes))


@cli.command()
@as_json
@command
def doctor(obj: _Command, as_json: bool) -> None:
    """Show versions, places and modes, and what about them is not as it should be."""
    from keyturn.doctor import examine

    findings = list(examine(obj.settings))
    for finding in findings:
        if as_json:
            click.echo(show.json_line(finding))
        else:
            click.echo(f"{finding.what:14} {show.plain(finding.value)}")
            if finding.warning:
                click.echo(f"{'':14} ! {show.plain(finding.warning)}")
    if any(finding.warning for finding in findings):
        sys.exit(REFUSED)


@cli.group()
def session() -> None:
    """Read, write and clear a client's token file."""


@session.command("read")
@click.argument("path", type=click.Path(path_type=Path))
def read_session(path: Path) -> None:
    """Print the token in a token file; exit code 1 if there is none."""
    with ClientSession(path) as client:
        token = client.read_token()
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


def _ask_for_password(prompt: str, *, confirm: bool = False) -> str:
    """Ask the person at the terminal; standard input may be a token."""
    if not sys.stdin.isatty() and not Path("/dev/tty").exists():
        raise PasswordRequiredError("a password is needed: set KEYTURN_PASSWORD")
    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


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


def main() -> NoReturn:
    """Run the command line; exit with one of the codes of sysexits.h."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.Abort:
        sys.exit(130)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(without_tokens(error.format_message()) + hint, os.EX_USAGE)
    except click.ClickException as error:
        _fail(without_tokens(error.format_message()), os.EX_USAGE)
    except (KeyturnError, TimeoutError) as error:
        _fail(str(error), exit_code(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(os.EX_IOERR)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"keyturn: {show.plain(message)}", err=True)
    sys.exit(code)
