"""`GET /auth`: what a proxy asks for each request (nginx `auth_request`, Caddy `forward_auth`).

204 with headers that say whose the request is, 401, 403, or 503. It must answer with nothing
else, since nginx makes a 500 of every other status: two tokens at once are a 401 here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

import msgspec
from starlette.types import Receive, Scope, Send

from keyturn.actors.replies import Authenticated
from keyturn.config.logging import get_logger
from keyturn.domain.errors import KeyturnError, SettingsError
from keyturn.web import answers
from keyturn.web.answers import RequestRefusedError
from keyturn.web.asgi_sending import send_answer
from keyturn.web.credentials import find_credential
from keyturn.web.csrf import refuse_forged
from keyturn.web.incoming import Incoming
from keyturn.web.options import WebOptions
from keyturn.web.session import answer_for

_METHOD = b"x-forwarded-method"
_WEBSOCKET = b"sec-websocket-"
_NO_METHOD = "the proxy must send the method of the request in X-Forwarded-Method"
_SAFE = " !\"#$&'()*+,/:;<=>?@[]^`{|}"
_CLAIM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class ForwardAuth:
    """An ASGI application that answers for one request of a proxy.

    The state of its scope has the service (`sessions`).

    Args:
        claims: the names of the host's claims that become headers.
        options: of the web: names of cookies, trusted origins.

    Raises:
        SettingsError: a claim's name can be no header, or two would be the same one.
    """

    def __init__(self, claims: Sequence[str], options: WebOptions) -> None:
        self._headers = [(name, header.lower().encode()) for name, header in headers_of(claims)]
        self._options = options
        self._has_warned = False

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            who = await scope["state"]["sessions"].authenticate(self._token_of(scope))
        except KeyturnError as error:
            answer = answer_for(error).answer
            if answer.status == 400:
                answer = replace(answer, status=401)
            await send_answer(answer, send)
        else:
            headers = self._headers_of(who)
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body"})

    def _token_of(self, scope: Scope) -> str:
        incoming = Incoming.from_asgi(scope)
        credential = find_credential(incoming, self._options.session_cookie)
        if credential is None:
            raise RequestRefusedError(answers.no_token())
        if credential.is_cookie:
            refuse_forged(self._as_forwarded(incoming, scope["headers"]), self._options)
        return credential.token

    def _as_forwarded(self, incoming: Incoming, headers: list[tuple[bytes, bytes]]) -> Incoming:
        """Return the facts of the request that the proxy asks about."""
        methods = [value.decode("latin-1") for name, value in headers if name == _METHOD]
        if not methods:
            if not self._has_warned:
                self._has_warned = True
                get_logger().warning("requests with the cookie are refused", reason=_NO_METHOD)
            raise RequestRefusedError(answers.forged(_NO_METHOD))
        is_websocket = any(name.startswith(_WEBSOCKET) for name, _ in headers)
        return replace(incoming, method=", ".join(methods), is_websocket=is_websocket)

    def _headers_of(self, who: Authenticated) -> list[tuple[bytes, bytes]]:
        headers = [(b"cache-control", b"no-store")]
        for name, header in self._headers:
            value = who.token_claims.get(name)
            headers.append((header, b"" if value is None else header_value(value)))
        return headers


def headers_of(claims: Sequence[str]) -> list[tuple[str, str]]:
    """Return the headers of a good answer: of each the claim, and its name.

    All are always there, so that a proxy overwrites a client's.

    Raises:
        SettingsError: a claim's name can be no header, or two would be the same one.
    """
    headers = [claim_header(name) for name in claims]
    if len(set(headers)) < len(headers):
        raise SettingsError("two claims would be the same header", key="claim")
    always = [("sub", "Keyturn-Subject"), ("sid", "Keyturn-Session")]
    return always + list(zip(claims, headers, strict=True))


def claim_header(name: str) -> str:
    """Return the name of the header for a claim: `team_id` is in `Keyturn-Claim-Team-Id`.

    Raises:
        SettingsError: it has other characters than letters, digits, `-` and `_`.
    """
    if not _CLAIM_NAME.fullmatch(name):
        message = (
            f"the claim {name!r} can be no header: it has more than letters, digits, - and _"
        )
        raise SettingsError(message, key="claim")
    return "Keyturn-Claim-" + name.replace("_", "-").title()


def header_value(value: object) -> bytes:
    """Return a claim as the value of a header: text as it is, everything else as JSON.

    All but printable ASCII is percent-encoded (UTF-8), and so is the percent sign: no claim can
    begin a new header, and what is no ASCII arrives whole. `decodeURIComponent` reads it.
    """
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8")
    encoded = quote(text, safe=_SAFE)
    if encoded[:1] == " " or encoded[-1:] == " ":  # a header loses spaces at its ends
        encoded = encoded.replace(" ", "%20")
    return encoded.encode("ascii")
