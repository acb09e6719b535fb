"""ASGI middleware: whose request it is, for any framework that speaks ASGI.

    app.add_middleware(KeyturnMiddleware, service=per_process(path="data"))

`scope["keyturn"]` is then the `Authenticated` of a request or WebSocket with a good token, else
None; `session_of(scope)` logs in and out. A `RequestRefusedError` that leaves the app becomes its
answer. WebSockets and server-sent events are closed when their session ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from keyturn.aio import AsyncService
from keyturn.domain.errors import KeyturnError
from keyturn.web import asgi_session
from keyturn.web.answers import Answer, RequestRefusedError
from keyturn.web.asgi_session import AsgiSession, session_of
from keyturn.web.incoming import Incoming
from keyturn.web.live import SESSION_OVER, LiveConnection, LiveConnections
from keyturn.web.options import WebOptions
from keyturn.web.processes import PerProcess, ServiceSource, service_of
from keyturn.web.session import REPLACED, answer_for

__all__ = ["SESSION_OVER", "AsgiSession", "KeyturnMiddleware", "session_of"]

Scope: TypeAlias = MutableMapping[str, Any]
AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_REPLACED = REPLACED.encode()

_CLOSE_WITHIN = 5.0
"""Seconds for a client to take the close of its WebSocket."""


class KeyturnMiddleware:
    """Says whose each request is, and closes live connections whose session ends.

    A service that is opened for each process is opened before the app starts and closed after it
    has ended, if the server speaks the lifespan protocol; else at the first request.

    Args:
        app: the app.
        service: an open one, or what `per_process` returns.
        options: of the web.
    """

    def __init__(
        self,
        app: App,
        service: ServiceSource | AsyncService,
        options: WebOptions = WebOptions(),  # noqa: B008 - it is frozen
    ) -> None:
        self.app = app
        self._awaited = service if isinstance(service, AsyncService) else None
        self._source: ServiceSource = (
            service.plain if isinstance(service, AsyncService) else service
        )
        self._options = options
        self._live: dict[asyncio.AbstractEventLoop, LiveConnections] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server (ASGI 3)."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = None
        try:
            session = await self._begin(scope)
            live = _live_connection(session)
            response = _Response(send, session, live, self._connections)
            if live is None:
                await self.app(scope, receive, response)
                return
            try:
                await live.run(self.app(scope, receive, response))
            finally:
                response.leave()
            if live.ended:
                await response.end()
        except RequestRefusedError as refused:
            if response is not None and response.is_started:
                raise
            await _send_answer(refused.answer, send if response is None else response)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = _Socket(scope, send)
        try:
            session = await self._begin(scope)
            live = socket.live = _live_connection(session)
            if live is None:
                await self.app(scope, receive, socket)
                return
            connections = self._connections()
            connections.add(live)
            try:
                await live.run(self.app(scope, receive, socket))
            finally:
                connections.remove(live)
            if live.ended:
                await socket.close(*live.ended)
        except RequestRefusedError as refused:
            await socket.refuse(refused.answer)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        startup: list[AsgiMessage] = [await receive()]
        try:
            await self._service()
        except KeyturnError as error:
            await send({"type": "lifespan.startup.failed", "message": f"keyturn: {error}"})
            return

        async def receive_rest() -> AsgiMessage:
            return startup.pop() if startup else await receive()

        async def send_after_closing(message: AsgiMessage) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self._close()
            await send(message)

        await self.app(scope, receive_rest, send_after_closing)

    async def _begin(self, scope: Scope) -> AsgiSession:
        """Return the session of a request, and put it into the scope."""
        try:
            service = await self._service()
        except KeyturnError as error:
            raise answer_for(error) from error
        session = AsgiSession(Incoming.from_asgi(scope), self._options, service)
        await session.authenticate()
        scope["keyturn"] = session.who
        scope[asgi_session.KEY] = session
        return session

    async def _service(self) -> AsyncService:
        """Return the service of this process; the first call may open it."""
        source, known = self._source, self._awaited
        plain = source.opened if isinstance(source, PerProcess) else source
        if known is not None and known.plain is plain:
            return known
        if plain is None:
            plain = await asyncio.to_thread(service_of, source)
        self._awaited = AsyncService(plain)
        return self._awaited

    def _connections(self) -> LiveConnections:
        """Return the live connections of this event loop."""
        loop = asyncio.get_running_loop()
        found = self._live.get(loop)
        if found is None:
            assert self._awaited is not None  # a request came before
            for over in [loop for loop in self._live if loop.is_closed()]:
                del self._live[over]
            found = LiveConnections(self._awaited, self._options.check_every)
            self._live[loop] = found
        return found

    async def _close(self) -> None:
        """Close what was opened for this process; an open service is left to its host."""
        connections = self._live.pop(asyncio.get_running_loop(), None)
        if connections is not None:
            await connections.close()
        if isinstance(self._source, PerProcess) and self._awaited is not None:
            await self._awaited.close()
            await asyncio.to_thread(self._source.close)


class _Response:
    """Sends the response of an app, with what the session has to say in it."""

    def __init__(
        self,
        send: Send,
        session: AsgiSession,
        live: LiveConnection | None,
        connections: Callable[[], LiveConnections],
    ) -> None:
        self._send = send
        self._session = session
        self._live = live
        self._connections = connections
        self._joined: LiveConnections | None = None
        self.is_started = False

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self._live is not None and self._live.ended:
            return
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        if not message.get("more_body"):
            self.leave()
        await self._send(message)

    async def _start(self, message: AsgiMessage) -> None:
        await self._session.refresh_if_due()
        if self._session.headers:
            message = {**message, "headers": self._headers(message)}
        await self._send(message)
        self.is_started = True
        if self._live is not None and _is_event_stream(message):
            self._joined = self._connections()
            self._joined.add(self._live)

    def _headers(self, message: AsgiMessage) -> list[tuple[bytes, bytes]]:
        kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() != _REPLACED]
        ours = self._session.headers
        return kept + [(n.lower().encode(), v.encode("latin-1")) for n, v in ours]

    def leave(self) -> None:
        """It is no live connection any more."""
        if self._joined is not None and self._live is not None:
            self._joined.remove(self._live)
            self._joined = None

    async def end(self) -> None:
        """End a stream whose session has ended."""
        await _send_or_give_up(self._send, {"type": "http.response.body"})


class _Socket:
    """Sends what an app says to a WebSocket, and closes it with a code that its page can read."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._is_accepted = False
        self._is_closed = False
        self.live: LiveConnection | None = None

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self.live is not None and self.live.ended:
            return
        self._is_accepted |= message["type"] == "websocket.accept"
        self._is_closed |= message["type"] == "websocket.close"
        await self._send(message)

    async def refuse(self, answer: Answer) -> None:
        """Refuse to open it, or close it if it is open."""
        if answer.status == HTTPStatus.UNAUTHORIZED or self._is_accepted:
            await self.close(SESSION_OVER, answer.description)
        elif "websocket.http.response" in (self._scope.get("extensions") or {}):
            await _send_answer(answer, self._send, "websocket.http.response")
        else:
            await self._send({"type": "websocket.close"})  # the server says 403

    async def close(self, code: int, reason: str) -> None:
        """Close it. One that is not open yet is opened for that: pages see no other answer."""
        if self._is_closed:
            return
        if not self._is_accepted:
            offered = self._scope.get("subprotocols") or [None]
            await self._send({"type": "websocket.accept", "subprotocol": offered[0]})
        await _send_or_give_up(
            self._send, {"type": "websocket.close", "code": code, "reason": reason}
        )


def _live_connection(session: AsgiSession) -> LiveConnection | None:
    if session.who is None or session.credential is None:
        return None
    return LiveConnection(session.credential.token, session.who)


def _is_event_stream(message: AsgiMessage) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in message.get("headers", ())
    )


async def _send_answer(answer: Answer, send: Send, kind: str = "http.response") -> None:
    headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in answer.all_headers]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


async def _send_or_give_up(send: Send, message: AsgiMessage) -> None:
    """Send the last message to a client, which may have gone or may not read."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await send(message)
