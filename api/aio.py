"""The service handle for asyncio: the same names, awaited. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import pykka

from keyturn.actors import messages
from keyturn.actors.activity import Metrics
from keyturn.actors.asking import ActorStoppedError, ask_async
from keyturn.actors.messages import Message, Subscriber
from keyturn.actors.replies import Authenticated
from keyturn.actors.session_manager import SessionManager
from keyturn.actors.token_issuer import began_after
from keyturn.actors.transaction import Transaction
from keyturn.domain.errors import NoThreadError, SessionManagerNotRunningError, TokenRefusedError
from keyturn.domain.secret import Password, hidden
from keyturn.domain.tokens import SessionToken
from keyturn.operations import asking_time, awaited_operation
from keyturn.projections.history import KeyChange
from keyturn.service import Service
from keyturn.token_file import ClientSession

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
_PAGE = 500
_THREADS = 4


class Threads:
    """Threads for what may wait, one lot for all handles of a log.

    Not the loop's own: a server that hangs must not keep those of the host.
    """

    def __init__(self) -> None:
        self._pool = self._new_pool()

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Have a call made in one of them."""
        context = contextvars.copy_context()
        given_up = threading.Event()

        def call_if_wanted() -> Any:
            return None if given_up.is_set() else context.run(call)

        try:
            return self._pool.submit(call_if_wanted)
        except RuntimeError as error:
            given_up.set()  # the pool has it in its queue all the same
            raise NoThreadError from error

    def end(self) -> None:
        """Let them end. Who asks a closed service is answered by others, which start then."""
        ended, self._pool = self._pool, self._new_pool()
        ended.shutdown(wait=False)

    @staticmethod
    def _new_pool() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="keyturn-async")


