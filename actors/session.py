"""The session: an actor that owns the client's token file."""

from __future__ import annotations

from pathlib import Path

from keyturn.actors import messages
from keyturn.actors.lifecycle import Lifecycle, Status
from keyturn.actors.supervision import SupervisedActor, handles
from keyturn.config.logging import HostLogger
from keyturn.config.token_file import TokenFile
from keyturn.domain.errors import (
    SessionDestroyedError,
    SessionNotRunningError,
    SessionRunningError,
    UnknownMessageError,
)
from keyturn.domain.tokens import SessionToken


class Session(SupervisedActor):
    """Stores, reads and removes the session token of a client.

    Start it with `Session.start(…)`, which returns its `ActorRef` and raises what goes wrong.
    Send it the messages of `keyturn.actors.messages`, or call its methods through
    `ref.proxy()`; there `Start` and `Stop` are `resume` and `suspend`.

    Args:
        session_token_path: the token file; many processes may share it.
        session_token: a token to write at once.
        fresh: remove the token that is there.
        logger: a structlog logger; None: Keyturn's own.
    """

    def __init__(
        self,
        session_token_path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
        logger: HostLogger | None = None,
    ) -> None:
        super().__init__(logger)
        self._lifecycle = Lifecycle(
            f"session of {session_token_path}",
            SessionRunningError,
            SessionNotRunningError,
            SessionDestroyedError,
        )
        self._file = TokenFile(session_token_path)
        self._begin(session_token, fresh)

    @handles(messages.ReadToken)
    def read_token(self, _: messages.ReadToken) -> SessionToken | None:
        """See `ReadToken`."""
        self._lifecycle.require_running()
        return self._file.read()

    @handles(messages.WriteToken)
    def write_token(self, message: messages.WriteToken) -> bool:
        """See `WriteToken`."""
        self._lifecycle.require_running()
        return self._file.write(message.token, message.replacing)

    @handles(messages.ClearToken)
    def clear_token(self, _: messages.ClearToken) -> None:
        """See `ClearToken`."""
        self._lifecycle.require_running()
        self._file.clear()

    def resume(self, session_token: SessionToken | None = None, fresh: bool = False) -> None:
        """See `Start`."""
        given = session_token is not None or fresh
        if self._lifecycle.should_start(with_arguments=given):
            self._begin(session_token, fresh)
            self._lifecycle.status = Status.RUNNING

    @handles(messages.Start)
    def _on_start_message(self, message: messages.Start) -> None:
        self.resume(message.session_token, message.fresh)

    @handles(messages.Stop)
    def suspend(self, _: messages.Stop) -> None:
        """See `Stop`."""
        if self._lifecycle.is_running:
            self._lifecycle.status = Status.STOPPED

    @handles(messages.Destroy)
    def destroy(self, message: messages.Destroy) -> None:
        """See `Destroy`."""
        if message.purge:
            raise UnknownMessageError("a Session has nothing to purge: a SessionManager has")
        if self._lifecycle.should_destroy():
            self._file.clear()
            self._lifecycle.status = Status.DESTROYED

    def _begin(self, session_token: SessionToken | None, fresh: bool) -> None:
        self._file.prepare()
        if session_token is not None:
            self._file.write(session_token)
        elif fresh:
            self._file.clear()
