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
    if "access_token" in incoming.query and _has_query_token(incoming.query):
        raise RequestRefusedError(
            bad_request(
                "a token in the query string ends up in logs and in the browser's history: "
                "send it in the Authorization header"
            )
        )
    found = None
    scheme, _, rest = incoming.authorization.partition(" ")
    if scheme.lower() == "bearer":
        if "," in rest:
            raise _two_tokens("two Authorization headers")
        found = Credential(rest.strip(" "), is_cookie=False)
    if cookie_name in incoming.cookie:
        for token in cookie_values(incoming.cookie, cookie_name):
            if found is not None:
                both = "two session cookies" if found.is_cookie else "a header and a cookie"
                raise _two_tokens(both)
            found = Credential(token, is_cookie=True)
    return found


def cookie_values(header: str, name: str) -> list[str]:
    """Return the values of the cookies of this name, in their order.

    Args:
        header: the Cookie header (RFC 6265, section 4.2.1).
        name: which cookie.
    """
    pairs = [pair.partition("=") for pair in header.split(";") if name in pair]
    # No other white space: a sibling host may set a cookie called "\x85__Host-session".
    return [value.strip(' \t"') for key, _, value in pairs if key.strip(" \t") == name]


def _has_query_token(query: str) -> bool:
    return any(name == "access_token" for name, _ in parse_qsl(query, keep_blank_values=True))


def _two_tokens(which: str) -> RequestRefusedError:
    return RequestRefusedError(bad_request(f"there are two tokens ({which}): send one"))
