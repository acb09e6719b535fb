"""FastAPI: a session as a dependency, with its security schemes in the OpenAPI document.

    app.add_middleware(KeyturnMiddleware, service=per_process(path="data"))

    @app.get("/me")
    async def me(who: Annotated[Authenticated, Depends(session)]) -> str:
        return who.subject

The middleware of `keyturn.web.asgi` does the work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, TypeAlias, overload

from fastapi import Depends
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer, SecurityBase
from fastapi.requests import HTTPConnection
from fastapi.responses import Response
from fastapi.security.base import SecurityBase as SecurityScheme

from keyturn.actors.replies import Authenticated
from keyturn.domain.limits import check_seconds
from keyturn.domain.tokens import SessionToken
from keyturn.web.answers import RequestRefusedError
from keyturn.web.asgi import KeyturnMiddleware, session_of
from keyturn.web.options import WebOptions

__all__ = [
    "Authenticated",
    "KeyturnMiddleware",
    "answer_refusal",
    "log_in",
    "log_out",
    "session",
]

Dependency: TypeAlias = Callable[..., Coroutine[Any, Any, Authenticated]]


class _Documented(SecurityScheme):
    """A security scheme of the OpenAPI document. It checks nothing: the middleware did."""

    def __init__(self, scheme_name: str, model: SecurityBase) -> None:
        self.scheme_name = scheme_name
        self.model = model

    def __call__(self) -> None:
        """Be a dependency, or else it would be in no document."""


_BEARER = _Documented("keyturn_bearer", HTTPBearer(bearerFormat="JWT"))
_COOKIE = _Documented(
    "keyturn_cookie",
    APIKey.model_validate({"in": APIKeyIn.cookie, "name": WebOptions().session_cookie}),
)


def _dependency(max_age: float | None) -> Dependency:
    if max_age is not None:
        check_seconds(max_age, "max_age")

    async def require(
        connection: HTTPConnection,
        bearer: Annotated[None, Depends(_BEARER)],  # noqa: ARG001 - for the document
        cookie: Annotated[None, Depends(_COOKIE)],  # noqa: ARG001 - for the document
    ) -> Authenticated:
        return await session_of(connection.scope).require(max_age)

    return require


_any_session = _dependency(None)


@overload
def session(*, max_age: float) -> Dependency: ...
@overload
def session(
    connection: HTTPConnection, bearer: None = None, cookie: None = None
) -> Coroutine[Any, Any, Authenticated]: ...
@functools.wraps(_any_session)  # FastAPI sees through it, to the parameters of the dependency
def session(
    *args: Any, max_age: float | None = None, **kwargs: Any
) -> Dependency | Coroutine[Any, Any, Authenticated]:
    """Return whose session it is: `Depends(session)`, or `Depends(session(max_age=300))`.

    It is for HTTP routes and for WebSockets. Without a good token the answer is 401, or the
    WebSocket is closed with 4401.

    Args:
        args: what FastAPI passes.
        max_age: seconds since the session began, at most.
        kwargs: what FastAPI passes.

    Raises:
        DurationError: `max_age` is no number of seconds ≥ 0.
    """
    return _any_session(*args, **kwargs) if max_age is None else _dependency(max_age)


async def answer_refusal(connection: HTTPConnection, error: Exception) -> Response:
    """Answer a request that a route refused, where the middleware is around the whole app.

    `app.add_exception_handler(RequestRefusedError, answer_refusal)`: FastAPI makes a 500 of what
    a route raises before a middleware outside of it could see it.
    """
    if not isinstance(error, RequestRefusedError) or connection.scope["type"] == "websocket":
        raise error  # the middleware closes a WebSocket
    answer = error.answer
    return Response(answer.body, answer.status, dict(answer.all_headers))


async def log_in(
    connection: HTTPConnection,
    subject: str,
    *,
    expiry: float | None = None,
    claims: Mapping[str, Any] | None = None,
    cookie: bool = True,
) -> SessionToken:
    """Begin a session, once the host knows who it is: see `AsgiSession.log_in`."""
    found = session_of(connection.scope)
    return await found.log_in(subject, expiry=expiry, claims=claims, cookie=cookie)


async def log_out(connection: HTTPConnection, reason: str = "logged out") -> bool:
    """End the session of a request: see `AsgiSession.log_out`."""
    return await session_of(connection.scope).log_out(reason)
