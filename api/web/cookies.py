"""The headers that bring a session to its client.

Cookies are those of RFC 6265bis: `__Host-`, Secure, HttpOnly, SameSite.
"""

from __future__ import annotations

import secrets

from keyturn.domain.errors import ClaimError
from keyturn.web.credentials import cookie_values
from keyturn.web.options import WebOptions

REFRESHED_TOKEN = "Refreshed-Token"  # noqa: S105 - the name of a header
"""The header with the new token, for a client that sent the old one as Bearer."""

MAX_BYTES = 4_096
"""Of a cookie's name and value: browsers drop a larger one (RFC 6265bis, section 5.6)."""


def session_cookies(
    token: str, seconds: int | None, options: WebOptions, cookie_header: str = ""
) -> list[str]:
    """Return the Set-Cookie headers that begin a session in a browser, or go on with it.

    Args:
        token: of the session.
        seconds: that the token lives; None: for ever, and the cookies until the browser closes.
        options: of the web.
        cookie_header: what the browser sent, whose CSRF cookie it keeps.

    Raises:
        ClaimError: the token is too large for a cookie, since its claims are.
    """
    size = len(options.session_cookie) + len(token)
    if size > MAX_BYTES:
        raise ClaimError(
            f"the claims are too large for a cookie: with its name it has {size} bytes, and "
            f"browsers drop one of more than {MAX_BYTES}: keep less in the claims, or log in "
            "with cookie=False"
        )
    known = cookie_values(cookie_header, options.csrf_cookie)
    csrf = known[0] if known and _is_csrf_token(known[0]) else secrets.token_urlsafe(18)
    return _cookies(token, csrf, seconds, options)


def cleared_cookies(options: WebOptions) -> list[str]:
    """Return the cookies that have a browser forget its session."""
    return _cookies("", "", 0, options)


def _cookies(token: str, csrf: str, seconds: int | None, options: WebOptions) -> list[str]:
    age = "" if seconds is None else f"; Max-Age={seconds}"
    secure = "" if options.plain_http else "; Secure"
    attributes = f"; Path=/{age}{secure}; SameSite=Lax"
    return [
        f"{options.session_cookie}={token}{attributes}; HttpOnly",
        f"{options.csrf_cookie}={csrf}{attributes}",  # for the page's scripts to read
    ]


def _is_csrf_token(text: str) -> bool:
    return len(text) == 24 and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
