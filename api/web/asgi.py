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
from keyturn.domain.errors import KeyturnError, NoThreadError
from keyturn.service import Service
from keyturn.web import asgi_session
from keyturn.web.answers import Answer, RequestRefusedError
from keyturn.web.asgi_session import AsgiSession, session_of
from keyturn.web.incoming import Incoming
from keyturn.web.live import SESSION_OVER, LiveConnection, LiveConnections
from keyturn.web.options import WebOptions
from keyturn.web.processes import PerProcess, ServiceSource, service_of
from keyturn.web.session import REPLACED, answer_for, is_event_stream

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
        try:
            session = await self._begin(scope)
        except RequestRefusedError as refused:
            await _send_answer(refused.answer, send)
            return
        response = _Response(send, session, asyncio.current_task(), self._connections)
        try:
            await self.app(scope, receive, response)
        except RequestRefusedError as refused:
            if response.is_started:
                raise
            await _send_answer(refused.answer, response)
        except asyncio.CancelledError:
            if not response.was_ended():
                raise
            await _send_or_give_up(send, {"type": "http.response.body"})
        finally:
            response.leave()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = _Socket(scope, send)
        try:
            session = await self._begin(scope)
            if session.who is None or session.credential is None:
                await self.app(scope, receive, socket)
            else:
                token, task = session.credential.token, asyncio.current_task()
                socket.live = LiveConnection(token, session.who, task)
                await self._live_websocket(scope, receive, socket, socket.live)
        except RequestRefusedError as refused:
            await socket.refuse(refused.answer)

    async def _live_websocket(
        self, scope: Scope, receive: Receive, socket: _Socket, live: LiveConnection
    ) -> None:
        self._connections().add(live)
        try:
            await self.app(scope, receive, socket)
        except asyncio.CancelledError:
            if not live.absorbs_cancellation():
                raise
        finally:
            self._connections().remove(live)
        if live.ended:
            await socket.close(*live.ended)

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
            service = self._known_service() or await self._service()
        except KeyturnError as error:
            raise answer_for(error) from error
        session = AsgiSession(Incoming.from_asgi(scope), self._options, service)
        await session.authenticate()
        scope["keyturn"] = session.who
        scope[asgi_session.KEY] = session
        return session

    def _known_service(self) -> AsyncService | None:
        """Return the service of this process if it is open already."""
        known, source = self._awaited, self._source
        is_current = known is not None and known.plain is (
            source.opened if isinstance(source, PerProcess) else source
        )
        return known if is_current else None

    async def _service(self) -> AsyncService:
        """Return the service of this process; it may have to be opened."""
        has_begun = False

        def open_it() -> Service:
            nonlocal has_begun
            has_begun = True
            return service_of(self._source)

        try:
            plain = await asyncio.to_thread(open_it)
        except RuntimeError as error:
            if has_begun:
                raise
            raise NoThreadError from error
        known = self._known_service()  # another request may have been quicker
        if known is None:
            known = self._awaited = AsyncService(plain)
        return known

    def _connections(self) -> LiveConnections:
        """Return the live connections of this event loop."""
        loop = asyncio.get_running_loop()
        found = self._live.get(loop)
        assert self._awaited is not None  # a request came before
        if found is None or found.service is not self._awaited:
            current = LiveConnections(self._awaited, self._options.check_every)
            if found is not None:  # the service was closed, and opened again
                found.move_to(current)
            for over in [loop for loop in self._live if loop.is_closed()]:
                del self._live[over]
            found = self._live[loop] = current
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

    __slots__ = ("_connections", "_live", "_send", "_session", "_task", "is_started")

    def __init__(
        self,
        send: Send,
        session: AsgiSession,
        task: asyncio.Task[Any] | None,
        connections: Callable[[], LiveConnections],
    ) -> None:
        self._send = send
        self._session = session
        self._task = task
        self._connections = connections
        self._live: LiveConnection | None = None
        self.is_started = False

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self._live is not None and self._live.ended:
            return
        if message["type"] != "http.response.start":
            if not message.get("more_body"):
                self.leave()  # what the app still does in the background goes on
            await self._send(message)
            return
        session = self._session
        await session.refresh_if_due()
        if session.headers:
            message = {**message, "headers": self._headers(message)}
        await self._send(message)
        self.is_started = True
        if session.who is not None and session.credential and _is_event_stream(message):
            self._live = LiveConnection(session.credential.token, session.who, self._task)
            self._connections().add(self._live)

    def _headers(self, message: AsgiMessage) -> list[tuple[bytes, bytes]]:
        kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() != _REPLACED]
        ours = self._session.headers
        return kept + [(n.lower().encode(), v.encode("latin-1")) for n, v in ours]

    def was_ended(self) -> bool:
        """Return whether the app was cancelled because the session of its stream ended."""
        return self._live is not None and self._live.absorbs_cancellation()

    def leave(self) -> None:
        """It is no live connection any more."""
        if self._live is not None:
            self._connections().remove(self._live)
            self._live = None


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


def _is_event_stream(message: AsgiMessage) -> bool:
    headers = message.get("headers", ())
    return is_event_stream((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers)


async def _send_answer(answer: Answer, send: Send, kind: str = "http.response") -> None:
    headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in answer.all_headers]
    if kind.startswith("websocket"):  # to which some servers add the length themselves
        headers = [(name, value) for name, value in headers if name != b"content-length"]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


async def _send_or_give_up(send: Send, message: AsgiMessage) -> None:
    """Send the last message to a client, which may have gone or may not read."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await send(message)
