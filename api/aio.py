"""The service handle for asyncio: the same names, awaited. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import pykka

from keyturn import opening
from keyturn.actors import messages
from keyturn.actors.asking import ask_async
from keyturn.actors.messages import Message, TokenReport
from keyturn.actors.session_manager import SessionManager
from keyturn.actors.transaction import Transaction
from keyturn.config.token_file import ANY_TOKEN, Unconditionally
from keyturn.domain.batches import check_batch
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.tokens import SessionToken
from keyturn.projections.findings import AuditReport
from keyturn.projections.history import KeyChange
from keyturn.service import Service
from keyturn.token_file import ClientSession

P = ParamSpec("P")
R = TypeVar("R")
_PAGE = 500
_THREADS = 4


class AsyncService:
    """A `Service` whose methods are awaited. Close it, or use it in an `async with` block.

    Tokens are made and checked in the loop's thread if that needs no look at the log, and
    otherwise in another one: the actor, which may wait for the log, is not asked.
    """

    def __init__(self, service: Service, threads: _Threads | None = None) -> None:
        self._service = service
        self._has_own_threads = threads is None
        self._threads = threads or _Threads()

    @property
    def manager(self) -> pykka.ActorRef[SessionManager]:
        """The manager's actor, for messages with `ask_async`."""
        return self._service.manager

    async def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken:
        """See `Service.create_token`."""
        if tran is not None:
            return await self._ask(messages.CreateToken(expiry, subject, claims, tran))
        tokens = self._service.tokens
        if (keys := tokens.keys_at_hand) is not None:  # these: to ask again might be to wait
            return tokens.create(expiry, subject, claims, keys)
        return await self._in_thread(self._service.create_token, expiry, subject, claims)

    async def verify_token(self, token: object, tran: Transaction | None = None) -> bool:
        """See `Service.verify_token`."""
        if tran is not None:
            return await self._ask(messages.VerifyToken(token, tran))
        tokens = self._service.tokens
        if (keys := tokens.keys_at_hand) is not None:
            return tokens.verify(token, keys)
        return await self._in_thread(self._service.verify_token, token)

    async def create_tokens(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> list[SessionToken]:
        """See `Service.create_tokens`."""
        if tran is not None:
            return await self._ask(messages.CreateTokens(count, expiry, subject, claims, tran))
        create = self._service.create_tokens
        return await self._in_thread(create, count, expiry, subject, claims)

    async def verify_tokens(
        self, tokens: Iterable[object], tran: Transaction | None = None
    ) -> list[bool]:
        """See `Service.verify_tokens`."""
        batch = check_batch(tokens)
        if tran is not None:
            return await self._ask(messages.VerifyTokens(batch, tran))
        return await self._in_thread(self._service.verify_tokens, batch)

    async def refresh_token(
        self, token: object, expiry: float | None = None, tran: Transaction | None = None
    ) -> SessionToken:
        """See `Service.refresh_token`."""
        if tran is not None:
            return await self._ask(messages.RefreshToken(token, expiry, tran))
        return await self._in_thread(self._service.refresh_token, token, expiry)

    async def inspect_token(self, token: object, at: datetime | None = None) -> TokenReport:
        """See `Service.inspect_token`."""
        return await self._in_thread(self._service.inspect_token, token, at)

    async def reset_key(
        self,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> None:
        """See `Service.reset_key`."""
        await self._ask(messages.ResetKey(reason, initiator, tran))

    async def rotate_key(
        self, overlap: int, reason: str | None = None, initiator: str | None = None
    ) -> None:
        """See `Service.rotate_key`."""
        await self._ask(messages.RotateKey(overlap, reason, initiator))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `Service.transaction`."""
        tran = await self._ask(messages.BeginTransaction())
        try:
            yield tran
            await self._ask(messages.CommitTransaction(tran))
        finally:
            tran.close()

    async def history(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        generation: int | None = None,
        initiator: str | None = None,
        kind: str | None = None,
        newest_first: bool = False,
        behind: int | None = None,
        limit: int | None = None,
        at: datetime | None = None,
    ) -> AsyncIterator[KeyChange]:
        """See `Service.history`."""
        changes = self._service.history(
            since=since,
            until=until,
            generation=generation,
            initiator=initiator,
            kind=kind,
            newest_first=newest_first,
            behind=behind,
            limit=limit,
            at=at,
        )
        while page := await self._in_thread(_next_page, changes):
            for change in page:
                yield change

    async def key_at(self, moment: datetime) -> KeyChange | None:
        """See `Service.key_at`."""
        return await self._in_thread(self._service.key_at, moment)

    async def audit(self, against: Checkpoint | str | None = None) -> AuditReport:
        """See `Service.audit`."""
        return await self._in_thread(self._service.audit, against)

    async def checkpoint(self) -> Checkpoint:
        """See `Service.checkpoint`."""
        return await self._in_thread(self._service.checkpoint)

    async def start(self, fresh: bool = False) -> None:
        """See `Service.start`."""
        await self._ask(messages.Start(fresh))

    async def stop(self) -> None:
        """See `Service.stop`."""
        await self._ask(messages.Stop())

    async def destroy(self, purge: bool = False) -> None:
        """See `Service.destroy`."""
        await self._ask(messages.Destroy(purge))

    async def named(self, name: str) -> AsyncService:
        """See `Service.named`."""
        service = await self._in_thread(self._service.named, name)
        return AsyncService(service, self._threads)

    async def session(
        self,
        path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
    ) -> AsyncClientSession:
        """See `Service.session`."""
        session = await self._in_thread(self._service.session, path, session_token, fresh)
        return AsyncClientSession(session)

    async def close(self) -> None:
        """See `Service.close`."""
        try:
            await self._in_thread(self._service.close)
        finally:
            if self._has_own_threads:
                self._threads.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<keyturn.AsyncService of {self._service!r}>"

    async def _in_thread(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._threads.run(functools.partial(call, *args, **kwargs))

    async def _ask(self, message: Message[R]) -> R:
        return await ask_async(self._service.manager, message)


class _Threads:
    """Threads for what may wait, one lot for all handles of a log.

    Not the loop's own: a server that hangs must not keep those of the host.
    """

    def __init__(self) -> None:
        self._pool = self._new_pool()

    async def run(self, call: Callable[[], R]) -> R:
        in_context = functools.partial(contextvars.copy_context().run, call)
        return await asyncio.get_running_loop().run_in_executor(self._pool, in_context)

    def end(self) -> None:
        """Let them end. Who asks a closed service is answered by others, which start then."""
        ended, self._pool = self._pool, self._new_pool()
        ended.shutdown(wait=False)

    @staticmethod
    def _new_pool() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="keyturn-async")


class AsyncClientSession:
    """A `ClientSession` whose methods are awaited; it is closed with its service."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def read_token(self) -> SessionToken | None:
        """See `ClientSession.read_token`."""
        return await ask_async(self._session.ref, messages.ReadToken())

    async def write_token(
        self,
        token: SessionToken,
        replacing: SessionToken | None | Unconditionally = ANY_TOKEN,
    ) -> bool:
        """See `ClientSession.write_token`."""
        return await ask_async(self._session.ref, messages.WriteToken(token, replacing))

    async def clear_token(self) -> None:
        """See `ClientSession.clear_token`."""
        await ask_async(self._session.ref, messages.ClearToken())

    async def start(self, session_token: SessionToken | None = None, fresh: bool = False) -> None:
        """See `ClientSession.start`."""
        await ask_async(self._session.ref, messages.Start(fresh, session_token))

    async def stop(self) -> None:
        """See `ClientSession.stop`."""
        await ask_async(self._session.ref, messages.Stop())

    async def destroy(self) -> None:
        """See `ClientSession.destroy`."""
        await ask_async(self._session.ref, messages.Destroy())


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


def _next_page(changes: Iterator[KeyChange]) -> list[KeyChange]:
    return list(islice(changes, _PAGE))
