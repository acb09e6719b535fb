"""What is sent over ASGI: the response of an app or its WebSocket, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from keyturn.web.answers import ErrorAnswer
from keyturn.web.asgi_session import AsgiSession
from keyturn.web.live import SESSION_OVER, LiveConnection, LiveConnections
from keyturn.web.session import REPLACED, is_event_stream

Scope: TypeAlias = MutableMapping[str, Any]
AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_REPLACED = REPLACED.encode()

_CLOSE_WITHIN = 5.0
"""Seconds for a client to take the close of its WebSocket."""


class Response:
    """Sends the response of an app, with what the session has to say in it."""

    __slots__ = ("_connections", "_live", "_send", "_session", "_task", "is_started")

    def __init__(
        self,
        send: Send,
        session: AsgiSession,
        task: asyncio.Task[Any] | None,
        connections: Callable[[], LiveConnections],
    ) -> None:
        self._send = send
        self._session = session
        self._task = task
        self._connections = connections
        self._live: LiveConnection | None = None
        self.is_started = False

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self._live is not None and self._live.ended:
            return
        if message["type"] != "http.response.start":
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.leave()  # what the app still does in the background goes on
            await self._send(message)
            return
        session = self._session
        await session.refresh_if_due()
        if session.headers:
            message = {**message, "headers": self._headers(message)}
        await self._send(message)
        self.is_started = True
        if session.who is not None and session.credential and _is_event_stream(message):
            self._live = LiveConnection(session.credential.token, session.who, self._task)
            self._connections().add(self._live)

    def _headers(self, message: AsgiMessage) -> list[tuple[bytes, bytes]]:
        kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() != _REPLACED]
        ours = self._session.headers
        return kept + [(n.lower().encode(), v.encode("latin-1")) for n, v in ours]

    def was_ended(self) -> bool:
        """Return whether the app was cancelled because the session of its stream ended."""
        return self._live is not None and self._live.absorbs_cancellation()

    def leave(self) -> None:
        """It is no live connection any more."""
        if self._live is not None:
            self._connections().remove(self._live)
            self._live = None


class Socket:
    """Sends what an app says to a WebSocket, and closes it with a code that its page can read."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._is_accepted = False
        self._is_closed = False
        self.live: LiveConnection | None = None

    async def __call__(self, message: AsgiMessage) -> None:
        """Send a message of the app."""
        if self.live is not None and self.live.ended:
            return
        self._is_accepted |= message["type"] == "websocket.accept"
        self._is_closed |= message["type"] == "websocket.close"
        await self._send(message)

    async def refuse(self, answer: ErrorAnswer) -> None:
        """Refuse to open it, or close it if it is open."""
        if answer.status == HTTPStatus.UNAUTHORIZED or self._is_accepted:
            await self.close(SESSION_OVER, answer.description)
        elif "websocket.http.response" in (self._scope.get("extensions") or {}):
            await send_answer(answer, self._send, "websocket.http.response")
        else:
            await self._send({"type": "websocket.close"})  # the server says 403

    async def close(self, code: int, reason: str) -> None:
        """Close it. One that is not open yet is opened for that: pages see no other answer."""
        if self._is_closed:
            return
        if not self._is_accepted:
            offered = self._scope.get("subprotocols") or [None]
            await self._send({"type": "websocket.accept", "subprotocol": offered[0]})
        await send_or_give_up(
            self._send, {"type": "websocket.close", "code": code, "reason": reason}
        )


def _is_event_stream(message: AsgiMessage) -> bool:
    headers = message.get("headers", ())
    return is_event_stream((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers)


async def send_answer(answer: ErrorAnswer, send: Send, kind: str = "http.response") -> None:
    """Send a refusal.

    Args:
        answer: that refuses.
        send: of the server.
        kind: of the messages.
    """
    headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in answer.all_headers]
    if kind.startswith("websocket"):  # to which some servers add the length themselves
        headers = [(name, value) for name, value in headers if name != b"content-length"]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


async def send_or_give_up(send: Send, message: AsgiMessage) -> None:
    """Send the last message to a client, which may have gone or may not read."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await send(message)
