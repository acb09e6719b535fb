"""The command line: parse, call the handle, show."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
from msgspec import UNSET, UnsetType

import keyturn
from keyturn import show
from keyturn.cli import history as cli_history
from keyturn.cli import keys as cli_keys
from keyturn.cli import output
from keyturn.cli import record as cli_record
from keyturn.cli import serve as cli_serve
from keyturn.cli import sessions as cli_sessions
from keyturn.cli import tokens as cli_tokens
from keyturn.cli.base import Command, ask_for_password, cli, command
from keyturn.cli.exit_codes import REFUSED, exit_code
from keyturn.cli.health import Level
from keyturn.cli.parameters import as_json
from keyturn.cli.texts import for_command_line, usage_text
from keyturn.config.anchor import Anchor, folder_of
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.logging import without_tokens
from keyturn.config.os_errors import reason
from keyturn.config.secret_file import read_password_file
from keyturn.config.settings import Settings, find_password
from keyturn.config.stores import has_log
from keyturn.domain.errors import KeyRingExistsError, KeyturnError
from keyturn.domain.secret import Secret
from keyturn.opening import open_key_ring

__all__ = [
    "cli",
    "cli_history",
    "cli_keys",
    "cli_record",
    "cli_serve",
    "cli_sessions",
    "cli_tokens",
    "main",
]


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
        password: Secret[str] | None | UnsetType = None
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
@click.option(
    "--new-password-file",
    type=click.Path(path_type=Path),
    help="Take the new one from this file, and ask nobody.",
)
@command
def password(obj: Command, no_password: bool, new_password_file: Path | None) -> None:
    """Change the password of the key ring."""
    if no_password and new_password_file is not None:
        raise click.UsageError("give one of --no-password and --new-password-file")
    old = obj.password()
    if new_password_file is not None:
        new: Secret[str] | None = read_password_file(new_password_file, "--new-password-file")
    else:
        new = None if no_password else ask_for_password("New password", confirm=True)
    KeyRing.change_password(
        obj.settings.key_ring_path, old, new, group_readable=obj.settings.group_readable
    )


@cli.command("doctor")
@click.option("--strict", is_flag=True, help="Warnings are wrong, too.")
@as_json
@command
def check_health(obj: Command, strict: bool, as_json: bool) -> None:
    """Check the health of this installation and its data.

    It opens key ring and log, tries the password if there is one, compares the log with the
    anchor, and shows the settings with where each comes from. It changes nothing. The exit code
    is 0 if nothing is wrong, and 1 if something is.
    """
    from keyturn.cli.doctor import examine, verdict

    findings = list(examine(obj))
    if not as_json:
        click.echo(verdict(findings, strict=strict))
    for finding in findings:
        if as_json:
            click.echo(show.json_line(finding))
        else:
            click.echo(f"{finding.what:22} {show.plain(finding.value)}")
            if finding.message:
                click.echo(f"{'':22} {finding.level.value}: {show.plain(finding.message)}")
    bad = {Level.WRONG, Level.WARNING} if strict else {Level.WRONG}
    if any(finding.level in bad for finding in findings):
        sys.exit(REFUSED)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; exit with one of the codes of sysexits.h.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    output.prepare()
    code = _run(sys.argv[1:] if arguments is None else list(arguments))
    sys.exit(output.finish(code))


def _run(arguments: list[str]) -> int:  # noqa: PLR0911 - each kind of error in its own way
    """Run a command, say in one line what is wrong, and return the exit code."""
    try:
        code = cli.main(arguments, prog_name="keyturn", standalone_mode=False)
    except SystemExit as exit_:
        code = exit_.code
    except click.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return os.EX_USAGE
    except click.ClickException as error:
        return _fail(usage_text(error), os.EX_USAGE)
    except (KeyturnError, TimeoutError) as error:
        text = ". ".join([str(error), *getattr(error, "__notes__", [])])
        return _fail(for_command_line(text), exit_code(error))
    except output.OutputError as error:
        return output.failed(error)
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {reason(error)}", os.EX_IOERR)
    except Exception:  # noqa: BLE001 - a bug of ours, and not the code of a refused token
        output.complain(f"this is a bug: {traceback.format_exc()}", is_one_line=False)
        return os.EX_SOFTWARE
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    output.complain(without_tokens(message))
    return code
