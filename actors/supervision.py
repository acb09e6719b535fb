"""An actor that a bad message cannot end."""

from __future__ import annotations

import os
import traceback
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pykka

from keyturn.actors.reply import Inbox, Ref, Reply
from keyturn.config.logging import Logger, get_logger
from keyturn.domain.errors import KeyturnError, MessageFailedError, UnknownMessageError
from keyturn.domain.redaction import forget_frames


class SupervisedActor(pykka.ThreadingActor):
    """A pykka actor with typed messages.

    Our own errors go to whoever asked. Any other exception is a bug, ours or a host's: it is
    logged, the actor recovers (`recover`), and the asker gets it too. Nothing ends the thread
    but a stop.
    """

    actor_inbox: Inbox
    use_daemon_thread = True  # a service that was not closed must not keep the process alive

    handlers: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    """The method for each type of message: called with the actor and the message."""

    def __init__(self, logger: Logger | None) -> None:
        self._logger = logger if logger is not None else get_logger()
        super().__init__()
        self._actor_ref = Ref(self)
        _actors.add(self)
        self.actor_inbox.on_untold_failure = self._log_untold_failure

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return Reply()

    def recover(self) -> None:
        """Forget whatever may be wrong; called in the actor's thread after a bug."""

    def on_receive(self, message: Any) -> Any:
        """Refuse a message that has no handler (in the actor's thread)."""
        known = ", ".join(sorted(message_type.__name__ for message_type in self.handlers))
        raise UnknownMessageError(
            f"{type(self).__name__} has no handler for {type(message).__name__}: send {known}"
        )

    def on_stop(self) -> None:
        """Answer everybody who still comes (in the actor's thread, as its last act)."""
        self.actor_inbox.close()

    def _handle_failure(self, *error: Any) -> None:
        # pykka's way to end an actor whose on_start or on_stop failed.
        super()._handle_failure(*error)
        self.actor_inbox.close()

    def _actor_loop_running(self) -> None:
        # pykka's own loop logs what it sends to an asker, and SystemExit ends all its actors.
        inbox, handlers = self.actor_inbox, self.handlers
        take = inbox.queue.get
        while not inbox.is_closed:
            message, reply = take()
            handler = handlers.get(type(message))
            try:
                if handler is not None:
                    answer = handler(self, message)
                else:  # a stop or a method call, which are pykka's, or what nobody knows
                    answer = self._handle_receive(message)
            except BaseException as error:  # noqa: BLE001  # the asker gets it
                failure = self._failure(message, error)
                reply.set_exception((type(failure), failure, failure.__traceback__))
            else:
                reply.set(answer)

    def _failure(self, message: object, error: BaseException) -> BaseException:
        """Return what the asker gets for what a message raised."""
        if isinstance(error, KeyturnError):
            forget_frames(error)
            return error
        try:
            self._crashed(message)
        except Exception as another:  # noqa: BLE001  # a host's logger may be broken
            return another
        if isinstance(error, Exception):
            return error
        failure = MessageFailedError(  # SystemExit would end every actor of the process
            f"handling {type(message).__name__} raised {type(error).__name__}; "
            f"{type(self).__name__} goes on"
        )
        failure.__cause__ = error
        return failure

    def _crashed(self, message: object) -> None:
        self._logger.error(
            "unexpected error in an actor; it starts again",
            actor=type(self).__name__,
            message=type(message).__name__,
            exception=traceback.format_exc(),  # as text: some loggers print local variables
        )
        self.recover()

    def _log_untold_failure(self, error: BaseException) -> None:
        self._logger.error(
            "a message that nobody waits for failed",
            actor=type(self).__name__,
            error=type(error).__name__,
            detail=str(error),
        )


_actors: weakref.WeakSet[SupervisedActor] = weakref.WeakSet()


def _refuse_after_fork() -> None:
    """Answer those in a forked child who send to an actor: its thread is the parent's."""
    for actor in list(_actors):
        actor.actor_inbox.close("the actor was started before a fork: start one in this process")


# A child whose registry was locked by another thread could never start an actor.
_registry_lock = pykka.ActorRegistry._actor_refs_lock  # noqa: SLF001
os.register_at_fork(
    before=_registry_lock.acquire,
    after_in_parent=_registry_lock.release,
    after_in_child=_registry_lock.release,
)
os.register_at_fork(after_in_child=_refuse_after_fork)
