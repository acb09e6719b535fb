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
from keyturn.cli import keys as cli_keys
from keyturn.cli import record as cli_record
from keyturn.cli import serve as cli_serve
from keyturn.cli import sessions as cli_sessions
from keyturn.cli import tokens as cli_tokens
from keyturn.cli.base import Command, as_json, ask_for_password, cli, command
from keyturn.cli.exit_codes import REFUSED, exit_code
from keyturn.config.anchor import Anchor, folder_of
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.logging import without_tokens
from keyturn.config.settings import Settings, find_password
from keyturn.config.stores import has_log
from keyturn.domain.errors import KeyRingExistsError, KeyturnError
from keyturn.opening import open_key_ring

__all__ = ["cli", "cli_keys", "cli_record", "cli_serve", "cli_sessions", "cli_tokens", "main"]


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
    """Make a data folder: key ring, log and first session key.

    Where a key ring and a log are there already, make a manager (--name) that is not, or whose
    keys were destroyed.
    """
    path = obj.settings.key_ring_path
    if not path.exists():
        password: str | None | UnsetType = None
        if not no_password:
            password = find_password(obj.settings)
            if password is UNSET:
                password = ask_for_password("New password", confirm=True)
        ring, _ = open_key_ring(obj.settings, password)
        with keyturn.open(obj.settings, key_ring=ring):
            pass
        node_id = ring.node_id
    elif _lacks_only_its_log(obj.settings) or _lacks_manager(obj):
        with obj.open(create=True) as service:
            node_id = service.node_id
    else:
        message = (
            f"{path} exists already, and so does manager {obj.settings.name!r}: nothing was "
            "changed"
        )
        raise KeyRingExistsError(message, path=str(path))
    facts = {"node_id": node_id, "path": str(obj.settings.data_folder)}
    if as_json:
        click.echo(show.json_line({**facts, "manager": obj.settings.name}))
    else:
        click.echo(f"node {node_id}\nin   {facts['path']}")


def _lacks_only_its_log(settings: Settings) -> bool:
    """Return whether an `init` before this one made all but the log: its server was down, say.

    A key ring without an anchor may have had a log.
    """
    anchor = settings.anchor_path
    there = anchor.exists() or folder_of(anchor).exists()
    return there and Anchor.is_blank(anchor) and not has_log(settings.store_url)


def _lacks_manager(obj: Command) -> bool:
    """Return whether there is a log, but no manager of this name that has keys."""
    if not has_log(obj.settings.store_url):
        return False
    names = {state.name for state in obj.log().managers() if not state.is_destroyed}
    return obj.settings.name not in names


@cli.command()
@click.option("--no-password", is_flag=True, help="Take the password away.")
@command
def password(obj: Command, no_password: bool) -> None:
    """Change the password of the key ring."""
    old = obj.password()
    new = None if no_password else ask_for_password("New password", confirm=True)
    KeyRing.change_password(obj.settings.key_ring_path, old, new)


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
