"""An inbox and a reply of our own, for what pykka's leave to chance.

pykka answers nobody whose message arrives while the actor stops, lets an exception in a told
message end the actor, and blocks the event loop that awaits a reply. These do not, and are
quicker besides.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

import pykka
from pykka._envelope import Envelope
from pykka._future import _Unset
from pykka.messages import _ActorStop

from keyturn.domain.errors import KeyturnError

DEFAULT_TIMEOUT = 30.0
"""Seconds that an ask waits for its reply, unless told otherwise."""

A = TypeVar("A", bound=pykka.Actor)
T = TypeVar("T")
_UNSET = _Unset()
_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class AskTimeoutError(KeyturnError, pykka.Timeout, TimeoutError):
    """No reply within `timeout` seconds; the message may still be carried out."""

    def __init__(self, message: str, *, timeout: float = 0.0) -> None:
        super().__init__(message)
        self.timeout = timeout


class Reply(pykka.Future[T], Generic[T]):
    """A future that can be waited for by threads, with a timeout, and by an event loop."""

    __slots__ = ("_answer", "_callbacks", "_get_hook", "_get_hook_result")

    def __init__(self) -> None:
        self._get_hook = None  # this and the next are pykka's
        self._get_hook_result = _UNSET
        self._answer: tuple[Any, BaseException | None] | None = None
        self._callbacks: list[Callable[[], None]] = []

    def get(self, *, timeout: float | None = None) -> Any:
        """Wait for the reply; None waits for the default timeout.

        Raises:
            AskTimeoutError: there was none in time.
            Exception: what the actor raised.
        """
        if self._answer is None:
            if self._get_hook is not None:
                return super().get(timeout=timeout)
            self._wait(DEFAULT_TIMEOUT if timeout is None else max(timeout, 0.0))
        assert self._answer is not None
        value, error = self._answer
        if error is not None:
            raise error
        return value

    def set(self, value: T | None = None, error: BaseException | None = None) -> None:
        if self._answer is not None or self._get_hook is not None:
            raise queue.Full
        self._answer = (value, error)
        if self._callbacks:
            self._call_back()

    def set_exception(self, exc_info: _ExcInfo | None = None) -> None:
        _, error, _ = exc_info or sys.exc_info()
        assert error is not None
        self.set(error=error)

    def then(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the reply is there, in whatever thread brings it."""
        self._callbacks.append(callback)
        if self._answer is not None:
            self._call_back()

    def __await__(self) -> Generator[Any, None, T]:
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        import asyncio  # loaded already, or else nobody could be here

        if self._get_hook is not None:  # mapped, joined or of a stop: nobody will ever set it
            return await asyncio.to_thread(self.get)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        def wake_loop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(wake)

        self.then(wake_loop)
        await future
        value: T = self.get(timeout=0)
        return value

    def _wait(self, seconds: float) -> None:
        answered = threading.Lock()
        answered.acquire()
        self.then(answered.release)
        if not answered.acquire(timeout=seconds):
            self._forget(answered.release)
            message = f"no reply within {seconds:g} s: the actor may be waiting for the log"
            raise AskTimeoutError(message, timeout=seconds)

    def _forget(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(ValueError):  # it was called meanwhile
            self._callbacks.remove(callback)

    def _call_back(self) -> None:
        while True:
            try:
                callback = self._callbacks.pop()  # atomic: each is called by one thread
            except IndexError:
                return
            with contextlib.suppress(Exception):  # theirs, and no end of the actor
                callback()


class Ref(pykka.ActorRef[A]):
    """A pykka `ActorRef` to an actor that has an `Inbox`, and so gives a `Reply`."""

    actor_inbox: Inbox

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message: see `pykka.ActorRef.ask`. Wait for the reply, or return it as it is."""
        inbox = self.actor_inbox
        reply: Reply[Any] = Reply()
        if inbox.is_closed:
            reply.set(error=inbox.refusal())
        else:
            inbox.queue.put((message, reply))
            if inbox.is_closed:
                inbox.refuse_all()
        return reply.get(timeout=timeout) if block else reply


class Inbox:
    """An inbox that answers everybody: once closed, with `ActorDeadError`.

    `on_untold_failure` is called with the exception of a message that nobody waits for.
    """

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[tuple[Any, pykka.Future[Any]]] = queue.SimpleQueue()
        """Messages and their replies. Who puts one in looks afterwards whether it `is_closed`."""
        self.is_closed = False
        self._closed_because = ""
        self.on_untold_failure: Callable[[BaseException], None] = lambda error: None

    def put(self, envelope: Envelope[Any], /) -> None:
        reply = envelope.reply_to or _Untold(self.on_untold_failure)
        self.queue.put((envelope.message, reply))
        if self.is_closed:
            self.refuse_all()

    def get(self) -> Envelope[Any]:
        return Envelope(*self.queue.get())

    def empty(self) -> bool:
        return self.queue.empty()

    def close(self, because: str = "the actor has stopped") -> None:
        """Refuse what is in it and whatever may come."""
        self._closed_because = because
        self.is_closed = True
        self.refuse_all()

    def refusal(self) -> pykka.ActorDeadError:
        """Return what it answers once it is closed."""
        return pykka.ActorDeadError(self._closed_because)

    def refuse_all(self) -> None:
        """Answer everybody in it that the actor is dead."""
        while True:
            try:
                message, reply = self.queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, _ActorStop):
                reply.set(None)
            else:
                reply.set_exception((pykka.ActorDeadError, self.refusal(), None))


class _Untold(pykka.Future[Any]):
    """Stands for the asker of a message that was told."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._on_failure = on_failure

    def set(self, value: Any = None) -> None:
        pass

    def set_exception(self, exc_info: _ExcInfo | None = None) -> None:
        _, error, _ = exc_info or sys.exc_info()
        if error is not None and not isinstance(error, pykka.ActorDeadError):
            with contextlib.suppress(Exception):  # a host's logger may be broken
                self._on_failure(error)
