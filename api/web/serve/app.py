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
from keyturn.domain.errors import ClaimError, ExpiryError, KeyturnError, TokenRefusedError
from keyturn.web import answers
from keyturn.web.answers import ErrorAnswer
from keyturn.web.asgi_sending import send_answer
from keyturn.web.options import WebOptions
from keyturn.web.serve import bodies, openapi
from keyturn.web.serve.client_secret import ClientGuard, ClientSecrets
from keyturn.web.serve.forward_auth import ForwardAuth, headers_of
from keyturn.web.serve.metrics import CONTENT_TYPE_LATEST, Figures
from keyturn.web.session import answer_for

Opening = Callable[[], contextlib.AbstractAsyncContextManager[AsyncService]]
"""Opens the service for as long as the application runs."""

Endpoint = Callable[[Request], Awaitable[Response]]

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

    Raises:
        SettingsError: a claim's name can be no header, or two would be the same one.
    """

    claims: tuple[str, ...] = ()
    secrets: ClientSecrets | None = None
    web: WebOptions = field(default_factory=WebOptions)
    timeout: float = 20.0
    log_requests: bool = False

    def __post_init__(self) -> None:
        headers_of(self.claims)


def create_app(open_service: Opening, options: ServeOptions) -> ASGIApp:
    """Return the application.

    Args:
        open_service: opens the service; it is closed when the application stops.
        options: what the operator chose.
    """
    figures = Figures()
    description = openapi.document(options.claims)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, object]]:
        async with open_service() as sessions:
            taking = asyncio.create_task(figures.keep_taking(sessions))
            try:
                yield {"sessions": sessions}  # the state of each request
            finally:
                taking.cancel()

    async def metrics(request: Request) -> Response:
        figures.take(_sessions(request).metrics())
        headers = {**_NO_STORE, "Content-Type": CONTENT_TYPE_LATEST}
        return Response(figures.text(), headers=headers)

    async def describe(_: Request) -> Response:
        return _json(description)

    auth = ForwardAuth(options.claims, options.web)
    routes = [
        Route("/auth", auth, methods=["GET"]),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/metrics", metrics),
    ]
    if options.secrets is not None:
        guard = ClientGuard(options.secrets)
        routes += [
            Route("/introspect", _guarded(guard, introspect), methods=["POST"]),
            Route("/revoke", _guarded(guard, revoke), methods=["POST"]),
            Route("/tokens", _guarded(guard, create), methods=["POST"]),
            Route("/refresh", _guarded(guard, refresh), methods=["POST"]),
            Route("/openapi.json", _guarded(guard, describe)),
        ]
    handlers = {HTTPException: _http_error, KeyturnError: _keyturn_error, Exception: _our_fault}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    return _front(auth, app, options)


async def introspect(request: Request) -> Response:
    """Say whether a token is good, and what it claims (RFC 7662)."""
    token = await bodies.read_form_token(request)
    try:
        who = await _sessions(request).authenticate(token)
    except TokenRefusedError:
        return _json({"active": False})
    return _json({**who.token_claims, "active": True, "token_type": "Bearer"})


async def revoke(request: Request) -> Response:
    """End the session of a token (RFC 7009); a token that is no good is no error."""
    token = await bodies.read_form_token(request)
    await _sessions(request).end_session(token, reason="revoked by a client")
    return _json({})


async def create(request: Request) -> Response:
    """Mint a token, of a new session."""
    asked = await bodies.read_json(request, bodies.NewToken)
    try:
        token = await _sessions(request).create_token(asked.expiry, asked.subject, asked.claims)
    except (ClaimError, ExpiryError) as error:
        raise bodies.refused(400, "invalid_request", str(error)) from error
    return _json(bodies.MintedToken(token))


async def refresh(request: Request) -> Response:
    """Exchange a good token for a new one of the same session."""
    asked = await bodies.read_json(request, bodies.Refresh)
    try:
        token = await _sessions(request).refresh_token(asked.token, asked.expiry)
    except TokenRefusedError as error:
        raise bodies.refused(400, "invalid_grant", str(error)) from None
    except ExpiryError as error:
        raise bodies.refused(400, "invalid_request", str(error)) from error
    return _json(bodies.MintedToken(token))


async def healthy(_: Request) -> Response:
    """Say that this process answers."""
    return _json({"status": "ok"})


async def ready(request: Request) -> Response:
    """Say whether tokens can be checked: 503 if the log cannot be read."""
    await _sessions(request).verify_token("")
    return _json({"status": "ok"})


def _front(auth: ForwardAuth, rest: ASGIApp, options: ServeOptions) -> ASGIApp:
    """Bound the time of requests and log them, without their queries, headers and bodies.

    A proxy asks for each request of its own: its question goes straight to its answer, which
    waits for nothing but the log, and no longer than `lock_timeout`.
    """

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await rest(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if scope["path"] == "/auth" and scope["method"] == "GET":
                await auth(scope, receive, noting)
            else:
                async with asyncio.timeout(options.timeout):
                    await rest(scope, receive, noting)
        except TimeoutError:
            if not status:  # else the client does not read, and the server closes
                await send_answer(answers.unavailable(), noting)
        finally:
            if options.log_requests:
                get_logger().info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round((time.perf_counter() - began) * 1000, 1),
                )

    return front


def _guarded(guard: ClientGuard, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that only clients with the secret get as far as."""

    async def guarded(request: Request) -> Response:
        guard.admit(request.headers)  # before the body is read
        return await endpoint(request)

    return guarded


def _sessions(request: Request) -> AsyncService:
    found: AsyncService = request.state.sessions
    return found


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")  # not_found, method_not_allowed
    return _response_of(ErrorAnswer(error.status_code, code, error.detail, error.headers or {}))


async def _keyturn_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, KeyturnError)
    return _response_of(answer_for(error).answer)


async def _our_fault(_: Request, __: Exception) -> Response:
    return _response_of(
        ErrorAnswer(500, "server_error", "this failed: see the log of the server", {})
    )


def _response_of(answer: ErrorAnswer) -> Response:
    """Return an answer of the core as a response."""
    return Response(answer.body, answer.status, dict(answer.all_headers))


def _json(value: object) -> Response:
    content = msgspec.json.encode(value)
    return Response(content, headers=_NO_STORE, media_type="application/json")
