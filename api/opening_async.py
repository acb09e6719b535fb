"""Opening a service for asyncio, in another thread: it reads files and the log."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, ParamSpec

from keyturn import opening
from keyturn.aio import AsyncService
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

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _open(self) -> AsyncService:
        handover = _Handover(self._call)
        try:
            return AsyncService(await asyncio.to_thread(handover.open))
        except asyncio.CancelledError:
            await asyncio.to_thread(handover.refuse)
            raise


class _Handover:
    """An opening in another thread. What nobody waits for any more is closed.

    In that thread, since the event loop may be over by then.
    """

    def __init__(self, call: Callable[[], Service]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._is_wanted = True
        self._service: Service | None = None

    def open(self) -> Service:
        service = self._call()
        with self._lock:
            self._service = service
            is_wanted = self._is_wanted
        if not is_wanted:
            service.close()
        return service

    def refuse(self) -> None:
        with self._lock:
            self._is_wanted = False
            service = self._service
        if service is not None:
            service.close()


def _awaited(open_service: Callable[P, Service]) -> Callable[P, _Opening]:
    @functools.wraps(open_service)
    def open_async(*args: P.args, **kwargs: P.kwargs) -> _Opening:
        return _Opening(functools.partial(open_service, *args, **kwargs))

    return open_async


open_async = _awaited(opening.open)
"""Open a service for asyncio: the arguments are those of `open`.

Await it, or use it in an `async with` block.
"""
