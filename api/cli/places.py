"""Files and folders as `keyturn doctor` looks at them: owners, modes, and the file system."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from keyturn.cli.health import Health, Level
from keyturn.config.anchor import folder_of
from keyturn.config.file_system import problem_of
from keyturn.config.settings import Settings
from keyturn.config.store_url import sqlite_path

_OF_SEVERAL_MACHINES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "glusterfs", "lustre", "afs"}
)


def look_at_places(settings: Settings) -> Iterator[Health]:
    """Yield who owns each file and folder, who else can read it, and where the log lies."""
    yield _look_at("data", settings.data_folder)
    # Others can read neither: the commands refuse such a key ring and such a password file.
    bits = 0o007 if settings.group_readable else 0o077
    yield _look_at("key ring", settings.key_ring_path, refused=bits)
    yield _look_at("anchor folder", folder_of(settings.anchor_path))
    if settings.password_file is not None:
        yield _look_at("password file", settings.password_file, refused=0o007)
    database = sqlite_path(settings.store_url)
    if database is not None and database.exists():
        yield _look_at("database", database)
        yield _file_system(database)


def _look_at(what: str, path: Path, *, refused: int = 0) -> Health:
    try:
        status = path.stat()
    except FileNotFoundError:
        return Health(what, f"{path} (not there)")
    except OSError as error:
        return Health(what, str(path), Level.WRONG, f"cannot be looked at: {error.strerror}")
    mode, owner = stat.S_IMODE(status.st_mode), _name_of(status.st_uid)
    value = f"{path} (mode {mode:04o}, of {owner})"
    if mode & (refused or 0o077):
        right = "700" if stat.S_ISDIR(status.st_mode) else "600"
        level = Level.WRONG if refused else Level.WARNING
        return Health(what, value, level, f"others can get at it: run chmod {right} on it")
    # Whose a file is that its group may read is for the container or systemd to say.
    if status.st_uid != os.geteuid() and refused != 0o007:
        message = f"it belongs to {owner}, and this is {_name_of(os.geteuid())}"
        return Health(what, value, Level.WARNING, message)
    return Health(what, value)


def _file_system(database: Path) -> Health:
    kind = _kind_of_file_system(database.resolve()) or "unknown"
    problem = problem_of(database.parent)
    if kind in _OF_SEVERAL_MACHINES:
        problem = "SQLite needs a local file system: move the log, or use PostgreSQL"
    if problem is not None:
        return Health("file system", kind, Level.WRONG, problem)
    return Health("file system", kind)


def _kind_of_file_system(path: Path) -> str | None:
    """Return the type of the file system that a path is on; None: the system does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return None
    mounts = {fields[1]: fields[2] for fields in map(str.split, lines)}
    return next((mounts[str(p)] for p in (path, *path.parents) if str(p) in mounts), None)


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # in a container
        return f"uid {user}"
