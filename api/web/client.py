"""An `httpx` auth class that keeps the token of a session in a token file.

    with ClientSession("client/token") as session:
        client = httpx.Client(base_url=…, auth=TokenFileAuth(session, ask_password=getpass))

It works with `httpx` and with `httpx2`, whichever is installed. It must never send what it
holds to another server, or take a token from there.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from keyturn.config.logging import get_logger
from keyturn.domain.errors import KeyturnError, SettingsError, TokenFileError
from keyturn.token_file import ClientSession
from keyturn.web.cookies import REFRESHED_TOKEN

if TYPE_CHECKING:
    from httpx2 import URL, Auth, Request, Response
else:
    _LIBRARIES = [name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]
    if not _LIBRARIES:
        raise ModuleNotFoundError("keyturn.web.client needs httpx: pip install httpx")
    Auth = type("Auth", tuple(importlib.import_module(name).Auth for name in _LIBRARIES), {})

_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin: TypeAlias = tuple[str, str, int | None]
"""Scheme, host, and the port if it is not that of the scheme."""


class PlainHTTPError(KeyturnError):
    """A token or password was to be sent over plain HTTP to another machine."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a request was sent with.

    Attributes:
        is_ours: whether a token in the response belongs into the file.
        in_file: the token that the file held.
        may_ask: whether a password may be asked for.
    """

    is_ours: bool
    in_file: str | None = None
    may_ask: bool = False


class TokenFileAuth(Auth):
    """Sends a session's token with each request, and keeps the one that comes back.

    What is sent: the `Authorization` that the caller set; else the token in `KEYTURN_TOKEN`;
    else the password in `KEYTURN_PASSWORD`; else the token in the file. A token that the
    response brings is written to the file if that still holds the one that was sent
    (`replacing`), so that a late response undoes no logout. If the answer is 401, a password is
    asked for once and the request is sent again with it, as HTTP Basic (RFC 7617); never if the
    caller or the environment said what to send.

    All of this is for one origin. A request to another one is sent as it is.

    Args:
        session: the token file.
        ask_password: returns the password, or None to give up; it may wait for a person.
            None: a 401 is the answer.
        user: the user name that is sent with a password.
        origin: the one, as `https://example.com`; None: that of the first request.
        plain_http: whether it may be reached over plain HTTP where that is no loopback address,
            as over a Unix socket.

    Raises:
        SettingsError: that is no origin; by a request: `KEYTURN_TOKEN` holds no token.
        TokenFileError: by a request: the file cannot be read.
        PlainHTTPError: by a request: it would go over plain HTTP.
    """

    def __init__(
        self,
        session: ClientSession,
        ask_password: Callable[[], str | None] | None = None,
        user: str = "",
        *,
        origin: str | None = None,
        plain_http: bool = False,
    ) -> None:
        self._session = session
        self._ask_password = ask_password
        self._user = user
        self._origin = None if origin is None else _parsed(origin)
        self._plain_http = plain_http
        self._binding = threading.Lock()
        self._asking = threading.Lock()
        self._asking_async = anyio.Lock()

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Send the request, and once more with a password if that may help."""
        sent = self._prepare(request)
        if sent.may_ask:
            request.read()  # so that it can be sent twice
        response = yield request
        if self._take(request, response, sent):
            with self._asking:  # of several at once one asks, and the others take its token
                if again := self._second_try(request, sent):
                    response = yield request
                    self._take(request, response, again)

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Do the same, with files and questions in a thread."""
        in_thread = anyio.to_thread.run_sync
        sent = await in_thread(self._prepare, request)
        if sent.may_ask:
            await request.aread()
        response = yield request
        if await in_thread(self._take, request, response, sent):
            async with self._asking_async:
                if again := await in_thread(self._second_try, request, sent):
                    response = yield request
                    await in_thread(self._take, request, response, again)

    def _prepare(self, request: Request) -> _Sent:
        """Have the request say who sends it."""
        headers = request.headers
        if "Authorization" in headers or not self._is_for(request.url):
            return _Sent(is_ours=False)
        if token := os.environ.get("KEYTURN_TOKEN", "").strip():
            if not (token.isascii() and token.isprintable()):
                # httpx would show the token in its error.
                message = "KEYTURN_TOKEN holds no token: it has more than printable ASCII"
                raise SettingsError(message, key="KEYTURN_TOKEN", source="the environment")
            headers["Authorization"] = f"Bearer {token}"
            return _Sent(is_ours=False)
        in_file = self._session.read_token()
        if password := os.environ.get("KEYTURN_PASSWORD"):
            headers["Authorization"] = self._basic(password)
            return _Sent(is_ours=True, in_file=in_file)
        if in_file is not None:
            headers["Authorization"] = f"Bearer {in_file}"
        return _Sent(is_ours=True, in_file=in_file, may_ask=self._ask_password is not None)

    def _is_for(self, url: URL) -> bool:
        """Return whether what is sent is for this server; the first one is taken for it.

        Raises:
            PlainHTTPError: it is, and others could read it.
        """
        with self._binding:
            if self._origin not in (None, _origin_of(url)):
                return False
            if url.scheme == "http" and not self._plain_http and not _is_loopback(url.host):
                raise PlainHTTPError(
                    f"http://{url.host} would get the token in plain text: use https, or pass "
                    "plain_http=True if nobody else can read it"
                )
            self._origin = _origin_of(url)
            return True

    def _second_try(self, request: Request, sent: _Sent) -> _Sent | None:
        """Have it say after a 401 what another request got, or a password; None: nothing."""
        in_file = self._session.read_token()
        if in_file is not None and in_file != sent.in_file:
            request.headers["Authorization"] = f"Bearer {in_file}"
        else:
            password = self._ask_password() if self._ask_password else None
            if password is None:
                return None
            request.headers["Authorization"] = self._basic(password)
        return _Sent(is_ours=True, in_file=in_file)

    def _take(self, request: Request, response: Response, sent: _Sent) -> bool:
        """Keep the token that a response brings; return whether a password may help."""
        if not sent.is_ours or _origin_of(request.url) != _origin_of(response.url):
            return False
        if token := response.headers.get(REFRESHED_TOKEN):
            try:
                self._session.write_token(token, replacing=sent.in_file)
            except TokenFileError as error:  # the answer itself is good
                get_logger().warning("a refreshed token was not kept", error=str(error))
        return sent.may_ask and response.status_code == 401

    def _basic(self, password: str) -> str:
        credentials = f"{self._user}:{password}".encode("utf-8", "surrogateescape")
        return f"Basic {base64.b64encode(credentials).decode('ascii')}"


def _origin_of(url: URL) -> Origin:
    return url.scheme, url.host, url.port


def _parsed(origin: str) -> Origin:
    try:
        found = urlsplit(origin)
        port = found.port
    except ValueError:
        port, found = None, urlsplit("")
    if found.scheme not in _DEFAULT_PORTS or not found.hostname or found.path.strip("/"):
        raise SettingsError("origin is one like https://example.com", key="origin")
    is_default = port == _DEFAULT_PORTS[found.scheme]
    return found.scheme, found.hostname, None if is_default else port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
