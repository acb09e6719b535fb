"""`keyturn doctor`: whether this installation and its data are as they should be."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator

import click
from msgspec import UNSET

from keyturn import show
from keyturn.cli.base import Command, cli, command
from keyturn.cli.exit_codes import REFUSED
from keyturn.cli.health import Health, Level
from keyturn.cli.parameters import json_option
from keyturn.cli.places import look_at_places
from keyturn.cli.texts import for_command_line
from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.settings import find_password, setting_rows
from keyturn.config.store_url import is_postgres, shown
from keyturn.config.stores import server_facts
from keyturn.domain.errors import KeyRingNotFoundError, KeyturnError
from keyturn.projections.head_reader import HeadReader

WAL_RESET_FIXED = (3, 51, 3)
"""SQLite before this version can, very rarely, corrupt a WAL that is reset at a bad moment."""

_PACKAGES = ("keyturn", "pykka", "eventsourcing", "cryptography")


@cli.command()
@click.option("--strict", is_flag=True, help="Warnings are wrong, too.")
@json_option
@command
def doctor(obj: Command, strict: bool) -> None:
    """Check the health of this installation and its data.

    It opens key ring and log, tries the password if there is one, compares the log with the
    anchor, and shows the settings with where each comes from. It changes nothing. The exit code
    is 0 if nothing is wrong, and 1 if something is.
    """
    findings = list(examine(obj))
    wrong = sum(finding.level is Level.WRONG for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    is_bad = wrong or (strict and warnings)
    if not obj.as_json:
        counts = [(wrong, "wrong"), (warnings, "to be warned of")]
        text = ", ".join(f"{count} {what}" for count, what in counts if count)
        click.echo(f"{'NOT healthy' if is_bad else 'healthy'}{f': {text}' if text else ''}")
    for finding in findings:
        text = f"{finding.what:22} {show.plain(finding.value)}"
        if finding.message:
            text += f"\n{'':22} {finding.level.value}: {show.plain(finding.message)}"
        obj.answer(finding, text)
    if is_bad:
        raise click.exceptions.Exit(REFUSED)


def examine(obj: Command) -> Iterator[Health]:
    """Yield what there is to know of this installation and its data."""
    from importlib.metadata import version  # which takes time that no other command needs

    yield Health("python", platform.python_version())
    for package in _PACKAGES:
        yield Health(package, version(package))
    yield from _settings(obj)
    yield from look_at_places(obj.settings)
    yield from _told("key ring", "cannot be opened", _key_ring(obj))
    if is_postgres(obj.settings.store_url):
        yield from _told("postgresql", "cannot be asked", _postgres(obj))
    else:
        yield _sqlite()
    yield from _told("log", shown(obj.settings.store_url), _log(obj))


def _told(what: str, value: str, found: Iterator[Health]) -> Iterator[Health]:
    """Yield what was found, and the error that ends it as what is wrong."""
    try:
        yield from found
    except KeyturnError as error:
        if isinstance(error, KeyRingNotFoundError):
            value = "not there"
        yield Health(what, value, Level.WRONG, for_command_line(str(error)))


def _settings(obj: Command) -> Iterator[Health]:
    defaults = {name: default.replace("`", "") for name, _, default, _ in setting_rows()}
    places = {
        "path": str(obj.settings.data_folder),
        "store": shown(obj.settings.store_url),
        "anchor": str(obj.settings.anchor_path),
    }
    for name, source in obj.sources.items():
        value = getattr(obj.settings, name)
        if name in places:
            text = places[name]
        elif value is None:  # where that is not the default, it was said: never
            text = defaults[name] if source == "default" else "never"
        else:
            text = f"{value:.15g}" if isinstance(value, float) else str(value)
        yield Health(f"setting {name}", f"{text} ({source})")


def _key_ring(obj: Command) -> Iterator[Health]:
    stored = obj.stored_key_ring()
    yield Health("node", stored.node_id)
    given = find_password(obj.settings)
    if not stored.has_password:
        yield Health("password", "none: the mode of the key ring is all that protects it")
    elif given is UNSET:
        yield Health("password", "not tried: none was given")
    else:
        path, group_readable = obj.settings.key_ring_path, obj.settings.group_readable
        KeyRing.open(path, given, group_readable=group_readable)
        yield Health("password", "opens the key ring")


def _sqlite() -> Health:
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED:
        message = (
            "versions before 3.51.3 have a rare fault that can corrupt a log that several "
            "connections write to: keep backups, and use a newer SQLite where you can"
        )
        return Health("sqlite", sqlite3.sqlite_version, Level.WARNING, message)
    return Health("sqlite", sqlite3.sqlite_version)


def _postgres(obj: Command) -> Iterator[Health]:
    facts = server_facts(obj.settings.store_url, timeout=obj.settings.lock_timeout)
    yield Health("postgresql", facts.version)
    if facts.encryption is not None or facts.is_local:
        yield Health("connection", facts.encryption or "on this machine")
    else:
        message = "anybody on the way can read and alter it: set sslmode=verify-full"
        yield Health("connection", "not encrypted", Level.WARNING, message)
    for problem in facts.problems:
        yield Health("table", "not as Keyturn made it", Level.WRONG, problem)
    rights = facts.rights
    if rights is None:
        return
    yield Health("table", f"schema {facts.schema_version}")
    level = Level.WRONG
    if not rights.may_read:
        may = "may not read"
    elif rights.may_rewrite:
        level, may = Level.WARNING, "may change and delete events"
    elif rights.may_choose_numbers:
        may = "may choose the numbers of rows"
    else:
        level, may = Level.OK, "may read and append" if rights.may_append else "may only read"
    message = "run services as a role with SELECT and INSERT alone: docs/how-to/postgresql.md"
    yield Health("role", f"{rights.role} {may}", level, None if level is Level.OK else message)


def _log(obj: Command) -> Iterator[Health]:
    log = obj.log()
    yield Health("log", f"{shown(obj.settings.store_url)} (opened)")
    try:
        node_id = obj.stored_key_ring().node_id
    except KeyturnError:
        yield Health("anchor", "not looked at: there is no key ring to read it by")
        return
    states, unreadable = log.readable_managers()
    for id_ in unreadable:
        message = "its newest row cannot be read: run `keyturn audit`"
        yield Health("manager", f"originator_id {id_[:40]}", Level.WRONG, message)
    names = {state.name for state in states}
    yield from _told("anchor", str(obj.settings.anchor_path), _managers(obj, log, node_id, names))


def _managers(obj: Command, log: EventLog, node_id: str, names: set[str]) -> Iterator[Health]:
    """Hold each manager of the log against the anchor, by the signatures of its newest events."""
    anchor = Anchor(obj.settings.anchor_path, node_id)
    names |= {name for name, mark in anchor.marks().items() if mark.position}
    bad = 0
    for name in sorted(names):
        reader = HeadReader(log, name, node_id, anchor=anchor)
        try:
            reader.open(trust_log=obj.settings.trust_log)
        except KeyturnError as error:
            bad += 1
            yield Health("manager", name, Level.WRONG, for_command_line(str(error)))
    yield Health("anchor", f"agrees with {len(names) - bad} of {len(names)} managers")
