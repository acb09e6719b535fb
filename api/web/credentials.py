"""Where the token of a request is: the Authorization header, or the session cookie."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from keyturn.web.answers import RequestRefusedError, bad_request
from keyturn.web.incoming import Incoming


@dataclass(frozen=True, slots=True)
class Credential:
    """A token that came with a request, good or not."""

    token: str = field(repr=False)
    is_cookie: bool


def find_credential(incoming: Incoming, cookie_name: str) -> Credential | None:
    """Return the token of a request; None if there is none.

    The Authorization header counts if its scheme is Bearer (RFC 6750, section 2.1).

    Args:
        incoming: the request.
        cookie_name: of the session cookie.

    Raises:
        RequestRefusedError: there are two tokens, or one is in the query string.
    """
    if "access_token" in incoming.query and "access_token" in dict(
        parse_qsl(incoming.query, keep_blank_values=True)
    ):
        raise RequestRefusedError(
            bad_request(
                "a token in the query string ends up in logs and in the browser's history: "
                "send it in the Authorization header"
            )
        )
    found = []
    scheme, _, rest = incoming.authorization.partition(" ")
    if scheme.lower() == "bearer":  # with a comma, if the header was sent twice
        found += [Credential(token.strip(" "), is_cookie=False) for token in rest.split(",")]
    if cookie_name in incoming.cookie:
        tokens = cookie_values(incoming.cookie, cookie_name)
        found += [Credential(token, is_cookie=True) for token in tokens]
    if len(found) > 1:
        why = "there are two tokens, in headers or cookies: send one"
        raise RequestRefusedError(bad_request(why))
    return found[0] if found else None


def cookie_values(header: str, name: str) -> list[str]:
    """Return the values of the cookies of this name, in their order.

    Args:
        header: the Cookie header (RFC 6265, section 4.2.1).
        name: which cookie.
    """
    pairs = [pair.partition("=") for pair in header.split(";") if name in pair]
    # No other white space: a sibling host may set a cookie called "\x85__Host-session".
    return [value.strip(' \t"') for key, _, value in pairs if key.strip(" \t") == name]
