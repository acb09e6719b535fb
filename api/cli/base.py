"""What every command stands on: the group, the settings, the password."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import UNSET, UnsetType

import keyturn
from keyturn import Service, Settings
from keyturn.config import key_ring_file
from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.config.logging import configure_for_command_line
from keyturn.config.settings import find_password
from keyturn.config.store_url import MEMORY, shown
from keyturn.config.stores import has_log, open_log
from keyturn.domain.errors import KeyRingNotFoundError, PasswordRequiredError


class _Moment(click.ParamType[datetime]):
    """A moment in ISO 8601; UTC unless it says otherwise."""

    name = "moment"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no moment like 2026-11-24 or 2026-11-24T18:30Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


MOMENT = _Moment()


as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(keyturn.__version__, prog_name="keyturn")
@click.option("--path", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--store", help="The URL of the log, if it is not in the data folder.")
@click.option("--name", help="Which session manager of the log.")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file with settings.")
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
@click.pass_context
def cli(
    context: click.Context,
    path: Path | None,
    store: str | None,
    name: str | None,
    config: Path | None,
    host_topics: tuple[str, ...],
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
    context.obj = Command(settings, host_topics, accept_rollback)


class Command:
    """What every command needs: the settings, and a service when it asks for one."""

    def __init__(
        self, settings: Settings, host_topics: tuple[str, ...], accept_rollback: bool
    ) -> None:
        self.settings = settings
        self.host_topics = host_topics
        self._accept_rollback = accept_rollback

    def open(self, *, initiator: str | None = None) -> Service:
        """Open the service of the data folder, which `keyturn init` must have made."""
        return keyturn.open(
            self.settings,
            password=self.password(),
            initiator=UNSET if initiator is None else initiator,
            rotate_every=None,  # a command does what it is told: the host has the policy
            accept_rollback=self._accept_rollback,
            host_topics=self.host_topics,
        )

    def password(self) -> str | None:
        """Return the password of the key ring, asked for if it needs one that nobody gave."""
        stored = key_ring_file.read(self.settings.key_ring_path)
        password = find_password(self.settings)
        if not stored.has_password:
            return None
        if password is UNSET:
            password = ask_for_password("Password")
        return None if isinstance(password, UnsetType) else password

    def log(self, *, for_audit: bool = False) -> EventLog:
        """Open the log alone, which needs no password; it is closed with the command."""
        settings = self.settings
        if not has_log(settings.store_url):
            if not for_audit or Anchor.is_blank(settings.anchor_path):
                place = shown(settings.store_url)
                message = f"there is no log at {place}: make one with `keyturn init`"
                raise KeyRingNotFoundError(message)
            # The anchor has seen a log: an audit is to say that it is gone.
            settings = settings.replace({"store": MEMORY})
        log = open_log(settings, host_topics=self.host_topics, for_audit=for_audit)
        click.get_current_context().call_on_close(log.close)
        return log


command = click.pass_obj


def ask_for_password(prompt: str, *, confirm: bool = False) -> str:
    """Ask the person at the terminal; standard input may be a token."""
    if not sys.stdin.isatty() and not Path("/dev/tty").exists():
        raise PasswordRequiredError("a password is needed: set KEYTURN_PASSWORD")
    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer
