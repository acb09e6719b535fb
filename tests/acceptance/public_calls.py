"""Every public call of a handle, to be made under faults. `missing` names those left out."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import keyturn
from keyturn import ClientSession, HistoryFilter, KeyRing, Service, Settings
from keyturn.backup import export_log
from keyturn.domain.errors import SessionManagerRunningError

Call = Callable[[], object]
PASSIVE = {"name", "node_id", "log", "parts", "clock", "lock_timeout", "is_closed"}
"""Attributes that do nothing."""


def calls_of(service: Service, folder: Path) -> dict[str, Call]:
    """Return the calls of a service, each of which may be made again and again."""
    session = service.session(folder / "token")

    def transact() -> None:
        with service.transaction() as tran:
            service.reset_key(tran=tran)
            service.verify_token(service.create_token(tran=tran), tran=tran)

    def destroy() -> None:
        other = service.named("doomed")
        other.stop()
        other.destroy()
        other.close()

    def stop_and_start() -> None:
        service.stop()
        service.start()

    def subscribe() -> None:
        service.subscribe(print_nothing)
        service.unsubscribe(print_nothing)

    def start() -> None:
        with contextlib.suppress(SessionManagerRunningError):
            service.start()

    def authenticate() -> None:
        service.authenticate(service.create_token(), max_age=60)

    return {
        "create_token": service.create_token,
        "create_tokens": lambda: service.create_tokens(3),
        "verify_token": lambda: service.verify_token(service.create_token()),
        "verify_tokens": lambda: service.verify_tokens(service.create_tokens(3)),
        "authenticate": authenticate,
        "authenticate_tokens": lambda: service.authenticate_tokens(service.create_tokens(3)),
        "refresh_token": lambda: service.refresh_token(service.create_token()),
        "inspect_token": lambda: service.inspect_token(service.create_token(), datetime.now(UTC)),
        "reset_key": service.reset_key,
        "rotate_key": lambda: service.rotate_key(0),
        "end_session": lambda: service.end_session(service.create_token()),
        "end_sessions": lambda: service.end_sessions("alice"),
        "ask": lambda: service.ask(keyturn.ResetKey("asked")),
        "transaction": transact,
        "subscribe": subscribe,
        "unsubscribe": lambda: service.unsubscribe(print_nothing),
        "start": start,
        "stop": stop_and_start,
        "destroy": destroy,
        "named": lambda: service.named("tenant").close(),
        "session": lambda: service.session(folder / "other", "a.b.c", fresh=True).close(),
        "history": lambda: list(service.history(HistoryFilter(initiator="x"), limit=5)),
        "key_at": lambda: service.key_at(datetime.now(UTC)),
        "audit": service.audit,
        "checkpoint": service.checkpoint,
        "managers": service.managers,
        "metrics": service.metrics,
        "check_password": lambda: service.check_password(None),
        "manager": lambda: service.manager,
        "running_manager": lambda: service.running_manager,
        "token file: write_token": lambda: session.write_token("a.b.c"),
        "token file: replace": lambda: session.write_token("a.b.c", replacing="a.b.c"),
        "token file: read_token": session.read_token,
        "token file: clear_token": session.clear_token,
    }


def calls_without_service(folder: Path, store: str, number: Iterable[int]) -> dict[str, Call]:
    """Return the calls that need no open service; some make something new at each `number`."""
    numbers = iter(number)

    def new() -> Path:
        return folder / f"new{next(numbers)}"

    def reset(service: Service) -> None:
        with service:
            service.reset_key()

    async def open_async() -> None:
        async with keyturn.open_async(
            path=folder / "data", store=store, password=None
        ) as service:
            await service.reset_key()
            await service.verify_token(await service.create_token())

    return {
        "open": lambda: reset(keyturn.open(path=folder / "data", store=store, password=None)),
        "first open": lambda: keyturn.open(path=new(), password=None).close(),
        "open_async": lambda: run(open_async()),
        "KeyRing.create": lambda: KeyRing.create(new() / "keyring.json", None),
        "KeyRing.open": lambda: KeyRing.open(folder / "data/keyring.json", None),
        "KeyRing.change_password": lambda: KeyRing.change_password(
            folder / "data/keyring.json", None, None
        ),
        "ClientSession": lambda: ClientSession(new() / "token", "a.b.c").close(),
        "Settings.load": lambda: Settings.load(config=folder / "keyturn.toml"),
        "export_log": lambda: export_log(Settings(path=folder / "data", store=store), BytesIO()),
    }


def run(awaited: Coroutine[Any, Any, None]) -> None:
    """Run it without the thread that `asyncio.run` would start at the end."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(awaited)
    finally:
        loop.close()


def print_nothing(event: object) -> None:
    """Subscribe this."""


def missing(covered: Iterable[str]) -> set[str]:
    """Return the public names of the handle that are not among these."""
    public = {name for name, _ in inspect.getmembers(Service) if not name.startswith("_")}
    return public - set(covered) - PASSIVE - {"close"}
