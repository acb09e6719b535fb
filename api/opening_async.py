"""Opening a service for asyncio, in another thread: it reads files and the log."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Generator
from typing import Any, ParamSpec

from keyturn import opening
from keyturn.aio import AsyncService, Threads
from keyturn.domain.errors import NoThreadError
from keyturn.service import Service

P = ParamSpec("P")


class _Opening:
    """What `open_async` returns: await it, or use it in an `async with` block."""

    def __init__(self, call: functools.partial[Service]) -> None:
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


def _awaited(open_service: Callable[P, Service]) -> Callable[P, _Opening]:
    @functools.wraps(open_service)
    def open_async(*args: P.args, **kwargs: P.kwargs) -> _Opening:
        return _Opening(functools.partial(open_service, *args, **kwargs))

    return open_async


open_async = _awaited(opening.open)
"""Open a service for asyncio: the arguments are those of `open`.

Await it, or use it in an `async with` block.
"""
