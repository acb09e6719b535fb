"""Django: a middleware, and a decorator for views that need a session.

    MIDDLEWARE = [..., "keyturn.web.django.KeyturnMiddleware"]
    KEYTURN_SERVICE = per_process(path="data")
    KEYTURN_OPTIONS = WebOptions()

    @session_required
    def me(request):
        return JsonResponse({"user": request.keyturn.subject})

`request.keyturn` is the `Authenticated` of a request with a good token, else None.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from asgiref.sync import sync_to_async
from django import conf
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.utils.deprecation import MiddlewareMixin

from keyturn.domain.limits import check_seconds
from keyturn.web.answers import RequestRefusedError
from keyturn.web.options import WebOptions
from keyturn.web.session import MiddlewareMissingError, is_event_stream
from keyturn.web.wsgi_session import WsgiSession

__all__ = [
    "KeyturnMiddleware",
    "RefusalMiddleware",
    "WsgiSession",
    "session_of",
    "session_required",
]

P = ParamSpec("P")
R = TypeVar("R")
View = Callable[Concatenate[HttpRequest, P], R]


class RefusalMiddleware(MiddlewareMixin):  # type: ignore[misc] # Django has no types of its own
    """Answers a request that a view refused, where the middleware is around the ASGI application.

    Django makes a 500 of what a view raises before that could see it.
    """

    def process_exception(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django passes it
        exception: Exception,
    ) -> HttpResponseBase | None:
        """Answer a request that a view refused."""
        return _answered(exception) if isinstance(exception, RequestRefusedError) else None


class KeyturnMiddleware(RefusalMiddleware):
    """Says whose each request is. The service is opened at the first one of each process."""

    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        super().__init__(get_response)
        self._source = conf.settings.KEYTURN_SERVICE
        self._options = getattr(conf.settings, "KEYTURN_OPTIONS", WebOptions())

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve one request."""
        try:
            session = WsgiSession(request.META, self._options, self._source)
        except RequestRefusedError as refused:
            return _answered(refused)
        request.keyturn = session.who
        setattr(request, _SESSION, session)
        response = self.get_response(request)
        session.refresh_if_due()
        for name, value in session.headers:
            if name == "Set-Cookie":
                response.cookies.load(value)
            else:
                response[name] = value
        if response.streaming and is_event_stream(response.items()):
            assert isinstance(response, StreamingHttpResponse)
            parts = response.streaming_content
            response.streaming_content = (
                _while_it_goes_on(parts, session)
                if response.is_async
                else session.while_it_goes_on(parts)
            )
        return response


def session_of(request: HttpRequest) -> WsgiSession:
    """Return the session of a request: `who` it is, `log_in`, `log_out`.

    Raises:
        MiddlewareMissingError: `KeyturnMiddleware` is not among the middlewares.
    """
    session = getattr(request, _SESSION, None)
    if not isinstance(session, WsgiSession):
        raise MiddlewareMissingError("keyturn.web.django.KeyturnMiddleware: see MIDDLEWARE")
    return session


@overload
def session_required(view: View[P, R]) -> View[P, R]: ...
@overload
def session_required(*, max_age: float | None = None) -> Callable[[View[P, R]], View[P, R]]: ...
def session_required(
    view: View[P, R] | None = None, *, max_age: float | None = None
) -> View[P, R] | Callable[[View[P, R]], View[P, R]]:
    """Answer with 401 unless the request has a good token.

    Args:
        view: what is decorated, a function or an `async` one; its first argument is the request.
        max_age: seconds since the session began, at most.

    Raises:
        DurationError: it is no number of seconds ≥ 0.
    """
    if max_age is not None:
        check_seconds(max_age, "max_age")
    if view is None:
        return functools.partial(session_required, max_age=max_age)

    @functools.wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> R:
        session_of(request).require(max_age)
        return view(request, *args, **kwargs)

    @functools.wraps(view)
    async def guarded_async(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        await sync_to_async(session_of(request).require)(max_age)
        return await cast(Any, view)(request, *args, **kwargs)

    return cast(View[P, R], guarded_async) if inspect.iscoroutinefunction(view) else guarded


_SESSION = "keyturn_session"


async def _while_it_goes_on(
    parts: AsyncIterator[bytes], session: WsgiSession
) -> AsyncIterator[bytes]:
    async for part in parts:
        if not await sync_to_async(session.goes_on)():
            return
        yield part


def _answered(refused: RequestRefusedError) -> HttpResponse:
    answer = refused.answer
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.all_headers))
