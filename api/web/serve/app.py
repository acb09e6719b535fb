"""The application: its endpoints, and the errors that they answer with.

No answer holds a traceback; none may be stored by a cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyturn.aio import AsyncService
from keyturn.config.logging import get_logger
from keyturn.domain.errors import (
    ClaimError,
    ExpiryError,
    KeyturnError,
    TokenRefusedError,
)
from keyturn.web import answers
from keyturn.web.answers import ErrorAnswer, RequestRefusedError
from keyturn.web.asgi_sending import send_answer
from keyturn.web.options import WebOptions
from keyturn.web.serve import openapi
from keyturn.web.serve.bodies import (
    MintedToken,
    NewToken,
    Refresh,
    read_form_token,
    read_json,
    refused,
)
from keyturn.web.serve.client_secret import ClientGuard, ClientSecrets
from keyturn.web.serve.forward_auth import ForwardAuth
from keyturn.web.session import answer_for

Opening = Callable[[], contextlib.AbstractAsyncContextManager[AsyncService]]
"""Opens the service for as long as the application runs."""

_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What an operator may choose.

    Args:
        claims: the names of the claims that `/auth` puts into headers.
        secrets: of the clients; None: only `/auth`, health and metrics are served.
        web: names of cookies and trusted origins.
        timeout: seconds that an answer may take, the ten of a request's body included.
        log_requests: whether each request is a line in the log.
    """

    claims: tuple[str, ...] = ()
    secrets: ClientSecrets | None = None
    web: WebOptions = field(default_factory=WebOptions)
    timeout: float = 20.0
    log_requests: bool = False


def create_app(open_service: Opening, options: ServeOptions) -> ASGIApp:
    """Return the application.

    Args:
        open_service: opens the service; it is closed when the application stops.
        options: what the operator chose.
    """
    endpoints = Endpoints(options)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with open_service() as sessions, endpoints.running(sessions):
            yield

    auth = ForwardAuth(lambda: endpoints.sessions, options.claims, options.web)
    routes = [
        Route("/auth", auth, methods=["GET"]),
        Route("/healthz", endpoints.healthy),
        Route("/readyz", endpoints.ready),
        Route("/metrics", endpoints.metrics),
    ]
    if options.secrets is not None:
        guarded = _Guarded(ClientGuard(options.secrets))
        routes += [
            Route("/introspect", guarded(endpoints.introspect), methods=["POST"]),
            Route("/revoke", guarded(endpoints.revoke), methods=["POST"]),
            Route("/tokens", guarded(endpoints.create), methods=["POST"]),
            Route("/refresh", guarded(endpoints.refresh), methods=["POST"]),
            Route("/openapi.json", guarded(endpoints.description)),
        ]
    handlers = {HTTPException: _http_error, KeyturnError: _keyturn_error, Exception: _our_fault}
    app: ASGIApp = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app = _Front(auth, app, options.timeout)
    return _RequestLog(app) if options.log_requests else app


