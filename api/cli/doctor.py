"""What `keyturn doctor` looks at: versions, places and modes."""

from __future__ import annotations

import platform
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from keyturn.config.anchor import folder_of
from keyturn.config.file_system import problem_of
from keyturn.config.settings import Settings
from keyturn.config.store_url import is_postgres, shown, sqlite_path
from keyturn.config.stores import server_facts
from keyturn.domain.errors import KeyturnError

WAL_RESET_FIXED = (3, 51, 3)
"""SQLite before this version can, very rarely, corrupt a WAL that is reset at a bad moment."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what is wrong with it, if anything."""

    what: str
    value: str
    warning: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to know of this installation and its data."""
    yield Finding("python", platform.python_version())
    for package in ("keyturn", "pykka", "eventsourcing", "cryptography"):
        yield Finding(package, version(package))
    yield Finding("log", shown(settings.store_url))
    if is_postgres(settings.store_url):
        yield from _postgres(settings)
    else:
        yield _sqlite()
        yield _file_system(settings)
    for what, path in (
        ("data", settings.data_folder),
        ("key ring", settings.key_ring_path),
        ("anchor", folder_of(settings.anchor_path)),
    ):
        yield _place(what, path)


def _sqlite() -> Finding:
    warning = None
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED:
        warning = (
            "versions before 3.51.3 have a rare fault that can corrupt a log that several "
            "connections write to: keep backups, and use a newer SQLite where you can"
        )
    return Finding("sqlite", sqlite3.sqlite_version, warning)


def _file_system(settings: Settings) -> Finding:
    path = sqlite_path(settings.store_url)
    if path is None or not path.parent.is_dir():
        return Finding("file system", "none yet")
    problem = problem_of(path.parent)
    return Finding("file system", "cannot hold a log" if problem else "fit for a log", problem)


def _postgres(settings: Settings) -> Iterator[Finding]:
    try:
        facts = server_facts(settings.store_url, timeout=settings.lock_timeout)
    except KeyturnError as error:
        yield Finding("postgresql", "cannot be asked", str(error))
        return
    yield Finding("postgresql", facts.version)
    if facts.encryption is not None or facts.is_local:
        yield Finding("connection", facts.encryption or "on this machine")
    else:
        warning = "anybody on the way can read and alter it: set sslmode=verify-full"
        yield Finding("connection", "not encrypted", warning)
    for problem in facts.problems:
        yield Finding("table", "not as Keyturn made it", problem)
    if facts.rights is None:
        return
    yield Finding("table", f"schema {facts.schema_version}")
    warning = "run services as a role with SELECT and INSERT alone: see the README"
    if facts.rights.may_rewrite:
        yield Finding("role", "may change and delete events", warning)
    elif facts.rights.may_choose_numbers:
        yield Finding("role", "may choose the numbers of rows", warning)
    else:
        may = "may read and append" if facts.rights.may_append else "may only read"
        yield Finding("role", may)


def _place(what: str, path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Finding(what, f"{path} (not there yet)")
    except OSError as error:
        return Finding(what, str(path), f"cannot be looked at: {error.strerror}")
    warning = "others can get at it: take that right away with chmod" if mode & 0o077 else None
    return Finding(what, f"{path} (mode {mode:04o})", warning)
