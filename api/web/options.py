"""How sessions travel on the web: one value for every framework."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """What a host may choose.

    Args:
        required: whether a request without a good token is answered with 401 at once. Else the
            host decides, route by route.
        plain_http: for development without TLS only. The cookies then have other names and no
            `Secure`, since browsers take `__Host-` cookies over HTTPS alone.
        refresh_below: a token is refreshed when less than this share of its life is left, from
            0 (never) to 1 (always).
        trusted_origins: other origins, such as `https://app.example.com`, whose pages may send
            requests with the cookie that change something.
        check_every: seconds after which a live connection's token is checked again, besides
            the checks when the log changes.
    """

    required: bool = False
    plain_http: bool = False
    refresh_below: float = 0.5
    trusted_origins: tuple[str, ...] = ()
    check_every: float = 10.0

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that holds the token."""
        return "dev-session" if self.plain_http else "__Host-session"

    @property
    def csrf_cookie(self) -> str:
        """The name of the cookie whose value a client without Origin sends back in a header."""
        return "dev-csrf" if self.plain_http else "__Host-csrf"
