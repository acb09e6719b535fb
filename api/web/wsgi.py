"""WSGI middleware: whose request it is, for any framework that speaks WSGI (PEP 3333).

    application = KeyturnMiddleware(application, per_process(path="data"))

`environ["keyturn"]` is then the `Authenticated` of a request with a good token, else None, and
`session_of(environ)` logs in and out. A stream of server-sent events ends with its session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from keyturn.web.answers import ErrorAnswer, RequestRefusedError
from keyturn.web.options import WebOptions
from keyturn.web.processes import ServiceSource
from keyturn.web.session import REPLACED, MiddlewareMissingError, is_event_stream
from keyturn.web.wsgi_session import WsgiSession

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["KeyturnMiddleware", "WsgiSession", "session_of"]

_SESSION = "keyturn.session"


def session_of(environ: WSGIEnvironment) -> WsgiSession:
    """Return the session of a request.

    Raises:
        MiddlewareMissingError: the app is not wrapped in `KeyturnMiddleware`.
    """
    session = environ.get(_SESSION)
    if not isinstance(session, WsgiSession):
        raise MiddlewareMissingError("keyturn.web.wsgi.KeyturnMiddleware")
    return session


class KeyturnMiddleware:
    """Says whose each request is.

    Args:
        app: the app.
        service: an open one, or what `per_process` returns: that is opened at the first request
            of each process, after the server has forked.
        options: of the web.
    """

    def __init__(
        self,
        app: WSGIApplication,
        service: ServiceSource,
        options: WebOptions = WebOptions(),  # noqa: B008 - it is frozen
    ) -> None:
        self.app = app
        self._source = service
        self._options = options

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request."""
        try:
            session = WsgiSession(environ, self._options, self._source)
        except RequestRefusedError as refused:
            return _answered(refused.answer, environ, start_response)
        environ["keyturn"] = session.who
        environ[_SESSION] = session
        start = _Start(start_response, session)
        body: Iterable[bytes] = ()
        try:
            body = parts = self.app(environ, start)
            if not start.is_started:  # as a generator does, with its first part
                rest = iter(body)
                parts = chain(list(islice(rest, 1)), rest)
        except RequestRefusedError as refused:
            if start.is_started:
                raise
            parts = _answered(refused.answer, environ, start)
        if start.is_stream:
            parts = session.while_it_goes_on(parts)
        return body if parts is body else _Parts(parts, body)


class _Start:
    """Starts the response of an app, with what the session has to say in it."""

    def __init__(self, start_response: StartResponse, session: WsgiSession) -> None:
        self._start_response = start_response
        self._session = session
        self.is_started = False
        self.is_stream = False

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Any:
        self.is_started = True
        self.is_stream = is_event_stream(headers)
        self._session.refresh_if_due()
        if ours := self._session.headers:
            headers = [(n, v) for n, v in headers if n.lower() != REPLACED] + ours
        return self._start_response(status, headers, *([exc_info] if exc_info else []))


class _Parts:
    """The parts of a response, and the body of the app that they come from."""

    def __init__(self, parts: Iterable[bytes], body: Iterable[bytes]) -> None:
        self._parts = parts
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        """Close the body, as the server does in the end."""
        if hasattr(self._body, "close"):
            self._body.close()


def _answered(
    answer: ErrorAnswer, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.all_headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
