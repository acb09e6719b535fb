"""What is sent over ASGI: the response of an app or its WebSocket, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from keyturn.web.answers import ErrorAnswer
from keyturn.web.live import SESSION_OVER, LiveConnection, LiveConnections
from keyturn.web.session import REPLACED, AsgiSession, is_event_stream

Scope: TypeAlias = MutableMapping[str, Any]
AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_REPLACED = REPLACED.encode()

_CLOSE_WITHIN = 5.0
"""Seconds for a client to take the close of its WebSocket."""


class _Sending(LiveConnection):
    """Sends what an app says to one client, until the session of that ends.

    Args:
        send: of the server.
        connections: those among which it is while it is open for long.
    """

    def __init__(self, send: Send, connections: LiveConnections) -> None:
        super().__init__()
        self._send = send
        self._connections = connections

    def watch(self, session: AsgiSession) -> None:
        """It is open for long: have the token of its session checked, if it has one."""
        if session.who is not None and session.credential is not None:
            self.token, self.who = session.credential.token, session.who
            self._connections.add(self)

    def leave(self) -> None:
        """It is open no longer."""
        self._connections.remove(self)


class Response(_Sending):
    """Sends the response of an app, with what the session has to say in it."""

    def __init__(self, send: Send, connections: LiveConnections) -> None:
        super().__init__(send, connections)
        self._session: AsgiSession | None = None
        self.may_refuse = True

    def begin(self, session: AsgiSession) -> None:
        """The app is going to serve the request of this session."""
        self._session = session

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self.ended:
            return
        session = self._session
        if message["type"] == "http.response.start" and session is not None:
            await session.refresh_if_due()
            if session.headers:
                message = {**message, "headers": _with(session.headers, message)}
            await self._send(message)
            self.may_refuse = False
            if session.who is not None and _is_event_stream(message):
                self.watch(session)
            return
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.leave()  # what the app still does in the background goes on
        await self._send(message)

    async def refuse(self, answer: ErrorAnswer) -> None:
        """Answer with this instead of what the app would say."""
        await send_answer(answer, self)

    async def finish(self, _code: int, _reason: str) -> None:
        """End it: the client sees no more than that."""
        await _send_or_give_up(self._send, {"type": "http.response.body"})


class Socket(_Sending):
    """Sends what an app says to a WebSocket, and closes it with a code that its page can read."""

    may_refuse = True

    def __init__(self, scope: Scope, send: Send, connections: LiveConnections) -> None:
        super().__init__(send, connections)
        self._scope = scope
        self._is_accepted = False
        self._is_closed = False

    def begin(self, session: AsgiSession) -> None:
        """The app is going to serve the WebSocket of this session."""
        self.watch(session)

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self.ended:
            return
        self._is_accepted |= message["type"] == "websocket.accept"
        self._is_closed |= message["type"] == "websocket.close"
        await self._send(message)

    async def refuse(self, answer: ErrorAnswer) -> None:
        """Refuse to open it, or close it if it is open."""
        if answer.status == HTTPStatus.UNAUTHORIZED or self._is_accepted:
            await self.finish(SESSION_OVER, answer.description)
        elif "websocket.http.response" in (self._scope.get("extensions") or {}):
            await send_answer(answer, self._send, "websocket.http.response")
        else:
            await self._send({"type": "websocket.close"})  # the server says 403

    async def finish(self, code: int, reason: str) -> None:
        """Close it. One that is not open yet is opened for that: pages see no other answer."""
        if self._is_closed:
            return
        if not self._is_accepted:
            offered = self._scope.get("subprotocols") or [None]
            await self._send({"type": "websocket.accept", "subprotocol": offered[0]})
        self._is_closed = True
        close = {"type": "websocket.close", "code": code, "reason": reason}
        await _send_or_give_up(self._send, close)


async def send_answer(answer: ErrorAnswer, send: Send, kind: str = "http.response") -> None:
    """Send a refusal.

    Args:
        answer: that refuses.
        send: of the server.
        kind: of the messages.
    """
    headers = _encoded(answer.all_headers)
    if kind.startswith("websocket"):  # to which some servers add the length themselves
        headers = [(name, value) for name, value in headers if name != b"content-length"]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


async def _send_or_give_up(send: Send, message: AsgiMessage) -> None:
    """Send the last message to a client, which may have gone or may not read."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await send(message)


def _with(ours: list[tuple[str, str]], message: AsgiMessage) -> list[tuple[bytes, bytes]]:
    kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() != _REPLACED]
    return kept + _encoded(ours)


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]


def _is_event_stream(message: AsgiMessage) -> bool:
    headers = message.get("headers", ())
    return is_event_stream((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers)
