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
from keyturn.web.answers import RequestRefusedError
from keyturn.web.asgi_sending import App, AsgiMessage, Receive, Response, Scope, Send, Socket
from keyturn.web.incoming import Incoming
from keyturn.web.live import SESSION_OVER, LiveConnections
from keyturn.web.options import WebOptions
from keyturn.web.processes import PerProcess, ServiceSource, service_of
from keyturn.web.session import AsgiSession, MiddlewareMissingError, answer_for

__all__ = ["SESSION_OVER", "AsgiSession", "KeyturnMiddleware", "session_of"]

_SESSION = "keyturn.session"


def session_of(scope: Scope) -> AsgiSession:
    """Return the session of a request or WebSocket.

    Raises:
        MiddlewareMissingError: the app is not wrapped in `KeyturnMiddleware`.
    """
    session = scope.get(_SESSION)
    if not isinstance(session, AsgiSession):
        raise MiddlewareMissingError("keyturn.web.asgi.KeyturnMiddleware")
    return session


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
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, Response(send, self._connections()))
        elif scope["type"] == "websocket":
            await self._serve(scope, receive, Socket(scope, send, self._connections()))
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, sending: Response | Socket) -> None:
        try:
            session = await self._session(scope)
            scope["keyturn"] = session.who
            scope[_SESSION] = session
            sending.begin(session)
            await self.app(scope, receive, sending)
        except RequestRefusedError as refused:
            if not sending.may_refuse:
                raise
            await sending.refuse(refused.answer)
        except asyncio.CancelledError:
            if not sending.absorbs_cancellation():
                raise
        finally:
            sending.leave()
        if sending.ended:
            await sending.finish(*sending.ended)

    async def _session(self, scope: Scope) -> AsgiSession:
        try:
            service = await self._service()
        except KeyturnError as error:
            raise answer_for(error) from error
        session = AsgiSession(Incoming.from_asgi(scope), self._options, service)
        await session.authenticate()
        return session

    async def _service(self) -> AsyncService:
        """Return the service of this process; it may have to be opened."""
        source = self._source
        plain = source.opened if isinstance(source, PerProcess) else source
        if plain is None:
            try:
                opening = asyncio.get_running_loop().run_in_executor(None, service_of, source)
            except RuntimeError as error:
                raise NoThreadError from error
            plain = await opening
        if self._awaited is None or self._awaited.plain is not plain:
            self._awaited = AsyncService(plain)
        return self._awaited

    def _connections(self) -> LiveConnections:
        """Return the live connections of this event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._live:
            for over in [loop for loop in self._live if loop.is_closed()]:
                del self._live[over]
            self._live[loop] = LiveConnections(self._current, self._options.check_every)
        return self._live[loop]

    def _current(self) -> AsyncService:
        assert self._awaited is not None  # a request came before
        return self._awaited

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._service()
        except KeyturnError as error:
            await send({"type": "lifespan.startup.failed", "message": f"keyturn: {error}"})
            raise  # as Starlette does; servers take it with the message

        async def send_after_closing(message: AsgiMessage) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self._close()
            await send(message)

        await self.app(scope, receive, send_after_closing)

    async def _close(self) -> None:
        """Close what was opened for this process; an open service is left to its host."""
        connections = self._live.pop(asyncio.get_running_loop(), None)
        if connections is not None:
            await connections.close()
        if isinstance(self._source, PerProcess) and self._awaited is not None:
            await self._awaited.close()
            self._source.close()  # which takes no time now
