"""The session of one request: what is the same for ASGI and WSGI. It never asks the service."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator

from keyturn.actors.replies import Authenticated
from keyturn.config.logging import get_logger
from keyturn.domain.errors import KeyturnError, Refusal, TokenRefusedError
from keyturn.domain.limits import MAX_INITIATOR
from keyturn.web import answers
from keyturn.web.answers import RequestRefusedError
from keyturn.web.cookies import SetCookie, cleared_cookies, session_cookies
from keyturn.web.credentials import Credential, find_credential
from keyturn.web.csrf import is_same_origin, refuse_forged
from keyturn.web.incoming import Incoming
from keyturn.web.options import WebOptions
from keyturn.web.sliding import REFRESHED_TOKEN, is_due


class MiddlewareMissingError(KeyturnError):
    """The app asks for the session of a request, and is not wrapped in the middleware."""


class WebSession:
    """Whose request it is, and what its response has to say of that.

    Args:
        incoming: the request.
        options: of the web.

    Attributes:
        who: whose session it is; None if there is no good token.
        refusal: why the token is not good; None if it is, or there is none.

    Raises:
        RequestRefusedError: there are two tokens, or the request may be forged.
    """

    __slots__ = (
        "_headers",
        "_incoming",
        "_is_settled",
        "credential",
        "options",
        "refusal",
        "who",
    )

    def __init__(self, incoming: Incoming, options: WebOptions) -> None:
        self._incoming = incoming
        self.options = options
        self._headers: list[tuple[str, str]] = []
        self._is_settled = False
        self.who: Authenticated | None = None
        self.refusal: Refusal | None = None
        self.credential = find_credential(incoming, options.session_cookie)
        if self.credential is not None and self.credential.is_cookie:
            refuse_forged(incoming, options)

    def note_refusal(self, error: TokenRefusedError) -> None:
        """Note that the token is not good.

        Who sends one as Bearer means it, and is told at once. A cookie is sent with every
        request, to the page with the login too, so there the route decides.

        Raises:
            RequestRefusedError: the token was sent as Bearer.
        """
        self.refusal = error.reason
        if self.credential is not None and not self.credential.is_cookie:
            raise RequestRefusedError(answers.bad_token(error.reason)) from error

    def required(self) -> Authenticated:
        """Return whose session it is.

        Raises:
            RequestRefusedError: there is no good token.
        """
        if self.who is not None:
            return self.who
        if self.refusal is None:
            raise RequestRefusedError(answers.no_token())
        raise RequestRefusedError(answers.bad_token(self.refusal))

    def refuse_login_from_elsewhere(self) -> None:
        """Refuse to log in who was sent here by the page of another site.

        Raises:
            RequestRefusedError: with 403.
        """
        if is_same_origin(self._incoming, self.options) is False:
            raise RequestRefusedError(answers.forged("a page of another site may not log in"))

    def replaced_session(self) -> str | None:
        """Return the id of the session whose cookie a new one replaces; None if there is none."""
        is_cookie = self.credential is not None and self.credential.is_cookie
        return self.who.sid if self.who is not None and is_cookie else None

    def note_login(
        self, token: str, who: Authenticated, cookies: list[tuple[str, str]] | None
    ) -> None:
        """Have the response begin a session, with cookies or (None) without."""
        self.who = who
        self.credential = Credential(token, is_cookie=cookies is not None)
        self._is_settled = True
        self._headers = [*(cookies or []), _NO_STORE]

    def note_logout(self) -> None:
        """Have the response make the browser forget its session."""
        self.who = None
        self._is_settled = True
        self._headers = [*_set(cleared_cookies(self.options)), _NO_STORE]

    def is_refresh_due(self, now: float) -> bool:
        """Return whether the response should bring a newer token."""
        return (
            self.who is not None
            and not self._is_settled
            and is_due(self.who, now, self.options.refresh_below)
        )

    def note_refresh(self, token: str, who: Authenticated, now: float) -> None:
        """Have the response bring a newer token, the way the old one came."""
        if self.credential is not None and self.credential.is_cookie:
            self._headers = self.session_cookies(token, who, now)
        else:
            self._headers = [(REFRESHED_TOKEN, token)]
        self._headers.append(_NO_STORE)

    def session_cookies(
        self, token: str, who: Authenticated, now: float
    ) -> list[tuple[str, str]]:
        """Return the headers that set the cookies of a session.

        Raises:
            ClaimError: no browser would keep the cookie, since the claims are too large.
        """
        expires_at = who.token_claims.get("exp")
        seconds = None if expires_at is None else max(0, math.ceil(expires_at - now))
        return _set(session_cookies(token, seconds, self.options, self._incoming.cookie))

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What is added to the headers of the response; its own `REPLACED` goes then."""
        return self._headers


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
    """Return the refusal of a request when the service raised this error.

    Args:
        error: what it raised.
        max_age: seconds that it was asked about; None: it was not.
    """
    if isinstance(error, TokenRefusedError):
        return RequestRefusedError(answers.bad_token(error.reason, max_age))
    get_logger().error(
        "a session could not be checked", error=type(error).__name__, detail=str(error)
    )
    return RequestRefusedError(answers.unavailable())


def as_initiator(subject: str) -> str:
    """Return a subject as the record takes it: who did it, in so many characters at most."""
    return subject[:MAX_INITIATOR]


def is_event_stream(headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether a response with these headers is a stream of server-sent events."""
    return any(
        name.lower() == "content-type" and value.lower().startswith("text/event-stream")
        for name, value in headers
    )


LOGGED_IN_AGAIN = "logged in again"
"""Why a session ended whose cookie was replaced."""

REPLACED = "cache-control"
"""The header of a response that ours replaces."""

_NO_STORE = ("Cache-Control", "no-store")


def _set(cookies: list[SetCookie]) -> list[tuple[str, str]]:
    return [("Set-Cookie", cookie) for cookie in cookies]
