"""What of a request decides whose it is, read from ASGI or WSGI."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

CSRF_HEADER = "X-CSRF-Token"

_FIELDS = {
    b"access-control-request-method": "preflight_for",
    b"authorization": "authorization",
    b"cookie": "cookie",
    b"host": "host",
    b"origin": "origin",
    b"sec-fetch-site": "fetch_site",
    CSRF_HEADER.lower().encode(): "csrf_token",
}
_WSGI_NAMES = [
    (f"HTTP_{name.decode().upper().replace('-', '_')}", field) for name, field in _FIELDS.items()
]


@dataclass(slots=True, kw_only=True, repr=False)
class Incoming:
    """The facts of one request. A header that was sent twice is joined as RFC 9110 says.

    Attributes:
        method: of HTTP; of a WebSocket it is GET.
        query: the query string, not decoded.
        authorization: that header; "" if there is none, as with the others.
        cookie: the header of all cookies.
        host: whom the request is for.
        origin: whose page sent it.
        fetch_site: `Sec-Fetch-Site`: what a browser says about that page.
        csrf_token: the header in which a client sends the CSRF cookie's value back.
        preflight_for: the method that a browser asks about with OPTIONS, before it sends it.
        is_websocket: whether it opens a WebSocket.
    """

    method: str = "GET"
    query: str = ""
    authorization: str = ""
    cookie: str = ""
    host: str = ""
    origin: str = ""
    fetch_site: str = ""
    csrf_token: str = ""
    preflight_for: str = ""
    is_websocket: bool = False

    @property
    def is_preflight(self) -> bool:
        """Whether a browser asks for a page of another origin, always without a token (CORS)."""
        return self.method == "OPTIONS" and self.preflight_for != ""

    @classmethod
    def from_asgi(cls, scope: MutableMapping[str, Any]) -> Incoming:
        """Return the facts of a scope of type `http` or `websocket`."""
        found: dict[str, str] = {}
        for name, value in scope["headers"]:
            field = _FIELDS.get(name)
            if field is not None:
                text = value.decode("latin-1")
                if field in found:  # HTTP/2 splits the one of cookies (RFC 9113, section 8.2.3)
                    text = f"{found[field]}{'; ' if field == 'cookie' else ', '}{text}"
                found[field] = text
        return cls(
            method=scope.get("method", "GET"),
            query=scope.get("query_string", b"").decode("latin-1"),
            is_websocket=scope["type"] == "websocket",
            **found,
        )

    @classmethod
    def from_wsgi(cls, environ: Mapping[str, Any]) -> Incoming:
        """Return the facts of a WSGI environment, whose server joined the headers (PEP 3333)."""
        found = {field: environ.get(name, "") for name, field in _WSGI_NAMES}
        return cls(
            method=environ["REQUEST_METHOD"],
            query=environ.get("QUERY_STRING", ""),
            is_websocket="HTTP_SEC_WEBSOCKET_KEY" in environ,  # some servers let an app open one
            **found,
        )
