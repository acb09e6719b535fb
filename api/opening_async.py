"""Opening a service for asyncio, in another thread: it reads files and the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import Any

from keyturn import opening
from keyturn.aio import AsyncService, Threads
from keyturn.domain.errors import NoThreadError
from keyturn.operations import handed_on
from keyturn.service import Service


class _Opening:
    """What `open_async` returns: await it, or use it in an `async with` block."""

    def __init__(self, call: Callable[[], Service]) -> None:
        self._call = call
        self._opened: AsyncService | None = None

    def __await__(self) -> Generator[Any, None, AsyncService]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncService:
        self._opened = await self
        return self._opened

    async def __aexit__(self, *exc_info: object) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _open(self) -> AsyncService:
        threads = Threads()
        service = threads.submit(self._open_plainly)  # no frame shows the password
        try:
            return AsyncService(await asyncio.wrap_future(service), threads)
        except asyncio.CancelledError:
            # What nobody waits for any more is closed, there: the event loop may be over by then.
            with contextlib.suppress(NoThreadError):
                threads.submit(lambda: service.result().close())
            threads.end()
            raise

    def _open_plainly(self) -> Service:
        return self._call()


open_async = handed_on(opening.open, _Opening)
"""Open a service for asyncio: the arguments are those of `open`.

Await it, or use it in an `async with` block.
"""
