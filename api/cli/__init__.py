"""The command line: parse, call the handle, show."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
from msgspec import UNSET, UnsetType

import keyturn
from keyturn import show
from keyturn.cli import record as cli_record
from keyturn.cli import tokens as cli_tokens
from keyturn.cli.base import Command, as_json, ask_for_password, cli, command
from keyturn.cli.exit_codes import REFUSED, exit_code
from keyturn.config.anchor import Anchor
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.logging import without_tokens
from keyturn.config.settings import Settings, find_password
from keyturn.config.stores import has_log
from keyturn.domain.errors import KeyRingExistsError, KeyturnError
from keyturn.opening import open_key_ring

__all__ = ["cli", "cli_record", "cli_tokens", "main"]

reason_option = click.option("--reason", help="Why, for the record.")
initiator_option = click.option(
    "--initiator", help="Who, for the record; user@host if not given."
)


@cli.command()
@click.option("--svg", type=click.Path(path_type=Path), help="Also write it as a picture.")
def demo(svg: Path | None) -> None:
    """Show what Keyturn does, in a temporary folder."""
    from keyturn.cli.demo import run

    run(svg)


@cli.command()
@click.option("--no-password", is_flag=True, help="Protect the key ring by its mode alone.")
@as_json
@command
def init(obj: Command, no_password: bool, as_json: bool) -> None:
    """Make a data folder: key ring, log and first session key."""
    path = obj.settings.key_ring_path
    if not path.exists():
        password: str | None | UnsetType = None
        if not no_password:
            password = find_password(obj.settings)
            if password is UNSET:
                password = ask_for_password("New password", confirm=True)
        ring, _ = open_key_ring(obj.settings, password)
    elif _lacks_only_its_log(obj.settings):
        ring = KeyRing.open(path, obj.password())
    else:
        raise KeyRingExistsError(f"{path} exists already: nothing was changed", path=str(path))
    with keyturn.open(obj.settings, key_ring=ring):
        pass
    facts = {"node_id": ring.node_id, "path": str(obj.settings.data_folder)}
    if as_json:
        click.echo(show.json_line(facts))
    else:
        click.echo(f"node {ring.node_id}\nin   {facts['path']}")


def _lacks_only_its_log(settings: Settings) -> bool:
    """Return whether an `init` before this one made all but the log: its server was down, say.

    A key ring without an anchor may have had a log.
    """
    anchor = settings.anchor_path
    return anchor.exists() and Anchor.is_blank(anchor) and not has_log(settings.store_url)


@cli.command()
@click.option("--no-password", is_flag=True, help="Take the password away.")
@command
def password(obj: Command, no_password: bool) -> None:
    """Change the password of the key ring."""
    old = obj.password()
    new = None if no_password else ask_for_password("New password", confirm=True)
    KeyRing.change_password(obj.settings.key_ring_path, old, new)


@cli.command()
@reason_option
@initiator_option
@command
def reset(obj: Command, reason: str | None, initiator: str | None) -> None:
    """Make a new key: every token is refused at once, in every running process."""
    with obj.open(initiator=initiator) as service:
        service.reset_key(reason)


@cli.command()
@click.option(
    "--overlap",
    type=int,
    required=True,
    metavar="SECONDS",
    help="How long tokens under the key before stay good.",
)
@reason_option
@initiator_option
@command
def rotate(obj: Command, overlap: int, reason: str | None, initiator: str | None) -> None:
    """Make a new key: tokens under the one before stay good until the overlap ends."""
    with obj.open(initiator=initiator) as service:
        service.rotate_key(overlap, reason)


@cli.command()
@as_json
@command
def doctor(obj: Command, as_json: bool) -> None:
    """Show versions, places and modes, and what about them is not as it should be."""
    from keyturn.cli.doctor import examine

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
        text = ". ".join([str(error), *getattr(error, "__notes__", [])])
        _fail(without_tokens(text), exit_code(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(os.EX_IOERR)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"keyturn: {show.plain(message)}", err=True)
    sys.exit(code)
