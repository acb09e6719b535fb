"""The handle of a client's session: its actor's messages as plain methods."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pykka

from keyturn.actors import messages
from keyturn.actors.asking import ask
from keyturn.actors.messages import Message
from keyturn.actors.session import Session
from keyturn.config.threads import in_thread
from keyturn.config.token_file import ANY_TOKEN, Unconditionally
from keyturn.domain.errors import SessionNotRunningError
from keyturn.domain.tokens import SessionToken

R = TypeVar("R")


class ClientSession:
    """A `Session` actor and its token file. Close it, or use it in a `with` block.

    Needs no service: a client that only keeps a token opens one by itself.

    Args:
        path: the token file.
        session_token: a token to write at once.
        fresh: remove the token that is there.
    """

    def __init__(
        self,
        path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
    ) -> None:
        self._ref: pykka.ActorRef[Any] = in_thread(
            lambda: Session.start(path, session_token, fresh)
        )

    @property
    def ref(self) -> pykka.ActorRef[Any]:
        """The actor, for messages."""
        return self._ref

    def read_token(self) -> SessionToken | None:
        """Return the token in the file; None if there is none: see `ReadToken`."""
        return self._ask(messages.ReadToken())

    def write_token(
        self,
        token: SessionToken,
        replacing: SessionToken | None | Unconditionally = ANY_TOKEN,
    ) -> bool:
        """Write the token, and return whether it was written.

        Args:
            token: the token.
            replacing: write only if the file still holds this token (None: holds none), so that
                a late refresh undoes no logout.

        Raises:
            TokenFileError: the file cannot be written.
            SessionNotRunningError: the session was stopped or destroyed.
        """
        return self._ask(messages.WriteToken(token, replacing))

    def clear_token(self) -> None:
        """Log out here: see `ClearToken`."""
        self._ask(messages.ClearToken())

    def start(self, session_token: SessionToken | None = None, fresh: bool = False) -> None:
        """Start it again after `stop`.

        Args:
            session_token: a token to write then; None: what is in the file stays.
            fresh: remove the token that is there.

        Raises:
            SessionDestroyedError: it was destroyed.
            SessionRunningError: it runs, and there are arguments.
        """
        self._ask(messages.Start(fresh, session_token))

    def stop(self) -> None:
        """Stop it: see `Stop`."""
        self._ask(messages.Stop())

    def destroy(self) -> None:
        """Remove the token file; it must be stopped: see `Destroy`."""
        self._ask(messages.Destroy())

    def close(self) -> None:
        """End the actor. The token file stays."""
        with contextlib.suppress(pykka.ActorDeadError):
            self._ref.stop()

    def _ask(self, message: Message[R]) -> R:
        try:
            return ask(self._ref, message)
        except pykka.ActorDeadError as error:
            raise SessionNotRunningError("the session was closed: open it again") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
