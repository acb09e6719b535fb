"""How tests await: with a bound, and with a service that was opened for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import keyturn
from keyturn import AsyncService

R = TypeVar("R")


def run(awaitable: Coroutine[Any, Any, R]) -> R:
    return asyncio.run(asyncio.wait_for(awaitable, 60))


def with_service(body: Callable[[AsyncService], Awaitable[R]], path: Path, **arguments: Any) -> R:
    """Run the body with a service opened for asyncio."""

    async def opened() -> R:
        async with keyturn.open_async(path=path, password=None, **arguments) as service:
            return await body(service)

    return run(opened())
