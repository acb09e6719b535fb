"""Whether another site may have forged a request that a cookie authenticates.

The order is that of Go's `http.CrossOriginProtection`: what the browser says (Sec-Fetch-Site),
else whether Origin and Host agree. A client that sends neither is no current browser; it shows
with a double-submit token that it can read the site's cookies. The `__Host-` prefix keeps other
hosts of the same domain from setting that cookie.
"""

from __future__ import annotations

from hmac import compare_digest
from urllib.parse import urlsplit

from keyturn.web.answers import RequestRefusedError, forged
from keyturn.web.credentials import cookie_values
from keyturn.web.incoming import CSRF_HEADER, Incoming
from keyturn.web.options import WebOptions

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""They change nothing (RFC 9110, section 9.2.1)."""


def refuse_forged(incoming: Incoming, options: WebOptions) -> None:
    """Refuse a request with the session cookie that another site may have sent.

    Requests that change nothing pass. To open a WebSocket counts as a change, since what it
    says can be read by the page that opened it, whatever its site.

    Raises:
        RequestRefusedError: with 403.
    """
    if incoming.method in SAFE_METHODS and not incoming.is_websocket:
        return
    is_same = is_same_origin(incoming, options)
    if is_same is False:
        raise RequestRefusedError(
            forged("the request comes from a page of another site, which may not change anything")
        )
    if is_same is None:
        sent = cookie_values(incoming.cookie, options.csrf_cookie)
        given = incoming.csrf_token.encode()
        if not given or len(sent) != 1 or not compare_digest(sent[0].encode(), given):
            raise RequestRefusedError(
                forged(
                    "a request with the session cookie and without Origin needs the value of "
                    f"the cookie {options.csrf_cookie} in the header {CSRF_HEADER}"
                )
            )


def is_same_origin(incoming: Incoming, options: WebOptions) -> bool | None:
    """Return whether a page of this origin, or a trusted one, sent it; None: nobody said."""
    if not incoming.fetch_site and not incoming.origin:
        return None
    if incoming.origin and incoming.origin in options.trusted_origins:
        return True
    if incoming.fetch_site:
        return incoming.fetch_site in ("same-origin", "none")
    try:
        return urlsplit(incoming.origin).netloc.lower() == incoming.host.lower() != ""
    except ValueError:  # no address at all
        return False
