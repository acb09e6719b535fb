"""An actor that a bad message cannot end, and the reference to it.

This is the actor's side of `keyturn.actors.asking`; it knows no message.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar, final

import pykka
from pykka.messages import ProxyCall

from keyturn.actors.asking import Asked, Failure, Reply
from keyturn.actors.messages import Message
from keyturn.config.logging import HostLogger, Logger, safe
from keyturn.config.threads import about_to_end
from keyturn.domain.errors import (
    KeyturnError,
    MessageFailedError,
    NoThreadError,
    UnknownMessageError,
)

A = TypeVar("A", bound=pykka.Actor)
P = ParamSpec("P")
R = TypeVar("R")


def handles(
    message: Callable[P, Message[R]],
) -> Callable[[Callable[[Any, Any], R]], Callable[Concatenate[Any, P], R]]:
    """Make a method of an actor the handler of a message.

    The method is written for the message; who calls it, by a proxy, gives the message's fields.
    """

    def decorate(handler: Callable[[Any, Any], R]) -> Callable[Concatenate[Any, P], R]:
        @functools.wraps(handler)
        def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return handler(self, message(*args, **kwargs))

        method.handles = message  # type: ignore[attr-defined]
        return method

    return decorate


class SupervisedActor(pykka.ThreadingActor):
    """A pykka actor with typed messages, each with a method that `handles` it.

    Our own errors go to the sender of the message. Any other exception is a bug, ours or a
    host's: it is logged, the actor recovers (`recover`), and the sender gets it too. Nothing
    ends the thread but a stop.
    """

    actor_stopped: StopFlag
    use_daemon_thread = True  # a service that was not closed must not keep the process alive

    handlers: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    """The handler of each type of message: called with the actor and the message."""

    def __init_subclass__(cls) -> None:
        own = [method for method in vars(cls).values() if hasattr(method, "handles")]
        cls.handlers = cls.handlers | {method.handles: method.__wrapped__ for method in own}

    def __init__(self, logger: HostLogger | Logger | None) -> None:
        self._logger = safe(logger)
        super().__init__()
        self.actor_stopped = StopFlag()
        self._ref: Ref[Any] = Ref(self)

    @property
    def actor_ref(self) -> Ref[Self]:
        """The reference that `start` returns and the registry holds."""
        return self._ref

    @staticmethod
    def _create_actor_inbox() -> Any:
        return queue.SimpleQueue()  # quicker than pykka's

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return Reply()

    def _start_actor_loop(self) -> None:
        try:
            super()._start_actor_loop()
        except RuntimeError as error:
            pykka.ActorRegistry.unregister(self.actor_ref)  # it would be waited for at the exit
            raise NoThreadError from error

    def recover(self) -> None:
        """Forget whatever may be wrong; called in the actor's thread after a bug."""

    def on_stop(self) -> None:
        """Have the next fork wait until this thread has ended (in it, as its last act)."""
        about_to_end()

    def handle(self, message: Any) -> Any:
        """Return the reply to a message; called in the actor's thread, and may raise anything."""
        handler = self.handlers.get(type(message))
        if handler is not None:
            return handler(self, message)
        if isinstance(message, ProxyCall):
            method = operator.attrgetter(".".join(message.attr_path))(self)
            return method(*message.args, **message.kwargs)
        known = ", ".join(sorted(message_type.__name__ for message_type in self.handlers))
        raise UnknownMessageError(
            f"{type(self).__name__} has no handler for {type(message).__name__}: send {known}"
        )

    @final
    def on_receive(self, sent: Asked | Told) -> Any:
        """Handle a message that came by a `Ref`; never raises."""
        if isinstance(sent, Asked) and (sent.is_late or not sent.claim()):
            return Failure(sent.not_begun())
        try:
            return self.handle(sent.message)
        except BaseException as error:  # noqa: BLE001  # SystemExit would end every actor
            failure = self._failure(sent.message, error)
        if isinstance(sent, Told):
            self._log_error(
                "a message that nobody waits for failed",
                error="".join(traceback.format_exception_only(failure)).strip(),
            )
        return Failure(failure)

    def _failure(self, message: object, error: BaseException) -> BaseException:
        """Return what the asker gets for what a message raised."""
        if isinstance(error, KeyturnError):
            return error
        name = type(message).__name__
        self._log_error(
            "unexpected error in an actor; it starts again",
            message=name,
            exception=traceback.format_exc(),  # as text: some loggers print local variables
        )
        try:
            self.recover()
        except BaseException:  # noqa: BLE001  # the asker gets the first error
            self._log_error("an actor could not recover", exception=traceback.format_exc())
        if isinstance(error, Exception):
            return error
        failure = MessageFailedError(
            f"handling {name} raised {type(error).__name__}; {type(self).__name__} goes on"
        )
        failure.__cause__ = error
        return failure

    def _log_error(self, event: str, **values: str) -> None:
        with contextlib.suppress(BaseException):  # a host's logger may be broken
            self._logger.error(event, actor=type(self).__name__, **values)


class Ref(pykka.ActorRef[A]):
    """A pykka `ActorRef` whose every ask is answered.

    Its `ask` has a deadline and gives a `Reply`; what it tells cannot end the actor. In a
    forked child the actor is dead: its thread is the parent's.
    """

    actor_stopped: StopFlag

    def __init__(self, actor: A) -> None:
        super().__init__(actor)
        self._pid = os.getpid()

    def is_alive(self) -> bool:
        return self._pid == os.getpid() and super().is_alive()

    def tell(self, message: Any) -> None:
        if self._pid != os.getpid():
            raise _forked()
        with self.actor_stopped.lock:
            super().tell(message if _is_for_pykka(message) else Told(message))

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message: see `pykka.ActorRef.ask`. Wait for the reply, or return it as it is.

        Args:
            message: anything.
            block: wait for the reply.
            timeout: seconds, also until the actor must have begun; None: the default.
        """
        if self._pid != os.getpid():
            reply: Any = Reply[Any]()
            reply.set(Failure(_forked()))
        else:
            asked = None if _is_for_pykka(message) else Asked(message, timeout)
            with self.actor_stopped.lock:
                reply = super().ask(asked or message, block=False)
            reply.asked = asked
        return reply.get(timeout=timeout) if block else reply


class StopFlag(threading.Event):
    """A stop flag that is not set while somebody who saw it unset puts a message.

    So every message is in the inbox before the actor empties it for the last time, and is
    answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()  # a finalizer may tell something in the middle of an ask

    def set(self) -> None:
        with self.lock:
            super().set()


class Told:
    """A message that nobody waits for, on its way to an actor."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message


def _is_for_pykka(message: object) -> bool:
    # Its own messages are handled by its loop; only calls may raise anything, and are ours.
    return type(message).__module__ == pykka.messages.__name__ and type(message) is not ProxyCall


def _forked() -> pykka.ActorDeadError:
    return pykka.ActorDeadError("the actor was started before a fork: start one in this process")


# Wait for threads inside the registry: a child forked meanwhile could never start an actor.
os.register_at_fork(before=pykka.ActorRegistry.get_all)
