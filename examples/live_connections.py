"""Live connections of an asyncio app (WebSocket, SSE) that end when the key is reset.

`starlette_app.py` shows how it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from keyturn import AsyncService, SessionKeys


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
        await service.subscribe(self.hear)
        try:
            yield
        finally:
            await service.unsubscribe(self.hear)

    async def hear(self, event: object) -> None:
        """Drop the connections whose tokens are no good any more, whatever process ended them."""
        if isinstance(event, SessionKeys.KeyReset | SessionKeys.KeysDestroyed):
            self.drop_all()

    def drop_all(self) -> None:
        """End the block of each connection."""
        while self._open:
            self._open.pop().reschedule(0)
