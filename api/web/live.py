"""Connections that stay open (WebSockets, server-sent events), and end with their session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from keyturn.actors.replies import Authenticated
from keyturn.aio import AsyncService
from keyturn.config.logging import get_logger
from keyturn.domain.errors import KeyturnError, TokenRefusedError
from keyturn.domain.key_events import SessionEnded

SESSION_OVER: Final = 4401
"""The code that closes a WebSocket whose token is not good, or not any more."""

TRY_AGAIN_LATER: Final = 1013
"""The code that closes one whose token cannot be checked now (registered with IANA)."""

_AT_ONCE = 1_000


class LiveConnection:
    """One connection to a client, served by the task that makes this.

    Attributes:
        token: with which it was opened.
        who: whose session that is of.
        ended: the code and the reason with which it was ended; None while it is not.
    """

    token: str
    who: Authenticated

    def __init__(self) -> None:
        self.ended: tuple[int, str] | None = None
        task = asyncio.current_task()
        assert task is not None  # a coroutine of asyncio makes this
        self._task = task

    def end(self, code: int, reason: str) -> None:
        """End it: its task is cancelled, so that the app is over whatever it waits for."""
        if self.ended is None:
            self.ended = (code, reason)
            self._task.cancel()

    def absorbs_cancellation(self) -> bool:
        """Return whether the task was cancelled by `end` alone, and may go on."""
        return self.ended is not None and self._task.uncancel() == 0


class LiveConnections:
    """The live connections of one event loop, in whose thread everything here runs.

    Their tokens are checked when something happens to the manager (in whatever process), when
    they expire, and every so often besides. What cannot be checked is ended too.

    Args:
        service: returns what says which tokens are good; another one if that was opened again.
        check_every: seconds after which all are checked without anything having happened.
    """

    def __init__(self, service: Callable[[], AsyncService], check_every: float) -> None:
        self._service = service
        self._check_every = check_every
        self._loop = asyncio.get_running_loop()
        self._timers: dict[LiveConnection, asyncio.TimerHandle | None] = {}
        self._suspects: set[LiveConnection] = set()
        self._has_suspects = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._next_round = self._loop.time() + check_every

    def add(self, connection: LiveConnection) -> None:
        """Have it checked from now on; at once, too: its session may have ended just now."""
        expires_at = connection.who.token_claims.get("exp")
        self._timers[connection] = None
        if expires_at is not None:
            left = expires_at + 1 - self._service().plain.clock()
            self._timers[connection] = self._loop.call_later(left, self._suspect, [connection])
        self._suspect([connection])
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._watch(), name="keyturn-live")

    def remove(self, connection: LiveConnection) -> None:
        """Have it checked no more: it is over."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
        self._suspects.discard(connection)

    async def close(self) -> None:
        """Check none of them any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _suspect(self, connections: Iterable[LiveConnection]) -> None:
        self._suspects.update(connections)
        self._has_suspects.set()

    def _hear(self, event: object) -> None:
        """Called with each event, in a thread of the service."""
        with contextlib.suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(self._note, event)

    def _note(self, event: object) -> None:
        sid = event.sid if isinstance(event, SessionEnded) else None
        self._suspect([c for c in self._timers if sid is None or c.who.sid == sid])

    async def _watch(self) -> None:
        heard: AsyncService | None = None
        try:
            while True:
                suspects = await self._next_suspects()
                service = self._service()
                if heard is not service and await self._subscribe(service):
                    heard = service
                await self._check(service, suspects)
        finally:
            with contextlib.suppress(KeyturnError):  # it was closed
                await self._service().unsubscribe(self._hear)

    async def _subscribe(self, service: AsyncService) -> bool:
        try:
            await service.subscribe(self._hear)
        except Exception as error:  # noqa: BLE001 - it is tried again after the next check
            _log(error)
            return False
        return True

    async def _next_suspects(self) -> list[LiveConnection]:
        """Wait until some are to be checked, and return them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_round):
                await self._has_suspects.wait()
        found, self._suspects = self._suspects, set()
        self._has_suspects.clear()
        if self._loop.time() >= self._next_round:
            self._next_round = self._loop.time() + self._check_every
            found = set(self._timers)
        return list(found)

    async def _check(self, service: AsyncService, suspects: Sequence[LiveConnection]) -> None:
        for start in range(0, len(suspects), _AT_ONCE):
            batch = suspects[start : start + _AT_ONCE]
            try:
                verdicts = await service.authenticate_tokens([c.token for c in batch])
            except Exception as error:  # noqa: BLE001 - none stays open that was not checked
                _log(error)
                for connection in batch:
                    self._end(connection, TRY_AGAIN_LATER, "sessions cannot be checked now")
                continue
            for connection, verdict in zip(batch, verdicts, strict=True):
                if isinstance(verdict, TokenRefusedError):
                    self._end(connection, SESSION_OVER, verdict.reason.value)

    def _end(self, connection: LiveConnection, code: int, reason: str) -> None:
        if connection in self._timers:  # it may have been removed while it was checked
            connection.end(code, reason)


def _log(error: Exception) -> None:
    get_logger().error("live connections could not be checked", error=type(error).__name__)