class Endpoints:
    """What the endpoints do. `sessions` is there while the application runs."""

    sessions: AsyncService

    def __init__(self, options: ServeOptions) -> None:
        from keyturn.web.serve.metrics import Figures  # it reads the environment when imported

        self._figures = Figures()
        self._description = msgspec.json.encode(openapi.document(options.claims))

    @contextlib.asynccontextmanager
    async def running(self, sessions: AsyncService) -> AsyncIterator[None]:
        """Serve this service while the block runs."""
        self.sessions = sessions
        task = asyncio.create_task(self._figures.keep_taking(sessions))
        try:
            yield
        finally:
            task.cancel()

    async def introspect(self, request: Request) -> Response:
        """Say whether a token is good, and what it claims (RFC 7662)."""
        token = await read_form_token(request)
        try:
            who = await self.sessions.authenticate(token)
        except TokenRefusedError:
            return _json({"active": False})
        return _json({**who.token_claims, "active": True, "token_type": "Bearer"})

    async def revoke(self, request: Request) -> Response:
        """End the session of a token (RFC 7009); a token that is no good is no error."""
        token = await read_form_token(request)
        await self.sessions.end_session(token, reason="revoked by a client")
        return _json({})

    async def create(self, request: Request) -> Response:
        """Mint a token, of a new session."""
        asked = await read_json(request, NewToken)
        try:
            token = await self.sessions.create_token(asked.expiry, asked.subject, asked.claims)
        except (ClaimError, ExpiryError) as error:
            raise refused(400, "invalid_request", str(error)) from error
        return _json(MintedToken(token))

    async def refresh(self, request: Request) -> Response:
        """Exchange a good token for a new one of the same session."""
        asked = await read_json(request, Refresh)
        try:
            token = await self.sessions.refresh_token(asked.token, asked.expiry)
        except TokenRefusedError as error:
            raise refused(400, "invalid_grant", str(error)) from None
        except ExpiryError as error:
            raise refused(400, "invalid_request", str(error)) from error
        return _json(MintedToken(token))

    async def metrics(self, _: Request) -> Response:
        """Return the figures for Prometheus."""
        from keyturn.web.serve.metrics import CONTENT_TYPE_LATEST

        self._figures.take(self.sessions.metrics())
        headers = {**_NO_STORE, "Content-Type": CONTENT_TYPE_LATEST}
        return Response(self._figures.text(), headers=headers)

    async def healthy(self, _: Request) -> Response:
        """Say that this process answers."""
        return _json({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Say whether tokens can be checked: 503 if the log cannot be read."""
        await self.sessions.verify_token("")
        return _json({"status": "ok"})

    async def description(self, _: Request) -> Response:
        """Return what there is to be asked for, as OpenAPI says it."""
        return Response(self._description, headers=_NO_STORE, media_type="application/json")


class _Guarded:
    """Wraps endpoints so that only clients with the secret get as far as them."""

    def __init__(self, guard: ClientGuard) -> None:
        self._guard = guard

    def __call__(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            self._guard.admit(request.headers)  # before the body is read
            return await endpoint(request)

        return guarded


class _Front:
    """Sends a proxy's question straight to its answer, and bounds the time of all others.

    A proxy asks for each request of its own. What it is answered waits for nothing but the log,
    and no longer than `lock_timeout`.
    """

    def __init__(self, auth: ForwardAuth, rest: ASGIApp, seconds: float) -> None:
        self._auth = auth
        self._rest = rest
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
        elif scope["path"] == "/auth" and scope["method"] == "GET":
            await self._auth(scope, receive, send)
        else:
            await self._in_time(scope, receive, send)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_started = False

        async def noting(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._rest(scope, receive, noting)
        except TimeoutError:
            if not is_started:  # else the client does not read, and the server closes
                await send_answer(answers.unavailable(), send)


class _RequestLog:
    """Logs each request, without its query, headers and body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            took = round((time.perf_counter() - began) * 1000, 1)
            self._log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=took,
            )


def _response_of(answer: ErrorAnswer) -> Response:
    """Return an answer of the core as a response."""
    return Response(answer.body, answer.status, dict(answer.all_headers))


async def _keyturn_error(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestRefusedError):
        return _response_of(error.answer)
    assert isinstance(error, KeyturnError)
    return _response_of(answer_for(error).answer)


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    codes = {404: "not_found", 405: "method_not_allowed"}
    why = {404: "there is nothing at this path", 405: "this path takes another method"}
    code, text = codes.get(status, "invalid_request"), why.get(status, "this cannot be done")
    return _response_of(ErrorAnswer(status, code, text, headers or {}))


async def _our_fault(_: Request, __: Exception) -> Response:
    return _response_of(
        ErrorAnswer(500, "server_error", "this failed: see the log of the server", {})
    )


def _json(value: object) -> Response:
    content = msgspec.json.encode(value)
    return Response(content, headers=_NO_STORE, media_type="application/json")
