"""Live connections of an asyncio app (WebSocket, SSE) that end when the key is reset.

`starlette_app.py` shows how it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pykka

from keyturn import AsyncService, SessionKeys, Subscribe, Unsubscribe, ask_async


class LiveConnections:
    """Those that are to be dropped. Everything here runs in the event loop's thread."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()

    @contextlib.asynccontextmanager
    async def until_reset(self) -> AsyncIterator[None]:
        """Run the block; a reset ends it with a TimeoutError.

        Check the token inside of it, and not before: then no reset falls in between.
        """
        async with asyncio.timeout(None) as connection:
            self._open.add(connection)
            try:
                yield
            finally:
                self._open.discard(connection)

    @contextlib.asynccontextmanager
    async def watching(self, service: AsyncService) -> AsyncIterator[None]:
        """Drop all connections at each reset, while the block runs."""
        doorman = Doorman.start(asyncio.get_running_loop(), self)
        await ask_async(service.manager, Subscribe(doorman))
        try:
            yield
        finally:
            await ask_async(service.manager, Unsubscribe(doorman))
            doorman.stop()

    def drop_all(self) -> None:
        """End the block of each connection."""
        while self._open:
            self._open.pop().reschedule(0)


class Doorman(pykka.ThreadingActor):
    """Hears of the changes of keys, by whatever process, in a thread of its own."""

    use_daemon_thread = True

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: LiveConnections) -> None:
        super().__init__()
        self._loop = loop
        self._connections = connections

    def on_receive(self, event: Any) -> None:
        """Have the event loop drop the connections whose tokens are no good any more."""
        if isinstance(event, SessionKeys.KeyReset | SessionKeys.KeysDestroyed):
            self._loop.call_soon_threadsafe(self._connections.drop_all)
