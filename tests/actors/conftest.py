"""Session managers over each store, called in each way, and somebody who listens."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import (
    ClearToken,
    CreateToken,
    EventLog,
    KeyRing,
    ReadToken,
    ResetKey,
    Service,
    Session,
    SessionManager,
    SetupKey,
    VerifyToken,
    WriteToken,
)
from keyturn.domain.options import ManagerOptions
from tests.actors.ways import WAYS, Way


@pytest.fixture(autouse=True)
def _no_actor_left_behind() -> Iterator[None]:
    yield
    pykka.ActorRegistry.stop_all(timeout=30)


@pytest.fixture
def log(store_url: str) -> Iterator[EventLog]:
    """A log in each kind of store."""
    log = keyturn.open_event_log(store_url)
    yield log
    pykka.ActorRegistry.stop_all(timeout=30)  # before what they use is closed
    log.close()


@pytest.fixture
def start_manager(
    log: EventLog, key_ring: KeyRing
) -> Callable[..., pykka.ActorRef[SessionManager]]:
    """Start a session manager on the log; every call starts another one on the same log."""

    names = {field.name for field in fields(ManagerOptions) if field.init}

    def start(**arguments: Any) -> pykka.ActorRef[SessionManager]:
        options = {name: arguments.pop(name) for name in names & arguments.keys()}
        return SessionManager.start(log, key_ring, options=ManagerOptions(**options), **arguments)

    return start


@pytest.fixture
def ref(start_manager: Callable[..., pykka.ActorRef[SessionManager]]) -> pykka.ActorRef[Any]:
    """A running session manager."""
    return start_manager()


@pytest.fixture
def stored_service(store_url: str, tmp_path: Path) -> Iterator[Service]:
    """A service over each kind of store."""
    with keyturn.open(path=tmp_path / "data", store=store_url, password=None) as service:
        yield service


@pytest.fixture
def call_style(store_url: str) -> str:
    """The way to call a manager: another one for each kind of store."""
    return {"sqlite": "handle", "memory": "messages"}.get(store_url.partition(":")[0], "proxy")


@pytest.fixture
def manager(call_style: str, stored_service: Service) -> Way:
    """A running session manager, over each kind of store."""
    way: Way = WAYS[call_style](stored_service)
    return way


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Have threads take turns as often as they can: races that are rare become frequent."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


WORK: dict[type[Any], list[Any]] = {
    SessionManager: [
        SetupKey(),
        CreateToken(),
        VerifyToken("a"),
        keyturn.CreateTokens(2),
        keyturn.VerifyTokens(["a"]),
        keyturn.RefreshToken("a"),
        keyturn.InspectToken("a"),
        ResetKey(),
        keyturn.RotateKey(0),
    ],
    Session: [ReadToken(), WriteToken("a"), ClearToken()],
}


@pytest.fixture(params=[SessionManager, Session], ids=lambda kind: kind.__name__)
def actor(
    request: pytest.FixtureRequest,
    start_manager: Callable[..., pykka.ActorRef[SessionManager]],
    tmp_path: Path,
) -> pykka.ActorRef[Any]:
    """Each of the two actors, just created."""
    if request.param is SessionManager:
        return start_manager()
    return Session.start(tmp_path / "token")


class Listener(pykka.ThreadingActor):
    """A subscriber that keeps what it is told."""

    def __init__(self, heard: queue.Queue[Any]) -> None:
        super().__init__()
        self._heard = heard

    def on_receive(self, message: Any) -> None:
        self._heard.put(message)


class Ear:
    """What a listener heard, in order."""

    def __init__(self) -> None:
        self._heard: queue.Queue[Any] = queue.Queue()
        self.ref = Listener.start(self._heard)

    def next(self) -> Any:
        return self._heard.get(timeout=30)

    def next_kinds(self, count: int) -> list[str]:
        """Return the kinds of the next messages: of events, or the names of their classes."""
        messages = [self.next() for _ in range(count)]
        return [getattr(message, "kind", type(message).__name__) for message in messages]

    def heard_nothing_more(self) -> bool:
        """Whether there is nothing left, once all that was told so far has arrived."""
        self.ref.ask("a last word", timeout=30)
        return bool(self._heard.get(timeout=30) == "a last word")


@pytest.fixture
def ear() -> Ear:
    """A subscriber."""
    return Ear()
