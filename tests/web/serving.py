"""`keyturn serve` as a test needs it: as an application in this process, and as a server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keyturn

SECRET = "an-example-secret-of-40-characters-or-so"
PASSWORD = "correct horse"


class Served:
    """A running `keyturn serve`, and what it wrote to its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        assert process.stderr is not None
        first = ""
        while not first.startswith("listening at "):
            first = process.stderr.readline()
            self.lines.append(first)
            if not first:
                raise AssertionError("".join(self.lines))
        self.address = first.removeprefix("listening at ").strip()
        self._reader.start()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines += self.process.stderr

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(timeout=30)
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()
        return code

    @property
    def log(self) -> str:
        return "".join(self.lines)


@contextmanager
def serving(folder: Path, *arguments: object, level: str = "info") -> Iterator[Served]:
    """Run the command on the data in a folder, which is made if it is missing."""
    data, secret = folder / "data", folder / "secret"
    if not data.exists():
        keyturn.open(path=data, password=PASSWORD).close()
        secret.write_text(SECRET)
        secret.chmod(0o600)
    if "--socket" not in arguments:
        arguments = ("--port", "0", *arguments)
    given = ["--path", data, "serve", "--client-secret-file", secret, *arguments]
    environment = {k: v for k, v in os.environ.items() if not re.match("KEYTURN_|PROMETHEUS_", k)}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "keyturn", *map(str, given)],
        env={**environment, "KEYTURN_PASSWORD": PASSWORD, "KEYTURN_LOG_LEVEL": level},
        stderr=subprocess.PIPE,
        text=True,
    )
    served = None
    try:
        served = Served(process)
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=30)
        if served is not None:
            served.wait()
        elif process.stderr is not None:
            process.stderr.close()


def becomes_true(condition: Callable[[], bool]) -> bool:
    """Return whether it is true within some seconds."""
    deadline = time.monotonic() + 20
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_true
