"""Asking an actor: typed ways to send a message, the reply, and what is known when none comes.

This is the asker's side; it knows nothing of how an actor handles its messages.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

import pykka

from keyturn.actors.messages import Message
from keyturn.domain.errors import KeyturnError, MessageFailedError, NotRunningError

DEFAULT_TIMEOUT = 30.0
"""Seconds that an ask waits for its reply, unless told otherwise."""

R = TypeVar("R")
T = TypeVar("T")
_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class AskTimeoutError(KeyturnError, pykka.Timeout, TimeoutError):
    """No reply within `timeout` seconds.

    `recorded` tells what became of the change that was asked for: False, there was none, and
    there will be none; None, it may have been made or may be yet: look at the history before
    you ask for it again.
    """

    def __init__(
        self, message: str, *, timeout: float = 0.0, recorded: bool | None = None
    ) -> None:
        super().__init__(message)
        self.timeout = timeout
        self.recorded = recorded


class ActorStoppedError(NotRunningError, pykka.ActorDeadError):
    """The actor has ended, or lives in the process that this one was forked from."""


def ask(
    ref: pykka.ActorRef[Any],
    message: Message[R],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    begin_within: float | None = None,
) -> R:
    """Send a message and wait for its reply.

    Args:
        ref: the actor.
        message: the message; it knows the type of its reply.
        timeout: seconds to wait.
        begin_within: seconds; an actor that has not begun by then does not begin. None: the
            timeout.

    Raises:
        AskTimeoutError: no reply in time; its `recorded` says whether it was carried out.
        ActorStoppedError: the actor has stopped.
        MessageFailedError: the handler raised what is no `KeyturnError`, a host's key ring for
            example; that is its `__cause__`.
        KeyturnError: what the message's documentation says.
    """
    try:
        reply: R = _sent(ref, message, timeout, begin_within).get(timeout=timeout)
    except KeyturnError:
        raise
    except Exception as error:
        raise _as_keyturn_error(error, message) from error
    return reply


async def ask_async(
    ref: pykka.ActorRef[Any],
    message: Message[R],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    begin_within: float | None = None,
) -> R:
    """Send a message and await its reply: the same as `ask`, and never blocks the event loop.

    Cancelling it does not take the message back.

    Args:
        ref: the actor.
        message: the message.
        timeout: seconds to wait for the reply.
        begin_within: seconds within which the actor must begin; None: the same.

    Returns:
        The reply.

    Raises: what `ask` raises.
    """
    try:
        reply: R = await _sent(ref, message, timeout, begin_within).get_async(timeout=timeout)
    except KeyturnError:
        raise
    except Exception as error:
        raise _as_keyturn_error(error, message) from error
    return reply


def _sent(
    ref: pykka.ActorRef[Any], message: object, timeout: float, begin_within: float | None
) -> Any:
    """Return the future of a message, to any kind of actor."""
    begin_within = timeout if begin_within is None else min(begin_within, timeout)
    return ref.ask(message, block=False, timeout=begin_within)


def _as_keyturn_error(error: Exception, message: object) -> KeyturnError:
    if isinstance(error, pykka.ActorDeadError):
        return ActorStoppedError(str(error))
    return MessageFailedError(
        f"handling {type(message).__name__} raised {type(error).__name__}; the actor goes on"
    )


class Asked:
    """A message that somebody waits for, on its way to an actor.

    The first of the two to call `claim` decides what becomes of it: the actor begins, or the
    asker takes it back.
    """

    __slots__ = ("_claimed", "deadline", "message", "timeout")

    def __init__(self, message: object, timeout: float | None) -> None:
        self.message = message
        self.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        self.deadline = time.monotonic() + self.timeout
        self._claimed = threading.Lock()

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.deadline

    def claim(self) -> bool:
        """Return whether nobody has called this before."""
        return self._claimed.acquire(blocking=False)

    def not_begun(self) -> AskTimeoutError:
        """Return the error of a message that nobody will carry out any more."""
        return AskTimeoutError(
            f"the actor did not begin within {self.timeout:g} s; it will not",
            timeout=self.timeout,
            recorded=False,
        )


class Failure:
    """What a handler raised, as a value: so pykka neither logs it nor ends the actor."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Reply(pykka.Future[T], Generic[T]):
    """A future for threads, with a timeout, and for an event loop.

    The first answer counts; further ones are ignored. Nobody waits while holding a lock that
    the actor needs: an interrupted asker would leave the actor waiting for ever.
    """

    asked: Asked | None = None
    """What this is the reply to, if it can be taken back."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: list[tuple[Any, BaseException | None, TracebackType | None]] = []
        self._callbacks: list[Callable[[], object]] = []
        self._is_derived = False

    def get(self, *, timeout: float | None = None) -> Any:
        """Wait for the reply; None waits for the default timeout.

        Waiting beyond the deadline of the ask takes the message back, if the actor has not
        begun. Waiting for less leaves it alone, and one may come back later.

        Raises:
            AskTimeoutError: there was none in time.
            Exception: what the actor raised.
        """
        if self._is_derived:
            return super().get(timeout=timeout)
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        for wait in self._waits(seconds):
            self._wait(wait)
        return self._result(seconds)

    async def get_async(self, *, timeout: float = math.inf) -> Any:
        """Await the reply: the same as `get`, and never blocks the event loop."""
        import asyncio  # loaded already, or else nobody could be here

        if self._is_derived:
            return await asyncio.to_thread(self.get)
        answered = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, answered.set)
        for wait in self._waits(timeout):
            self.then(wake)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await answered.wait()
            self._forget(wake)
        return self._result(timeout)

    def take_back(self) -> None:
        """Have a message that is late, and that the actor has not begun, never begin."""
        asked = self.asked
        if asked is not None and not self._answers and asked.is_late and asked.claim():
            self._answer(error=asked.not_begun())

    def set(self, value: T | Failure | None = None) -> None:
        if isinstance(value, Failure):
            self._answer(error=value.error)
        else:
            self._answer(value)

    def set_exception(self, exc_info: _ExcInfo | None = None) -> None:
        self._answer(error=(exc_info or sys.exc_info())[1])

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        super().set_get_hook(func)
        self._is_derived = True  # from other futures, by map or join; nobody ever sets this one

    def then(self, callback: Callable[[], object]) -> None:
        """Call `callback` once the reply is there, in whatever thread brings it."""
        self._callbacks.append(callback)
        if self._answers:
            self._call_back()

    def __await__(self) -> Generator[Any, None, T]:
        return self.get_async().__await__()

    __iter__ = __await__

    def _waits(self, timeout: float) -> Iterator[float]:
        """Yield for how long to wait: until the actor must have begun, and then until the end."""
        until = time.monotonic() + timeout
        begin = until if self.asked is None else min(self.asked.deadline, until)
        for moment in (begin, until):
            if not self._answers:
                yield moment - time.monotonic()
                self.take_back()

    def _result(self, seconds: float) -> Any:
        if not self._answers:
            may_change = self.asked is None or getattr(self.asked.message, "changes", True)
            raise AskTimeoutError(
                f"no reply within {seconds:g} s: the actor may be waiting for the log",
                timeout=seconds,
                recorded=None if may_change else False,
            )
        value, error, trace = self._answers[0]
        if error is not None:
            raise error.with_traceback(trace)
        return value

    def _wait(self, seconds: float) -> None:
        answered = threading.Lock()
        answered.acquire()
        self._callbacks.append(answered.release)
        if not self._answers:
            answered.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        self._forget(answered.release)

    def _forget(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(ValueError):  # it was called
            self._callbacks.remove(callback)

    def _answer(self, value: Any = None, error: BaseException | None = None) -> None:
        self._answers.append((value, error, error.__traceback__ if error else None))
        if self._callbacks:
            self._call_back()

    def _call_back(self) -> None:
        while True:
            try:
                callback = self._callbacks.pop()  # atomic: each is called by one thread
            except IndexError:
                return
            with contextlib.suppress(BaseException):  # theirs, and no end of the actor
                callback()
