"""An actor that a bad message cannot end, and the reference to it.

This is the actor's side of `keyturn.actors.asking`; it knows no message.
"""

from __future__ import annotations

import contextlib
import operator
import os
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar, final

import pykka
from pykka.messages import ProxyCall

from keyturn.actors.asking import Asked, Failure, Reply
from keyturn.config.logging import HostLogger, Logger, safe
from keyturn.config.threads import about_to_end
from keyturn.domain.errors import (
    KeyturnError,
    MessageFailedError,
    NoThreadError,
    UnknownMessageError,
)

A = TypeVar("A", bound=pykka.Actor)

_newest = threading.local()
"""The reference of the actor that each thread made last, as long as it is being started."""


class SupervisedActor(pykka.ThreadingActor):
    """A pykka actor with typed messages.

    Our own errors go to the sender of the message. Any other exception is a bug, ours or a
    host's: it is logged, the actor recovers (`recover`), and the sender gets it too. Nothing
    ends the thread but a stop.
    """

    actor_stopped: StopFlag
    use_daemon_thread = True  # a service that was not closed must not keep the process alive

    handlers: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    """The method for each type of message: called with the actor and the message."""

    def __init__(self, logger: HostLogger | Logger | None) -> None:
        self._logger = safe(logger)
        super().__init__()
        self.actor_stopped = StopFlag()
        self._ref: Ref[Any] = Ref(self)
        _newest.ref = self._ref

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> pykka.ActorRef[Self]:
        """Start an actor.

        Args:
            args: those of the class.
            kwargs: the same, by name.

        Returns:
            Its reference.

        Raises:
            NoThreadError: there is no thread to be had for it.
        """
        _newest.ref = None
        try:
            return super().start(*args, **kwargs)
        except RuntimeError as error:
            ref = _newest.ref
            # pykka registers an actor just before it starts the thread.
            if ref is None or pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None:
                raise
            pykka.ActorRegistry.unregister(ref)
            raise NoThreadError from error
        finally:
            _newest.ref = None

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
    def on_receive(self, sent: Any) -> Any:
        """Handle a message that came by a `Ref`; never raises."""
        if isinstance(sent, Asked) and (sent.is_late or not sent.claim()):
            return Failure(sent.not_begun())
        message = sent.message if isinstance(sent, Asked | Told) else sent
        try:
            return self.handle(message)
        except BaseException as error:  # noqa: BLE001  # SystemExit would end every actor
            failure = self._failure(message, error)
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


def calling(message: type[Any], method: Callable[..., object]) -> Callable[[Any, Any], object]:
    """Return the handler that calls a method with the fields of a message, in their order."""
    names: tuple[str, ...] = message.__match_args__
    if not names:
        return lambda actor, _: method(actor)
    fields = operator.attrgetter(*names)
    if len(names) == 1:
        return lambda actor, message: method(actor, fields(message))
    return lambda actor, message: method(actor, *fields(message))


def _is_for_pykka(message: object) -> bool:
    # Its own messages are handled by its loop; only calls may raise anything, and are ours.
    return type(message).__module__ == pykka.messages.__name__ and type(message) is not ProxyCall


def _forked() -> pykka.ActorDeadError:
    return pykka.ActorDeadError("the actor was started before a fork: start one in this process")


# Wait for threads inside the registry: a child forked meanwhile could never start an actor.
os.register_at_fork(before=pykka.ActorRegistry.get_all)
