"""The session of one request of a host with threads (WSGI, Flask, Django)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any, Concatenate, ParamSpec, TypeVar

from keyturn.actors.messages import Message
from keyturn.actors.replies import Authenticated
from keyturn.aio import AsyncService
from keyturn.domain.errors import KeyturnError, Refusal
from keyturn.service import Service
from keyturn.web.incoming import Incoming
from keyturn.web.options import WebOptions
from keyturn.web.processes import ServiceSource, service_of
from keyturn.web.session import AsgiSession, answer_for

P = ParamSpec("P")
R = TypeVar("R")


class _AtOnce(AsyncService):
    """A service that has answered when it is awaited: the caller's own thread waits."""

    def __init__(self, service: Service) -> None:
        no_threads: Any = object()
        super().__init__(service, no_threads)

    async def call(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return method(*args, **kwargs)

    async def ask(self, message: Message[R], *, timeout: float | None = None) -> R:
        return self.plain.ask(message, timeout=timeout)


def _not_awaited(
    method: Callable[Concatenate[AsgiSession, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[WsgiSession, P], R]:
    """Return the form of a method that is not awaited. With such a service it never pauses."""

    @functools.wraps(method)
    def call(self: WsgiSession, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            method(self.awaited, *args, **kwargs).send(None)
        except StopIteration as done:
            result: R = done.value
            return result
        raise AssertionError("it waits for an event loop")

    return call


class WsgiSession:
    """The session of one request. The middleware makes it; the first may open the service.

    Attributes:
        service: the service, for whatever else a route does with it.
        awaited: what does the work.

    Raises:
        RequestRefusedError: the request must be answered at once.
    """

    def __init__(
        self, environ: Mapping[str, Any], options: WebOptions, source: ServiceSource
    ) -> None:
        try:
            self.service = service_of(source)
        except KeyturnError as error:
            raise answer_for(error) from error
        self.awaited = AsgiSession(Incoming.from_wsgi(environ), options, _AtOnce(self.service))
        self.authenticate()

    authenticate = _not_awaited(AsgiSession.authenticate)
    require = _not_awaited(AsgiSession.require)
    log_in = _not_awaited(AsgiSession.log_in)
    log_out = _not_awaited(AsgiSession.log_out)
    refresh_if_due = _not_awaited(AsgiSession.refresh_if_due)

    @property
    def who(self) -> Authenticated | None:
        """Whose session it is; None if there is no good token."""
        return self.awaited.who

    @property
    def refusal(self) -> Refusal | None:
        """Why the token is not good; None if it is, or there is none."""
        return self.awaited.refusal

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What is added to the headers of the response; its own `REPLACED` goes then."""
        return self.awaited.headers

    def goes_on(self) -> bool:
        """Return whether its token is still good."""
        credential = self.awaited.credential
        try:
            return credential is None or self.service.verify_token(credential.token)
        except KeyturnError:  # nothing is accepted that cannot be checked
            return False

    def while_it_goes_on(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Return the parts of a long response up to the end of the session.

        It is asked before each part: one that says nothing stays open, and says nothing.
        """
        return takewhile(lambda _: self.goes_on(), parts)
