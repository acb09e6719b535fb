"""A shell's `keyturn`, `uvicorn` and `python FILE`, run by forks of one warm process.

It has imported already what they need.

To start Python with Keyturn takes half a second; the pages have some fifty commands.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing.process
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import msgspec

from keyturn.config import key_ring_file

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
MODULES = (
    "keyturn.cli",
    "keyturn.testing",
    "fastapi",
    "rich.table",
    "starlette.routing",
    "uvicorn",
    "httpx",
)
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
name = os.path.basename(sys.argv[0])
argv = sys.argv[1:] if name == "python" else [os.path.join({scripts!r}, name), *sys.argv[1:]]
if argv[0].startswith("-"):
    os.execv({python!r}, [{python!r}, *argv])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
asked = json.dumps([argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [asked], [0, 1, 2])
signal.signal(signal.SIGTERM, lambda *_: server.send(b"stop"))
sys.exit(int(server.recv(16) or b"1"))
"""


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[Path]:
    """Yield a folder with programs that are put first into a PATH."""
    address = str(folder / "socket")
    for name in ("keyturn", "python", "uvicorn"):
        text = CLIENT.format(python=sys.executable, scripts=str(SCRIPTS), address=address)
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen()
        command = [sys.executable, "-m", "tests.warm_python", str(listening.fileno())]
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[listening.fileno()])
    try:
        yield folder
    finally:
        server.terminate()
        server.wait(30)


@contextlib.contextmanager
def cheap_key_rings() -> Iterator[None]:
    """Have the passwords of new key rings cost next to nothing."""
    kdf = key_ring_file.Kdf.new()
    cheap = msgspec.structs.replace(kdf, memory_kib=64, iterations=1, lanes=1)
    with mock.patch.object(key_ring_file.Kdf, "new", return_value=cheap):
        yield


def serve(listening: socket.socket) -> None:
    """Import what programs stand on, and be there for clients."""
    for module in MODULES:
        importlib.import_module(module)
    with cheap_key_rings():
        answer(listening)


def answer(listening: socket.socket) -> None:
    """Answer each client by a fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            code = run(connection)
            with contextlib.suppress(OSError):
                connection.send(str(code).encode())
            os._exit(0)
        connection.close()


def run(connection: socket.socket) -> int:
    """Be the program that a client asks for; return its exit code."""
    asked, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    sys.argv, folder, environment = json.loads(asked)
    threading.Thread(target=stop_when_told, args=[connection], daemon=True).start()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
        for number, mode in enumerate(("r", "w", "w"))
    )
    os.chdir(folder)
    multiprocessing.process.ORIGINAL_DIR = folder  # type: ignore[attr-defined] # of workers
    os.environ.clear()
    os.environ.update(environment)
    code: object = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def stop_when_told(connection: socket.socket) -> None:
    """Pass on a signal to the client, or its end, to the program."""
    connection.recv(16)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
