"""Python programs run by forks of a process that has imported all already.

To start Python with Keyturn takes a third of a second, and the tests do it some hundred times.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from unittest import mock

import msgspec

from keyturn.config import key_ring_file

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
MODULES = (
    "keyturn.cli",
    "keyturn.testing",
    "psycopg",
    "rich.table",
    "starlette.routing",
    "uvicorn",
    "httpx",
)
CLIENT = """#!{python} -IS
import json, os, socket, sys
name = os.path.basename(sys.argv[0])
argv = sys.argv[1:] if name == "python" else [os.path.join({scripts!r}, name), *sys.argv[1:]]
if argv[0].startswith("-"):
    os.execv({python!r}, [{python!r}, *argv])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
asked = json.dumps([argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [asked], [0, 1, 2])
sys.exit(int(server.recv(16) or b"1"))
"""


class WarmPython:
    """A server that runs Python programs, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(self.address)
            listening.listen()
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_python", str(listening.fileno())],
                cwd=ROOT,
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )

    def close(self) -> None:
        """End it, and whatever program still runs."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(30)

    def make_programs(self, folder: Path) -> None:
        """Make the commands `keyturn` and `python FILE` in a folder."""
        for name in ("keyturn", "python"):
            text = CLIENT.format(
                python=sys.executable, scripts=str(SCRIPTS), address=self.address
            )
            (folder / name).write_text(text, "utf-8")
            (folder / name).chmod(0o700)

    def begin(self, code: str, *arguments: str, streams: Sequence[int]) -> socket.socket:
        """Begin to run a piece of Python as `python -c` does.

        Args:
            code: the piece.
            arguments: of it.
            streams: the descriptors of its standard input, output and error.

        Returns:
            What receives its exit code.
        """
        asked = json.dumps([["-c", code, *arguments], os.getcwd(), dict(os.environ)]).encode()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        server.connect(self.address)
        socket.send_fds(server, [asked], streams)
        return server

    def run(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python as `python -c` does; return what it printed.

        Raises:
            AssertionError: it failed, with what it said.
        """
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with open(os.devnull) as nothing:
            streams = [nothing.fileno(), out_end, err_end]
            server = self.begin(code, *arguments, streams=streams)
        os.close(out_end)
        os.close(err_end)
        with server, ThreadPoolExecutor(2) as readers:
            server.settimeout(60)
            printed = [readers.submit(_read_all, end) for end in (out, err)]
            returned = int(server.recv(16))
            stdout, stderr = (each.result() for each in printed)
        assert returned == 0, (returned, stdout, stderr)
        return subprocess.CompletedProcess(["-c", code, *arguments], returned, stdout, stderr)


def _read_all(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8") as file:
        return file.read()


@cache
def warm_python() -> WarmPython:
    """Return the server of this process of tests; it ends with it."""
    folder = tempfile.TemporaryDirectory()
    python = WarmPython(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(python.close)
    return python


@contextlib.contextmanager
def warm_programs() -> Iterator[Path]:
    """Start a server with the environment of now; yield a folder with its programs."""
    with tempfile.TemporaryDirectory() as name:
        python = WarmPython(Path(name))
        try:
            python.make_programs(Path(name))
            yield Path(name)
        finally:
            python.close()


@contextlib.contextmanager
def cheap_key_rings() -> Iterator[None]:
    """Have the passwords of new key rings cost next to nothing."""
    new = key_ring_file.Kdf.new

    def cheap() -> key_ring_file.Kdf:
        return msgspec.structs.replace(new(), memory_kib=64, iterations=1, lanes=1)

    with mock.patch.object(key_ring_file.Kdf, "new", cheap):
        yield


def serve(listening: socket.socket) -> Callable[[], None]:
    """Answer each client by a fork. Returns in that alone: what it is to run."""
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()  # or else each child copies what its collector looks at
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            break
        connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listening.close()
    asked, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    child = os.fork()
    if child != 0:
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    argv, folder, environment = json.loads(asked)
    _settle(descriptors, folder, environment)
    return lambda: _run(argv)


def _settle(descriptors: list[int], folder: str, environment: dict[str, str]) -> None:
    """Take the streams, the folder and the environment of whoever asked."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
        for number, mode in enumerate(("r", "w", "w"))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


def _run(argv: list[str]) -> None:
    """Run a file, or a piece of Python as `python -c` does."""
    if argv[0] != "-c":
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")
        return
    main = types.ModuleType("__main__")
    sys.argv, sys.modules["__main__"] = ["-c", *argv[2:]], main
    sys.path.insert(0, "")
    exec(compile(argv[1], "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    with cheap_key_rings():
        serve(socket.socket(fileno=int(sys.argv[1])))()
