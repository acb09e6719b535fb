"""What every command stands on: the group, the settings, the password."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
from msgspec import UNSET, UnsetType

import keyturn
from keyturn import Service, Settings, show
from keyturn.actors.manager_parts import ManagerParts
from keyturn.cli import output
from keyturn.cli.parameters import PATH
from keyturn.config import key_ring_file
from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.config.key_ring_file import StoredKeyRing
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.logging import configure_for_command_line
from keyturn.config.settings import find_password
from keyturn.config.store_url import MEMORY
from keyturn.config.stores import has_log, open_log
from keyturn.domain.errors import (
    KeyRingNotFoundError,
    LogNotTrustedError,
    PasswordRequiredError,
)
from keyturn.domain.manager_state import manager_not_found
from keyturn.domain.secret import Secret
from keyturn.exported import open_export
from keyturn.opening import no_log, refuse_lost_key_ring


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(keyturn.__version__, prog_name="keyturn")
@click.option("--path", type=PATH, help="The data folder.")
@click.option("--store", help="The URL of the log, if it is not in the data folder.")
@click.option("--name", help="Which session manager of the log.")
@click.option("--config", type=PATH, help="A TOML file with settings.")
@click.option(
    "--host-topic",
    "host_topics",
    multiple=True,
    help="A topic of the host's own events in the same log; may be given more than once.",
)
@click.option(
    "--accept-rollback",
    is_flag=True,
    help="Take a log that is not the one seen last as it is, and reset its key.",
)
@click.option(
    "--trust-log",
    is_flag=True,
    default=None,
    help="Take a log that this machine has never seen as it is: it may be an old copy.",
)
@click.pass_context
def cli(
    context: click.Context,
    /,
    config: Path | None,
    host_topics: tuple[str, ...],
    accept_rollback: bool,
    **given: Any,  # the options that are left: settings
) -> None:
    """Session tokens whose keys have a history.

    The password of the key ring is taken from KEYTURN_PASSWORD, from the file that
    KEYTURN_PASSWORD_FILE names, or asked for.
    """
    explicit = {key: value for key, value in given.items() if value is not None}
    settings = Settings.load(explicit, config=config)
    configure_for_command_line(settings.log_level)
    sources = Settings.sources(explicit, config=config)
    context.obj = Command(settings, sources, host_topics, accept_rollback)


@dataclass
class Command:
    """What every command needs: the settings, a service if it asks for one, a way to answer.

    Attributes:
        settings: of this call.
        sources: where each of them comes from.
        host_topics: topics of the host's own events in the same log.
        accept_rollback: whether to take a log as it is, and reset its key.
        as_json: whether the answer is for programs.
        reason: why, for the record.
        initiator: who, for the record; None: the setting, or user@host.
    """

    settings: Settings
    sources: dict[str, str]
    host_topics: tuple[str, ...]
    accept_rollback: bool
    as_json: bool = False
    reason: str | None = None
    initiator: str | None = None

    def answer(self, facts: object, text: str) -> None:
        """Write the answer: facts for programs, a text for people."""
        click.echo(show.json_line(facts) if self.as_json else text)

    def answer_with_change(self, parts: ManagerParts) -> None:
        """Write which change this command has made."""
        events = parts.activity.last_written
        event = events[-1]
        facts = {
            "kind": event.kind,
            "events": len(events),
            "manager": event.manager,
            "generation": event.generation,
            "position": event.originator_version,
            "at": event.timestamp,
            "initiator": event.initiator,
            "recorded_by": event.recorded_by,
            "reason": event.reason,
        }
        what = event.kind if len(events) == 1 else f"{len(events)} times {event.kind}"
        self.answer(
            facts,
            f"{what}: manager {event.manager}, generation {event.generation}, "
            f"{show.time_text(event.timestamp)} UTC",
        )

    def open(self, *, expiry: float | None | UnsetType = UNSET, create: bool = False) -> Service:
        """Open the service of the data folder, which `keyturn init` must have made."""
        return keyturn.open(
            self.settings,
            password=self.password(),
            initiator=UNSET if self.initiator is None else self.initiator,
            expiry=expiry,
            rotate_every=None,  # a command does what it is told: the host has the policy
            accept_rollback=self.accept_rollback,
            create=create,
            host_topics=self.host_topics,
        )

    def read_only(self) -> ManagerParts:
        """Return what looks at tokens and changes nothing: neither the log nor the anchor."""
        if self.accept_rollback:
            raise click.UsageError(
                "--accept-rollback resets the key, and this command only reads: accept the log "
                "with one that changes something, `keyturn --accept-rollback reset`"
            )
        settings = self.settings
        key_ring = KeyRing.open(
            settings.key_ring_path, self.password(), group_readable=settings.group_readable
        )
        anchor = Anchor(settings.anchor_path, key_ring.node_id)
        parts = ManagerParts(self.log(), key_ring, settings.manager_options(), anchor=anchor)
        if parts.reader.open(trust_log=settings.trust_log).position == 0:
            raise manager_not_found(parts.name, parts.log.location, parts.log.managers())
        mark = anchor.read(parts.name)
        if mark is not None and mark.imported:
            raise LogNotTrustedError(
                f"the log {parts.log.location} was imported, and nobody knows what was revoked "
                "after the export: the first command that changes something resets the key, "
                "`keyturn reset`",
                location=parts.log.location,
            )
        return parts

    def password(self) -> Secret[str] | None:
        """Return the password of the key ring, asked for if it needs one that nobody gave."""
        stored = self.stored_key_ring()
        password = find_password(self.settings)
        if not stored.has_password:
            return None
        return ask_for_password("Password") if password is UNSET else password

    def stored_key_ring(self) -> StoredKeyRing:
        """Read the file of the key ring, which needs no password."""
        try:
            return key_ring_file.read(
                self.settings.key_ring_path, group_readable=self.settings.group_readable
            )
        except KeyRingNotFoundError:
            refuse_lost_key_ring(self.settings)
            raise

    def log(
        self,
        export: BinaryIO | None = None,
        *,
        for_audit: bool = False,
        or_empty: bool = False,
    ) -> EventLog:
        """Open the log alone, or an export as one, without a password.

        It is closed with the command.

        Args:
            export: what to open instead of the log.
            for_audit: open it even if it holds topics that are not ours.
            or_empty: a log that is gone is an empty one, and not an error.
        """
        settings = self.settings
        if export is None and not has_log(settings.store_url):
            if not or_empty:
                raise no_log(settings)
            settings = settings.replace({"store": MEMORY})
        log = (
            open_log(settings, host_topics=self.host_topics, for_audit=for_audit)
            if export is None
            else open_export(export, for_audit=for_audit)
        )
        click.get_current_context().call_on_close(log.close)
        return log


command = click.pass_obj


def ask_for_password(prompt: str, *, confirm: bool = False) -> Secret[str]:
    """Ask the person at the terminal; never standard input, which may be a token.

    Raises:
        PasswordRequiredError: there is no terminal.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        message = (
            "a password is needed, and there is no terminal to ask at: set KEYTURN_PASSWORD, or "
            "KEYTURN_PASSWORD_FILE to a file that holds it"
        )
        raise PasswordRequiredError(message) from error
    return Secret(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


def warn_of_unreadable(ids: list[str]) -> None:
    """Say which managers are not shown, because the log does not say what they are now."""
    for id_ in ids:
        output.complain(
            f"a manager is left out: its newest row (originator_id {id_[:40]}) cannot be read; "
            "run `keyturn audit`"
        )
