"""Every way to use a service, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyturn import Service

USES: dict[str, Callable[[Service, Path], Any]] = {
    "create_token": lambda service, path: service.create_token(),
    "verify_token": lambda service, path: service.verify_token("a.b.c"),
    "create_tokens": lambda service, path: service.create_tokens(2),
    "verify_tokens": lambda service, path: service.verify_tokens(["a.b.c"]),
    "refresh_token": lambda service, path: service.refresh_token("a.b.c"),
    "inspect_token": lambda service, path: service.inspect_token("a.b.c"),
    "reset_key": lambda service, path: service.reset_key(),
    "rotate_key": lambda service, path: service.rotate_key(60),
    "history": lambda service, path: list(service.history()),
    "managers": lambda service, path: service.managers(),
    "transaction": lambda service, path: service.transaction().__enter__(),
    "start": lambda service, path: service.start(),
    "stop": lambda service, path: service.stop(),
    "destroy": lambda service, path: service.destroy(),
    "session": lambda service, path: service.session(path / "token"),
    "manager": lambda service, path: service.manager,
}