class _AwaitedHandle:
    """What has a plain handle, and threads to call it in."""

    def __init__(self, plain: Any, threads: Threads) -> None:  # Any: each kind has its own
        self.plain = plain
        self._threads = threads

    async def call(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in a thread, and return what it returns.

        Args:
            method: the function.
            args: its arguments.
            kwargs: the same, by name.
        """
        call = functools.partial(method, *args, **kwargs)
        return await asyncio.wrap_future(self._threads.submit(call))


def _threaded_operation(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return the awaited form of a method of the plain handle, which may wait."""

    async def call(self: _AwaitedHandle, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.call(method, self.plain, *args, **kwargs)

    functools.update_wrapper(call, method)
    return call


class AsyncService(_AwaitedHandle):
    """A `Service` whose methods are awaited. Close it, or use it in an `async with` block.

    Tokens are made and checked in the loop's thread if that needs no look at the log. What must
    read the log runs in a thread of the service; what changes something is a message to the
    actor. Cancelling an await does not cancel a change that was sent.
    """

    plain: Service

    def __init__(self, service: Service, threads: Threads | None = None) -> None:
        super().__init__(service, threads or Threads())
        self._tokens = service.parts.tokens
        self._functions: dict[object, Callable[[object], object]] = {}

    @property
    def manager(self) -> pykka.ActorRef[SessionManager]:
        """The manager's actor, for messages with `ask_async`.

        Raises:
            ActorStoppedError: it has ended. `ask` starts it again, which may take its time.
            SessionManagerNotRunningError: the service was closed.
        """
        manager = self.plain.running_manager
        if manager is None:
            if self.plain.is_closed:
                raise SessionManagerNotRunningError("the service was closed: open it again")
            raise ActorStoppedError("the manager's actor has ended: `ask` starts it again")
        return manager

    async def ask(self, message: Message[R], *, timeout: float | None = None) -> R:
        """See `Service.ask`."""
        manager = self.plain.running_manager
        if manager is None:  # it died, and starting it again reads the log
            manager = await self.call(lambda: self.plain.manager)
        time = asking_time(message, timeout, self.plain.lock_timeout)
        return await ask_async(manager, message, **time)

    # --- tokens ---

    async def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken:
        """See `Service.create_token`."""
        keys = self._tokens.current_keys if tran is None else None
        if keys is not None:  # to ask again might be to wait
            return self._tokens.create(expiry, subject, claims, keys)
        return await self.call(self.plain.create_token, expiry, subject, claims, tran)

    async def authenticate(
        self, token: object, max_age: float | None = None, tran: Transaction | None = None
    ) -> Authenticated:
        """See `Service.authenticate`."""
        keys = self._tokens.current_keys if tran is None else None
        if keys is not None:
            try:
                return self._tokens.authenticate(token, max_age, keys)
            except TokenRefusedError as error:
                if not began_after(keys, token, error.reason):
                    raise
        return await self.call(self.plain.authenticate, token, max_age, tran)

    async def verify_token(self, token: object, tran: Transaction | None = None) -> bool:
        """See `Service.verify_token`."""
        try:
            await self.authenticate(token, tran=tran)
        except TokenRefusedError:
            return False
        return True

    create_tokens = _threaded_operation(Service.create_tokens)
    verify_tokens = _threaded_operation(Service.verify_tokens)
    authenticate_tokens = _threaded_operation(Service.authenticate_tokens)
    refresh_token = _threaded_operation(Service.refresh_token)
    inspect_token = _threaded_operation(Service.inspect_token)

    # --- changes ---

    reset_key = awaited_operation(messages.ResetKey)
    rotate_key = awaited_operation(messages.RotateKey)
    end_session = awaited_operation(messages.EndSession)
    end_sessions = awaited_operation(messages.EndSessions)
    stop = awaited_operation(messages.Stop)
    destroy = awaited_operation(messages.Destroy)
    start = _threaded_operation(Service.start)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `Service.transaction`."""
        tran = await self.ask(messages.BeginTransaction())
        try:
            yield tran
            await self.ask(messages.CommitTransaction(tran))
        finally:
            tran.close()

    async def subscribe(self, subscriber: Subscriber) -> None:
        """See `Service.subscribe`. An async function is awaited in this event loop, in order."""
        function = subscriber
        if inspect.iscoroutinefunction(subscriber):
            loop = asyncio.get_running_loop()

            def function(event: object) -> None:
                asyncio.run_coroutine_threadsafe(subscriber(event), loop).result()

            self._functions[subscriber] = function
        await self.ask(messages.Subscribe(function))

    async def unsubscribe(self, subscriber: Subscriber) -> None:
        """See `Service.unsubscribe`."""
        function = self._functions.pop(subscriber, subscriber)
        await self.ask(messages.Unsubscribe(function))

    # --- the record ---

    async def history(self, *args: Any, **kwargs: Any) -> AsyncIterator[KeyChange]:
        """See `Service.history`, whose arguments it takes."""
        changes = self.plain.history(*args, **kwargs)
        while page := await self.call(lambda: list(islice(changes, _PAGE))):
            for change in page:
                yield change

    key_at = _threaded_operation(Service.key_at)
    audit = _threaded_operation(Service.audit)
    checkpoint = _threaded_operation(Service.checkpoint)

    # --- other handles, and the end ---

    managers = _threaded_operation(Service.managers)

    async def check_password(self, password: Password) -> bool:
        """See `Service.check_password`."""
        password = hidden(password)
        return await self.call(self.plain.check_password, password)

    def metrics(self) -> Metrics:
        """See `Service.metrics`: it is not awaited, since it never waits."""
        return self.plain.metrics()

    async def named(self, name: str, *, create: bool | None = None) -> AsyncService:
        """See `Service.named`."""
        plain = await self.call(self.plain.named, name, create=create)
        return AsyncService(plain, self._threads)

    async def session(
        self,
        path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
    ) -> AsyncClientSession:
        """See `Service.session`."""
        session = await self.call(self.plain.session, path, session_token, fresh)
        return AsyncClientSession(session, self._threads)

    async def close(self) -> None:
        """See `Service.close`."""
        try:
            await self.call(self.plain.close)
        except NoThreadError:
            self.plain.close()
        finally:
            self._threads.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<keyturn.AsyncService of {self.plain!r}>"


class AsyncClientSession(_AwaitedHandle):
    """A `ClientSession` whose methods are awaited; it is closed with its service."""

    ask = _threaded_operation(ClientSession.ask)
    read_token = _threaded_operation(ClientSession.read_token)
    write_token = _threaded_operation(ClientSession.write_token)
    clear_token = _threaded_operation(ClientSession.clear_token)
    start = _threaded_operation(ClientSession.start)
    stop = _threaded_operation(ClientSession.stop)
    destroy = _threaded_operation(ClientSession.destroy)
