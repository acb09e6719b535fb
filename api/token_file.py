"""The handle of a client's session: its actor's messages as plain methods."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Self, TypeVar

import pykka

from keyturn.actors import messages
from keyturn.actors.asking import ask
from keyturn.actors.messages import Message
from keyturn.actors.session import Session
from keyturn.config.threads import in_thread
from keyturn.domain.errors import SessionNotRunningError
from keyturn.domain.tokens import SessionToken
from keyturn.operations import operation

R = TypeVar("R")


class ClientSession:
    """A `Session` actor and its token file. Close it, or use it in a `with` block.

    Needs no service: a client that only keeps a token opens one by itself.

    Args:
        path: the token file.
        session_token: a token to write at once.
        fresh: remove the token that is there.

    Attributes:
        ref: the actor, for messages.
    """

    def __init__(
        self,
        path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
    ) -> None:
        self.ref: pykka.ActorRef[Any] = in_thread(
            lambda: Session.start(path, session_token, fresh)
        )

    def ask(self, message: Message[R]) -> R:
        """Send the session a message and wait for its reply: see `keyturn.ask`.

        Raises:
            SessionNotRunningError: it was closed, stopped or destroyed.
            TokenFileError: the file cannot be used.
        """
        try:
            return ask(self.ref, message)
        except pykka.ActorDeadError as error:
            raise SessionNotRunningError("the session was closed: open it again") from error

    read_token = operation(messages.ReadToken)
    write_token = operation(messages.WriteToken)
    clear_token = operation(messages.ClearToken)
    stop = operation(messages.Stop)

    def start(self, session_token: SessionToken | None = None, fresh: bool = False) -> None:
        """Start it again after `stop`.

        Args:
            session_token: a token to write then; None: what is in the file stays.
            fresh: remove the token that is there.

        Raises:
            SessionDestroyedError: it was destroyed.
            SessionRunningError: it runs, and there are arguments.
        """
        self.ask(messages.Start(fresh, session_token))

    def destroy(self) -> None:
        """Remove the token file; it must be stopped: see `Destroy`."""
        self.ask(messages.Destroy())

    def close(self) -> None:
        """End the actor. The token file stays."""
        with contextlib.suppress(pykka.ActorDeadError):
            self.ref.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
