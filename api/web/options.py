"""How sessions travel on the web: one value for every framework."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keyturn.domain.errors import SettingsError

_IS_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+").fullmatch


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

    Raises:
        SettingsError: an option has a bad value.
    """

    required: bool = False
    plain_http: bool = False
    refresh_below: float = 0.5
    trusted_origins: tuple[str, ...] = ()
    check_every: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.refresh_below <= 1:
            raise _bad("refresh_below", "a share from 0 to 1")
        if not 0 < self.check_every < float("inf"):
            raise _bad("check_every", "a finite number of seconds above 0")
        if isinstance(self.trusted_origins, str):  # of which each part would be trusted
            raise _bad("trusted_origins", "a tuple of origins")
        if not all(map(_IS_ORIGIN, self.trusted_origins)):  # "null" is the origin of any page
            raise _bad(
                "trusted_origins", "origins as browsers send them: https://app.example.com"
            )

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that holds the token."""
        return "dev-session" if self.plain_http else "__Host-session"

    @property
    def csrf_cookie(self) -> str:
        """The name of the cookie whose value a client without Origin sends back in a header."""
        return "dev-csrf" if self.plain_http else "__Host-csrf"


def _bad(option: str, what: str) -> SettingsError:
    return SettingsError(f"{option} is {what}", key=option, source="WebOptions")
