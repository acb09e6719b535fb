"""The session of one request of an ASGI app: log in, log out, require one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, MutableMapping
from typing import Any

from keyturn.actors.replies import Authenticated
from keyturn.aio import AsyncService
from keyturn.domain.errors import KeyturnError, TokenRefusedError
from keyturn.domain.tokens import SessionToken
from keyturn.web.incoming import Incoming
from keyturn.web.options import WebOptions
from keyturn.web.session import (
    LOGGED_IN_AGAIN,
    MiddlewareMissingError,
    WebSession,
    answer_for,
    answering,
    as_initiator,
)

KEY = "keyturn.session"
"""Where the middleware puts it in the scope."""


class AsgiSession(WebSession):
    """The session of one request or WebSocket. Get it from `session_of`.

    Attributes:
        service: the service, for whatever else a route does with it.
    """

    __slots__ = ("service",)

    def __init__(self, incoming: Incoming, options: WebOptions, service: AsyncService) -> None:
        super().__init__(incoming, options)
        self.service = service

    async def authenticate(self) -> None:
        """Find out whose token it is, if there is one.

        Raises:
            RequestRefusedError: it must be answered at once.
        """
        if self.credential is not None:
            try:
                self.who = await self.service.authenticate(self.credential.token)
            except TokenRefusedError as error:
                self.note_refusal(error)
            except KeyturnError as error:
                raise answer_for(error) from error
        if self.options.required:
            self.required()

    async def require(self, max_age: float | None = None) -> Authenticated:
        """Return whose session it is.

        Args:
            max_age: seconds since the session began, at most; None: however long ago that was.

        Raises:
            RequestRefusedError: there is no good token, or the session is too old.
        """
        who = self.required()
        if max_age is None or self.credential is None:
            return who
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
        self.refuse_login_from_elsewhere()
        with answering():
            token = await self.service.create_token(expiry, subject, claims)
            who = await self.service.authenticate(token)
            cookies = (
                self.session_cookies(token, who, self.service.plain.clock()) if cookie else None
            )
            replaced = self.replaced_session() if cookie else None
            if replaced is not None:
                await self.service.end_session(
                    sid=replaced, reason=LOGGED_IN_AGAIN, initiator=as_initiator(subject)
                )
        self.note_login(token, who, cookies)
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
            by = None if self.who is None else as_initiator(self.who.subject)
            try:
                is_ended = await self.service.end_session(
                    token=self.credential.token, reason=reason, initiator=by
                )
            except KeyturnError as error:
                raise answer_for(error) from error
        self.note_logout()
        return is_ended

    async def refresh_if_due(self) -> None:
        """Get a newer token, when it is time; nothing if it cannot be had.

        A session that is ended meanwhile gets none, and the response goes out as it is.
        """
        now = self.service.plain.clock()
        if self.credential is not None and self.is_refresh_due(now):
            with contextlib.suppress(KeyturnError):
                token = await self.service.refresh_token(self.credential.token)
                self.note_refresh(token, await self.service.authenticate(token), now)


def session_of(scope: MutableMapping[str, Any]) -> AsgiSession:
    """Return the session of a request or WebSocket.

    Raises:
        MiddlewareMissingError: the app is not wrapped in `KeyturnMiddleware`.
    """
    session = scope.get(KEY)
    if not isinstance(session, AsgiSession):
        raise MiddlewareMissingError(
            "the app is not wrapped in keyturn.web.asgi.KeyturnMiddleware"
        )
    return session
