"""WSGI middleware: whose request it is, for any framework that speaks WSGI (PEP 3333).

    application = KeyturnMiddleware(application, per_process(path="data"))

`environ["keyturn"]` is then the `Authenticated` of a request with a good token, else None, and
`session_of(environ)` logs in and out. A stream of server-sent events ends with its session.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from http import HTTPStatus
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
        raise MiddlewareMissingError(
            "the app is not wrapped in keyturn.web.wsgi.KeyturnMiddleware"
        )
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
            session = WsgiSession.begin(environ, self._options, self._source)
        except RequestRefusedError as refused:
            return _answered(refused.answer, environ, start_response)
        environ["keyturn"] = session.who
        environ[_SESSION] = session
        start = _Start(start_response, session)
        try:
            body = self.app(environ, start)
        except RequestRefusedError as refused:
            return _answered(refused.answer, environ, start)
        if not start.is_started:
            return _LateBody(body, environ, start)
        return SessionStream(body, session) if start.is_stream else body


class _Start:
    """Starts the response of an app, with what the session has to say in it."""

    def __init__(self, start_response: StartResponse, session: WsgiSession) -> None:
        self._start_response = start_response
        self.session = session
        self.is_started = False
        self.is_stream = False

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Any:
        self.is_started = True
        self.is_stream = is_event_stream(headers)
        self.session.refresh_if_due()
        ours = self.session.headers
        if ours:
            headers = [(n, v) for n, v in headers if n.lower() != REPLACED] + ours
        return self._start_response(status, headers, *([exc_info] if exc_info else []))


class _LateBody:
    """The parts of a response that is started with the first of them, as by a generator."""

    def __init__(self, parts: Iterable[bytes], environ: WSGIEnvironment, start: _Start) -> None:
        self._parts = parts
        self._environ = environ
        self._start = start

    def __iter__(self) -> Iterator[bytes]:
        """Yield them; if the app refuses the request, the answer to that."""
        parts = iter(self._parts)
        try:
            first = list(itertools.islice(parts, 1))
        except RequestRefusedError as refused:
            if self._start.is_started:
                raise
            yield from _answered(refused.answer, self._environ, self._start)
            return
        whole = itertools.chain(first, parts)
        yield from SessionStream(whole, self._start.session) if self._start.is_stream else whole

    def close(self) -> None:
        """Close what they come from, as the server does in the end."""
        _close(self._parts)


class SessionStream:
    """The parts of a response, while the token of its session is good.

    It is asked before each part: one that says nothing stays open, and says nothing.
    """

    def __init__(self, parts: Iterable[bytes], session: WsgiSession) -> None:
        self._parts = parts
        self._session = session

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""
        return itertools.takewhile(lambda part: self._session.goes_on(), self._parts)

    def close(self) -> None:
        """Close what they come from, as the server does in the end."""
        _close(self._parts)


def _close(parts: Iterable[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        close()


def _answered(
    answer: ErrorAnswer, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.all_headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
