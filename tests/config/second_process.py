"""A second process on the same data folder, that does what it is told and says when it is done.

They talk in JSON, one object a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.config.warm_processes import WarmProcess


class SecondProcess:
    """The handle. Each call returns once the other process has acknowledged it."""

    def __init__(self, folder: Path, **options: object) -> None:
        code = "from tests.config.second_process import be_told; be_told()"
        self._process = WarmProcess(code, folder, json.dumps(options))
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def serve(self, name: str) -> None:
        """Serve another manager of the folder instead."""
        self._do("serve", name=name)

    def reset(self, reason: str | None = None) -> int:
        """Reset the key, and return the new generation."""
        return int(self._do("reset", reason=reason))

    def reset_often(self, *, seconds: float) -> Callable[[], int]:
        """Reset without a pause; what is returned waits for it and tells how often."""
        self._send("reset_often", seconds=seconds)
        return lambda: int(self._read())

    def create(self) -> str:
        return str(self._do("create"))

    def verify(self, token: str) -> bool:
        return bool(self._do("verify", token=token))

    def sql(self, statement: str) -> list[list[Any]]:
        """Run SQL on a plain connection of the other process, and keep that open."""
        rows: list[list[Any]] = self._do("sql", statement=statement)
        return rows

    def close(self) -> None:
        self._process.close()

    def kill(self) -> None:
        self._process.kill()

    def _do(self, command: str, **arguments: object) -> Any:
        self._send(command, **arguments)
        return self._read()

    def _send(self, command: str, **arguments: object) -> None:
        self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self._process.stdin.flush()

    def _read(self) -> Any:
        line = self._process.stdout.readline()
        assert line, "the second process ended"
        return json.loads(line)


def be_told() -> None:
    """Be that process."""
    import contextlib
    import sqlite3

    import keyturn

    folder, options = sys.argv[1], json.loads(sys.argv[2])
    with contextlib.ExitStack() as stack:
        if options.pop("service", True):
            service = stack.enter_context(keyturn.open(path=folder, password=None, **options))
        plain = sqlite3.connect(Path(folder) / "keyturn.db", isolation_level=None)
        stack.enter_context(contextlib.closing(plain))
        print("true", flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            reply: object = None
            match request["command"]:
                case "serve":
                    service.close()
                    service = stack.enter_context(
                        keyturn.open(path=folder, password=None, name=request["name"])
                    )
                case "reset":
                    service.reset_key(request["reason"])
                    reply = next(service.history(newest_first=True)).generation
                case "reset_often":
                    until, reply = time.monotonic() + request["seconds"], 0
                    while time.monotonic() < until:
                        service.reset_key()
                        reply += 1
                case "create":
                    reply = service.create_token()
                case "verify":
                    reply = service.verify_token(request["token"])
                case "sql":
                    reply = plain.execute(request["statement"]).fetchall()
            print(json.dumps(reply), flush=True)
