"""How sessions travel on the web: one value for every framework."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keyturn.domain.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """What a host may choose.

    Args:
        required: whether a request without a good token is answered with 401 at once, but for
            a preflight (CORS), which brings none. Else the host decides, route by route.
        plain_http: for development without TLS only. The cookies then have other names and no
            `Secure`, since browsers take `__Host-` cookies over HTTPS alone.
        refresh_below: a token is refreshed when less than this share of its life is left, from
            0 (never) to 1 (always).
        trusted_origins: other origins, such as `https://app.example.com`, whose pages may send
            requests with the cookie that change something: as browsers send them, without a path.
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
        if not all(map(_is_origin, self.trusted_origins)):
            raise _bad(
                "trusted_origins",
                "a tuple of origins as browsers send them, such as https://app.example.com: a "
                "scheme and a host in lower case, and a port if it is not the scheme's own",
            )

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that holds the token."""
        return "dev-session" if self.plain_http else "__Host-session"

    @property
    def csrf_cookie(self) -> str:
        """The name of the cookie whose value a client without Origin sends back in a header."""
        return "dev-csrf" if self.plain_http else "__Host-csrf"


_ORIGIN = re.compile(
    r"(?!https://.*:443$|http://.*:80$)"
    r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
)


def _is_origin(text: object) -> bool:
    return isinstance(text, str) and _ORIGIN.fullmatch(text) is not None


def _bad(option: str, what: str) -> SettingsError:
    return SettingsError(f"{option} is {what}", key=option, source="WebOptions")
