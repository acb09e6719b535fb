"""Flask: an extension, and a decorator for routes that need a session.

app = Flask(__name__)
init_app(app, per_process(path="data"))

@app.get("/me")
@session_required
def me():
    return {"user": current_session().who.subject}
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast, overload

import flask

from keyturn.domain.limits import check_seconds
from keyturn.web.answers import RequestRefusedError
from keyturn.web.options import WebOptions
from keyturn.web.processes import ServiceSource
from keyturn.web.wsgi import KeyturnMiddleware, WsgiSession, session_of

__all__ = ["WsgiSession", "current_session", "init_app", "session_required"]

P = ParamSpec("P")
R = TypeVar("R")


def init_app(
    app: flask.Flask,
    service: ServiceSource,
    options: WebOptions = WebOptions(),  # noqa: B008 - it is frozen
) -> None:
    """Have an app know the session of each request.

    Args:
        app: the app.
        service: an open one, or what `per_process` returns.
        options: of the web.
    """
    # Flask's own way to hook in a middleware:
    app.wsgi_app = KeyturnMiddleware(app.wsgi_app, service, options)  # type: ignore[method-assign]
    app.register_error_handler(RequestRefusedError, _answered)


def current_session() -> WsgiSession:
    """Return the session of the current request: `who` it is, `log_in`, `log_out`."""
    return session_of(flask.request.environ)


@overload
def session_required(view: Callable[P, R]) -> Callable[P, R]: ...
@overload
def session_required(
    *, max_age: float | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def session_required(
    view: Callable[P, R] | None = None, *, max_age: float | None = None
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Answer with 401 unless the request has a good token.

    Args:
        view: what is decorated, a function or an `async` one; it goes below `@app.route`.
        max_age: seconds since the session began, at most.

    Raises:
        DurationError: it is no number of seconds ≥ 0.
    """
    if max_age is not None:
        check_seconds(max_age, "max_age")
    if view is None:
        return functools.partial(session_required, max_age=max_age)

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        current_session().require(max_age)
        return cast(R, flask.current_app.ensure_sync(view)(*args, **kwargs))

    return guarded


def _answered(refused: RequestRefusedError) -> flask.Response:
    answer = refused.answer
    return flask.Response(answer.body, answer.status, answer.all_headers)
