"""The session of one request: whose it is, log in, log out, require one.

It is written once, to be awaited: `wsgi_session` has the same for hosts with threads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from keyturn.actors.replies import Authenticated
from keyturn.aio import AsyncService
from keyturn.config.logging import get_logger
from keyturn.domain.errors import KeyturnError, Refusal, TokenRefusedError
from keyturn.domain.limits import MAX_INITIATOR
from keyturn.domain.tokens import SessionToken
from keyturn.web import answers
from keyturn.web.answers import RequestRefusedError
from keyturn.web.cookies import REFRESHED_TOKEN, cleared_cookies, session_cookies
from keyturn.web.credentials import Credential, find_credential
from keyturn.web.csrf import is_same_origin, refuse_forged
from keyturn.web.incoming import Incoming
from keyturn.web.options import WebOptions

REPLACED = "cache-control"
"""The header of a response that ours replaces."""

_NO_STORE = ("Cache-Control", "no-store")


class MiddlewareMissingError(KeyturnError):
    """The app asks for the session of a request, and is not wrapped in the middleware."""

    def __init__(self, middleware: str) -> None:
        super().__init__(f"the app is not wrapped in {middleware}")


class AsgiSession:
    """The session of one request or WebSocket. Get it from `session_of`.

    Attributes:
        who: whose session it is; None if there is no good token.
        refusal: why the token is not good; None if it is, or there is none.
        service: the service, for whatever else a route does with it.
        headers: what is added to those of the response; its own `REPLACED` goes then.

    Raises:
        RequestRefusedError: there are two tokens, or the request may be forged.
    """

    def __init__(self, incoming: Incoming, options: WebOptions, service: AsyncService) -> None:
        self._incoming = incoming
        self._options = options
        self.service = service
        self.who: Authenticated | None = None
        self.refusal: Refusal | None = None
        self.headers: list[tuple[str, str]] = []
        self.credential = find_credential(incoming, options.session_cookie)
        if self.credential is not None and self.credential.is_cookie:
            refuse_forged(incoming, options)

    async def authenticate(self) -> None:
        """Find out whose token it is, if there is one.

        Raises:
            RequestRefusedError: it must be answered at once.
        """
        if self.credential is not None:
            try:
                self.who = await self.service.authenticate(self.credential.token)
            except KeyturnError as error:
                # A cookie is sent to the page with the login, too: there the route decides.
                if not isinstance(error, TokenRefusedError) or not self.credential.is_cookie:
                    raise answer_for(error) from error
                self.refusal = error.reason
        if self._options.required and not self._incoming.is_preflight:
            await self.require()

    async def require(self, max_age: float | None = None) -> Authenticated:
        """Return whose session it is.

        Args:
            max_age: seconds since the session began, at most; None: however long ago that was.

        Raises:
            RequestRefusedError: there is no good token, or the session is too old.
        """
        if self.who is None or self.credential is None:
            raise RequestRefusedError(
                answers.bad_token(self.refusal) if self.refusal else answers.no_token()
            )
        if max_age is None:
            return self.who
        with answering(max_age):
            return await self.service.authenticate(self.credential.token, max_age)

    async def log_in(
        self,
        subject: str,
        *,
        expiry: float | None = None,
        claims: Mapping[str, Any] | None = None,
        cookie: bool = True,
    ) -> SessionToken:
        """Begin a session, once the host knows who it is; return its token.

        If the request came with the cookie of a good session, that session ends: the new cookie
        replaces it, and a stolen copy of the old one is worth nothing then.

        Args:
            subject: whose session it is.
            expiry: seconds that its token lives; None: the manager's default.
            claims: the host's own claims.
            cookie: whether the response sets the cookie. Without, the host hands the token out.

        Raises:
            RequestRefusedError: a page of another site asks, or the service cannot answer.
            ClaimError: a claim is reserved, or is no value of JSON, or the claims are too large
                for a cookie.
            ExpiryError: the expiry is no number of seconds ≥ 0.
        """
        if is_same_origin(self._incoming, self._options) is False:
            raise RequestRefusedError(answers.forged("a page of another site may not log in"))
        has_cookie = self.credential is not None and self.credential.is_cookie
        with answering():
            token = await self.service.create_token(expiry, subject, claims)
            who = await self.service.authenticate(token)
            headers = self._cookies(token, who) if cookie else []
            if cookie and has_cookie and self.who is not None:
                await self.service.end_session(
                    sid=self.who.sid,
                    reason="logged in again",
                    initiator=subject[:MAX_INITIATOR],
                )
        self.who = who
        self.credential = Credential(token, is_cookie=cookie)
        self.headers = [*headers, _NO_STORE]
        return token

    async def log_out(self, reason: str = "logged out") -> bool:
        """End the session, wherever its tokens are, and have the browser forget the cookie.

        Args:
            reason: why, for the record.

        Returns:
            Whether there was a session to end.

        Raises:
            RequestRefusedError: the service cannot answer; the session goes on.
        """
        is_ended = False
        if self.credential is not None:
            by = None if self.who is None else self.who.subject[:MAX_INITIATOR]
            with answering():
                is_ended = await self.service.end_session(
                    self.credential.token, reason=reason, initiator=by
                )
        self.who = None
        self.headers = [*_headers(cleared_cookies(self._options)), _NO_STORE]
        return is_ended

    async def refresh_if_due(self) -> None:
        """Get a newer token, when it is time; nothing if it cannot be had.

        A session that is ended meanwhile gets none, and the response goes out as it is.
        """
        if self.who is None or self.credential is None or self.headers:
            return
        if is_due(self.who, self.service.plain.clock(), self._options.refresh_below):
            with contextlib.suppress(KeyturnError):
                token = await self.service.refresh_token(self.credential.token)
                who = await self.service.authenticate(token)
                is_cookie = self.credential.is_cookie
                new = self._cookies(token, who) if is_cookie else [(REFRESHED_TOKEN, token)]
                self.headers = [*new, _NO_STORE]

    def _cookies(self, token: str, who: Authenticated) -> list[tuple[str, str]]:
        expires_at = who.token_claims.get("exp")
        seconds = None
        if expires_at is not None:
            seconds = max(0, math.ceil(expires_at - self.service.plain.clock()))
        return _headers(session_cookies(token, seconds, self._options, self._incoming.cookie))


@contextlib.contextmanager
def answering(max_age: float | None = None) -> Iterator[None]:
    """Make a refusal of what the service raises in the block.

    A bad argument (a `ValueError`) is the host's mistake, and passes.

    Args:
        max_age: seconds that it was asked about; None: it was not.
    """
    try:
        yield
    except ValueError:
        raise
    except KeyturnError as error:
        raise answer_for(error, max_age) from error


def answer_for(error: KeyturnError, max_age: float | None = None) -> RequestRefusedError:
    """Return the refusal of a request when this error was raised: itself, or by the service.

    Args:
        error: what was raised.
        max_age: seconds that it was asked about; None: it was not.
    """
    if isinstance(error, RequestRefusedError):
        return error
    if isinstance(error, TokenRefusedError):
        return RequestRefusedError(answers.bad_token(error.reason, max_age))
    get_logger().error(
        "a session could not be checked", error=type(error).__name__, detail=str(error)
    )
    return RequestRefusedError(answers.unavailable())


def is_due(who: Authenticated, now: float, refresh_below: float) -> bool:
    """Return whether less than a share of a token's life is left.

    Args:
        who: whose token it is.
        now: seconds since the epoch.
        refresh_below: the share, from 0 to 1.
    """
    begins_at, expires_at = who.token_claims["iat"], who.token_claims.get("exp")
    if expires_at is None:
        return False
    return bool(expires_at - now < (expires_at - begins_at) * refresh_below)


def is_event_stream(headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether a response with these headers is a stream of server-sent events."""
    return any(
        name.lower() == "content-type" and value.lower().startswith("text/event-stream")
        for name, value in headers
    )


def _headers(cookies: list[str]) -> list[tuple[str, str]]:
    return [("Set-Cookie", cookie) for cookie in cookies]
