"""ASGI middleware: whose request it is, for any framework that speaks ASGI.

    app.add_middleware(KeyturnMiddleware, service=per_process(path="data"))

`scope["keyturn"]` is then the `Authenticated` of a request or WebSocket with a good token, else
None; `session_of(scope)` logs in and out. A `RequestRefusedError` that leaves the app becomes its
answer. WebSockets and server-sent events are closed when their session ends.
"""

from __future__ import annotations

import asyncio

from keyturn.aio import AsyncService
from keyturn.domain.errors import KeyturnError, NoThreadError
from keyturn.service import Service
from keyturn.web import asgi_session
from keyturn.web.answers import RequestRefusedError
from keyturn.web.asgi_sending import (
    App,
    AsgiMessage,
    Receive,
    Response,
    Scope,
    Send,
    Socket,
    send_answer,
    send_or_give_up,
)
from keyturn.web.asgi_session import AsgiSession, session_of
from keyturn.web.incoming import Incoming
from keyturn.web.live import SESSION_OVER, LiveConnection, LiveConnections
from keyturn.web.options import WebOptions
from keyturn.web.processes import PerProcess, ServiceSource, service_of
from keyturn.web.session import answer_for

__all__ = ["SESSION_OVER", "AsgiSession", "KeyturnMiddleware", "session_of"]


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
            await send_answer(refused.answer, send)
            return
        response = Response(send, session, asyncio.current_task(), self._connections)
        try:
            await self.app(scope, receive, response)
        except RequestRefusedError as refused:
            if response.is_started:
                raise
            await send_answer(refused.answer, response)
        except asyncio.CancelledError:
            if not response.was_ended():
                raise
            await send_or_give_up(send, {"type": "http.response.body"})
        finally:
            response.leave()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = Socket(scope, send)
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
        self, scope: Scope, receive: Receive, socket: Socket, live: LiveConnection
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
            try:
                await asyncio.to_thread(self._source.close)
            except RuntimeError:  # there is no thread; it takes no time now
                self._source.close()
