"""The checks of live connections go on, whatever a check meets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from keyturn import AsyncService
from keyturn.actors.replies import Authenticated
from keyturn.domain.errors import TokenRefusedError
from keyturn.testing import ClockedService
from keyturn.web import PerProcess, WebOptions, per_process
from keyturn.web.asgi import KeyturnMiddleware
from keyturn.web.live import SESSION_OVER, TRY_AGAIN_LATER, LiveConnection, LiveConnections
from tests.web.apps import make_app
from tests.web.servers import uvicorn_of

P = ParamSpec("P")


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Held(AsyncService):
    """A service whose checks wait until they may go on, and fail if told."""

    def __init__(self, service: ClockedService) -> None:
        super().__init__(service)
        self.asked, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.fault: Exception | None = None

    async def authenticate_tokens(
        self, tokens: Iterable[object], max_age: float | None = None
    ) -> list[Authenticated | TokenRefusedError]:
        self.asked.set()
        await self.may_go_on.wait()
        if self.fault is not None:
            raise self.fault
        return await super().authenticate_tokens(tokens, max_age)


@contextlib.asynccontextmanager
async def checking(service: AsyncService) -> AsyncIterator[LiveConnections]:
    connections = LiveConnections(lambda: service, check_every=3600)
    async with asyncio.timeout(20):
        yield connections
        await connections.close()


async def connection_to(service: AsyncService) -> LiveConnection:
    async def serve() -> None:
        made.set_result(LiveConnection())
        await asyncio.Event().wait()

    made: asyncio.Future[LiveConnection] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve())
    connection = await made
    assert connection._task is task
    connection.token = await service.create_token()
    connection.who = await service.authenticate(connection.token)
    return connection


async def ended(connection: LiveConnection) -> tuple[int, str] | None:
    """Wait until it is ended."""
    assert connection._task is not None
    await asyncio.wait([connection._task])
    return connection.ended


@in_a_loop
async def test_what_was_removed_while_it_was_checked_is_not_ended(
    keyturn_service: ClockedService,
) -> None:
    service = Held(keyturn_service)
    async with checking(service) as connections:
        gone, stays = await connection_to(service), await connection_to(service)
        connections.add(gone)
        connections.add(stays)
        for each in (gone, stays):
            await service.end_session(token=each.token)

        await service.asked.wait()
        connections.remove(gone)
        service.may_go_on.set()

        assert await ended(stays) == (SESSION_OVER, "session ended")
        assert gone.ended is None


@in_a_loop
async def test_a_check_that_fails_in_whatever_way_ends_the_connection_and_no_other_check(
    keyturn_service: ClockedService,
) -> None:
    service = Held(keyturn_service)
    service.may_go_on.set()
    async with checking(service) as connections:
        service.fault = RuntimeError("unforeseen")
        unchecked = await connection_to(service)
        connections.add(unchecked)
        first = await ended(unchecked)
        service.fault = None
        later = await connection_to(service)
        connections.add(later)

        await service.end_session(token=later.token)

        assert first == (TRY_AGAIN_LATER, "sessions cannot be checked now")
        assert await ended(later) == (SESSION_OVER, "session ended")


@in_a_loop
async def test_without_a_subscription_connections_are_checked_all_the_same(
    keyturn_service: ClockedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    service = AsyncService(keyturn_service)
    monkeypatch.setattr(service, "subscribe", fail)
    async with checking(service) as connections:
        connection = await connection_to(service)
        await service.end_session(token=connection.token)

        connections.add(connection)

        assert await ended(connection) == (SESSION_OVER, "session ended")


@in_a_loop
async def test_connections_are_checked_by_the_service_that_was_opened_anew(
    keyturn_service: ClockedService,
) -> None:
    services = [AsyncService(keyturn_service)]
    connections = LiveConnections(lambda: services[-1], check_every=3600)
    async with asyncio.timeout(20):
        before, after = [await connection_to(services[0]) for _ in range(2)]
        connections.add(before)
        services.append(Held(keyturn_service))
        services[-1].may_go_on.set()
        connections.add(after)
        await services[-1].asked.wait()

        await services[-1].end_session(token=before.token)

        assert await ended(before) == (SESSION_OVER, "session ended")
        assert after.ended is None
        await connections.close()


def test_a_service_that_was_closed_and_opened_again_serves_websockets(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)
    with uvicorn_of(make_app(sessions, WebOptions(check_every=0.05))) as address:
        is_closed_again = echo(address, sessions)

        sessions.close()

        assert (is_closed_again, echo(address, sessions)) == (4401, 4401)


def echo(address: str, sessions: PerProcess) -> int:
    """Talk by a WebSocket, end its session, and return the code that closes it."""
    service = sessions.get()
    token = service.create_token(subject="alice")
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://{address}/socket", additional_headers=headers) as connection:
        assert connection.recv(timeout=20) == "alice"
        for _ in range(3):
            connection.send("hello")
            assert connection.recv(timeout=20) == "hello"
        service.end_session(token=token)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@in_a_loop
async def test_what_an_app_sends_besides_the_body_does_not_end_the_checks_of_its_stream(
    keyturn_service: ClockedService,
) -> None:
    token = keyturn_service.create_token()
    is_streaming = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.debug", "info": {}})
        is_streaming.set()
        await asyncio.Event().wait()

    async def send(message: MutableMapping[str, Any]) -> None:
        pass

    middleware = KeyturnMiddleware(app, AsyncService(keyturn_service))
    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "method": "GET", "headers": headers}
    async with asyncio.timeout(20):
        task = asyncio.create_task(middleware(scope, send, send))
        await is_streaming.wait()
        await asyncio.to_thread(keyturn_service.end_session, token=token)

        await task


@in_a_loop
async def test_without_a_thread_to_open_the_service_the_answer_is_503(tmp_path: Path) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    pool = ThreadPoolExecutor()
    pool.shutdown()
    asyncio.get_running_loop().set_default_executor(pool)
    app = KeyturnMiddleware(make_app, per_process(path=tmp_path / "data", password=None))

    await app({"type": "http", "method": "GET", "headers": []}, None, send)

    assert sent[0]["status"] == 503
