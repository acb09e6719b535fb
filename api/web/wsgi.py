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

from keyturn.web.answers import Answer, RequestRefusedError
from keyturn.web.options import WebOptions
from keyturn.web.processes import ServiceSource
from keyturn.web.session import REPLACED, MiddlewareMissingError
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
        is_stream = False

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal is_stream
            is_stream = is_event_stream(dict(headers).get("Content-Type"))
            session.refresh_if_due()
            if session.headers:
                headers = [(n, v) for n, v in headers if n.lower() != REPLACED] + session.headers
            return start_response(status, headers, *([exc_info] if exc_info else []))

        try:
            body = self.app(environ, start)
        except RequestRefusedError as refused:
            return _answered(refused.answer, environ, start)
        return Stream(body, session) if is_stream else body


class Stream:
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
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


def is_event_stream(content_type: str | None) -> bool:
    """Return whether a response is a stream of server-sent events."""
    return content_type is not None and content_type.lower().startswith("text/event-stream")


def _answered(
    answer: Answer, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.all_headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
