"""The part of the session manager that only reads: tokens and history, by messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from keyturn.actors import messages
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.replies import TokenReport
from keyturn.actors.supervision import SupervisedActor, handles
from keyturn.actors.token_issuer import TokenIssuer
from keyturn.projections.history import KeyChange, RotationHistory


def _handler(
    message_type: type[messages.FrozenMessage[Any]], method: Callable[..., Any]
) -> Callable[..., Any]:
    """Return the handler of a message that has the arguments of a method of the issuer.

    The last one is a transaction in the message, and the keys that it sees in the method.
    """

    def handler(self: ReadingActor, message: messages.FrozenMessage[Any]) -> Any:
        *arguments, tran = structs.astuple(message)
        return method(self._tokens, *arguments, self._parts.keys_of(tran))

    handler.__doc__ = f"See `{message_type.__name__}`."
    return handles(message_type)(handler)


class ReadingActor(SupervisedActor):
    """Answers what needs no change of the log, on the current head or in a transaction.

    Args:
        parts: what the manager is made of.
    """

    def __init__(self, parts: ManagerParts) -> None:
        super().__init__(parts.logger)
        self._parts = parts
        self._tokens = parts.tokens

    create_token = _handler(messages.CreateToken, TokenIssuer.create)
    create_tokens = _handler(messages.CreateTokens, TokenIssuer.create_many)
    verify_token = _handler(messages.VerifyToken, TokenIssuer.verify)
    verify_tokens = _handler(messages.VerifyTokens, TokenIssuer.verify_many)
    authenticate = _handler(messages.Authenticate, TokenIssuer.authenticate)
    authenticate_tokens = _handler(messages.AuthenticateTokens, TokenIssuer.authenticate_many)
    refresh_token = _handler(messages.RefreshToken, TokenIssuer.refresh)

    @handles(messages.InspectToken)
    def inspect_token(self, message: messages.InspectToken) -> TokenReport:
        """See `InspectToken`."""
        return self._parts.inspector.inspect(message.token, message.at)

    @handles(messages.ReadHistory)
    def read_history(self, message: messages.ReadHistory) -> tuple[KeyChange, ...]:
        """See `ReadHistory`."""
        history = RotationHistory(self._parts.log, self._parts.name)
        return tuple(history.changes(**structs.asdict(message)))
