"""Sockets, workers, signals and logs of `keyturn serve`."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

import keyturn
from keyturn.config.logging import configure_for_command_line, get_logger
from keyturn.config.settings import Settings
from keyturn.domain.errors import KeyturnError, SettingsError
from keyturn.domain.secret import Password, Secret
from keyturn.web.serve.app import ServeOptions, create_app
from keyturn.web.serve.metrics import FOLDER_OF_FIGURES

MAX_HEADERS = 32 * 1024
"""Bytes of a request's headers: a token has at most 8 KiB."""

_GRACE = 10
"""Seconds that requests under way may take when the server stops."""


class WorkerFailedError(KeyturnError):
    """A worker could not start; the log says why."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where to listen.

    Args:
        host: the address, loopback unless told.
        port: 0 takes any that is free.
        path: of a Unix socket, instead of host and port.
        mode: of that socket: who may connect.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    path: Path | None = None
    mode: int = 0o600


def run(
    settings: Settings,
    password: Password,
    listening: Listening,
    options: ServeOptions,
    *,
    announce: Callable[[str], object],
    host_topics: tuple[str, ...] = (),
    accept_rollback: bool = False,
    workers: int = 1,
) -> None:
    """Serve until a signal says to stop (SIGTERM, SIGINT).

    Args:
        settings: of the service, which is opened as it is (`create=False`).
        password: of the key ring.
        listening: where.
        options: of the application.
        announce: is told where it listens, as soon as clients can connect.
        host_topics: the topics of a host's own events in the log.
        accept_rollback: take the log as it is, and reset the key.
        workers: how many processes.

    Raises:
        SettingsError: it cannot listen there.
        KeyturnError: the service cannot be opened.
        WorkerFailedError: a worker could not start.
    """
    password = None if password is None else _PasswordOfWorkers(Secret.of(password).reveal())
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _stop)
    # What is wrong (log, password) is said once, and not by each worker.
    opened: dict[str, Any] = {"password": password, "create": False, "host_topics": host_topics}
    keyturn.open(settings, accept_rollback=accept_rollback, **opened).close()
    app = functools.partial(_make_app, settings, opened, options, workers > 1)
    with listener(listening) as sock:
        announce(address_of(sock))
        config = uvicorn.Config(
            app,
            factory=True,
            workers=workers,
            lifespan="on",
            http="h11",  # it bounds the size of headers
            h11_max_incomplete_event_size=MAX_HEADERS,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=1000,
            timeout_keep_alive=75,  # longer than a proxy's, which closes first
            timeout_graceful_shutdown=_GRACE,
        )
        if workers > 1:
            _run_workers(config, sock)
        else:
            uvicorn.Server(config).run([sock])


@contextlib.contextmanager
def listener(listening: Listening) -> Iterator[socket.socket]:
    """Open the socket, and remove a Unix socket's path in the end if it is still this one's.

    Raises:
        SettingsError: the address is in use, or may not be used.
    """
    host, path = listening.host, listening.path
    try:
        if path is not None:
            sock = _unix_socket(path, listening.mode)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, listening.port), family=family)
            # asyncio does it by itself only for a socket that was made with this protocol.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        place = path or f"{host}:{listening.port}"
        message = f"cannot listen at {place}: {error.strerror or error}"
        raise SettingsError(message, key="host", source="the arguments") from error
    try:
        yield sock
    finally:
        sock.close()
        # While this one waited for requests under way, another server may have taken its place.
        if path is not None:
            _remove_dead_socket(path)


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens, as a URL or a path."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return str(name)
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _unix_socket(path: Path, mode: int) -> socket.socket:
    _remove_dead_socket(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        path.chmod(mode)  # before it listens, nobody can connect
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_dead_socket(path: Path) -> None:
    """Remove the socket of a server that was killed; leave everything else alone."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


class _PasswordOfWorkers(Secret[str]):
    """A password that uvicorn may send to the processes that it starts."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.reveal(),)


def _make_app(
    settings: Settings, opened: dict[str, Any], options: ServeOptions, is_worker: bool
) -> ASGIApp:
    """Make the application, in whatever process: uvicorn sends this to its workers."""
    if is_worker:
        configure_for_command_line(settings.log_level)
    logger = logging.getLogger("uvicorn")
    logger.handlers = [_ThroughOurLog()]
    logger.propagate = False
    logger.setLevel(settings.log_level.upper())
    return create_app(lambda: keyturn.open_async(settings, **opened), options)


def _run_workers(config: uvicorn.Config, sock: socket.socket) -> None:
    with tempfile.TemporaryDirectory(prefix="keyturn-figures-") as folder:
        os.environ[FOLDER_OF_FIGURES] = folder
        supervisor = Multiprocess(config, [sock])
        supervisor.run()
    if any(
        process.exitcode == uvicorn.config.STARTUP_FAILURE for process in supervisor.processes
    ):
        raise WorkerFailedError("a worker could not start: the log says why")


def _stop(_signal: int, _frame: object) -> NoReturn:
    """Stop with exit code 0: before uvicorn takes its signals, and after it has stopped."""
    raise SystemExit(0)


class _ThroughOurLog(logging.Handler):
    """Passes the lines of uvicorn on to Keyturn's log: one format, and no token."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(source=record.name)
        levels = {logging.ERROR: log.error, logging.WARNING: log.warning}
        levels.get(record.levelno, log.info)(self.format(record))
