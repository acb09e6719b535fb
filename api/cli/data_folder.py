"""The commands about the data folder: init and password."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import UNSET, UnsetType

import keyturn
from keyturn.cli.base import Command, ask_for_password, cli, command
from keyturn.cli.parameters import PATH, json_option
from keyturn.config.anchor import Anchor, folder_of
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.secret_file import read_password_file
from keyturn.config.settings import Settings, find_password
from keyturn.config.stores import has_log
from keyturn.domain.errors import KeyRingExistsError
from keyturn.domain.secret import Secret
from keyturn.opening import open_key_ring


@cli.command()
@click.option("--no-password", is_flag=True, help="Protect the key ring by its mode alone.")
@json_option
@command
def init(obj: Command, no_password: bool) -> None:
    """Make a data folder: key ring, log and first session key.

    Where a key ring and a log are there already, make a manager (--name) that is not, or whose
    keys were destroyed.
    """
    settings = obj.settings
    path = settings.key_ring_path
    if not path.exists():
        password: Secret[str] | None | UnsetType = (
            None if no_password else find_password(settings)
        )
        if password is UNSET:
            password = ask_for_password("New password", confirm=True)
        ring, _ = open_key_ring(settings, password)
        keyturn.open(settings, key_ring=ring).close()
        node_id = ring.node_id
    elif _lacks_only_its_log(settings) or _lacks_manager(obj):
        with obj.open(create=True) as service:
            node_id = service.node_id
    else:
        message = (
            f"{path} exists already, and so does manager {settings.name!r}: nothing was changed"
        )
        raise KeyRingExistsError(message, path=str(path))
    folder = str(settings.data_folder)
    facts = {"node_id": node_id, "path": folder, "manager": settings.name}
    obj.answer(facts, f"node {node_id}\nin   {folder}")


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
    "--new-password-file", type=PATH, help="Take the new one from this file, and ask nobody."
)
@command
def password(obj: Command, no_password: bool, new_password_file: Path | None) -> None:
    """Change the password of the key ring."""
    if no_password and new_password_file is not None:
        raise click.UsageError("give one of --no-password and --new-password-file")
    old = obj.password()
    new = None
    if new_password_file is not None:
        new = read_password_file(new_password_file, "--new-password-file")
    elif not no_password:
        new = ask_for_password("New password", confirm=True)
    KeyRing.change_password(
        obj.settings.key_ring_path, old, new, group_readable=obj.settings.group_readable
    )
