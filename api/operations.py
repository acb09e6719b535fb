"""Methods of the handles, made from messages: a message says what a method takes and returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from keyturn.actors.messages import Destroy, Message, Start, Stop

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Asks(Protocol):
    """What sends a message and waits for its reply."""

    def ask(self, message: Message[R]) -> R: ...


class AsksAwaited(Protocol):
    """What sends a message and awaits its reply."""

    async def ask(self, message: Message[R]) -> R: ...


def operation(message: Callable[P, Message[R]]) -> Callable[Concatenate[Asks, P], R]:
    """Return a method that sends this message and returns its reply.

    Its arguments and its documentation are the message's.
    """

    def call(self: Asks, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.ask(message(*args, **kwargs))

    return _described(call, message)


def awaited_operation(
    message: Callable[P, Message[R]],
) -> Callable[Concatenate[AsksAwaited, P], Awaitable[R]]:
    """Return a method that sends this message, to be awaited: see `operation`."""

    async def call(self: AsksAwaited, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.ask(message(*args, **kwargs))

    return _described(call, message)


def handed_on(call: Callable[P, R], take: Callable[[Callable[[], R]], S]) -> Callable[P, S]:
    """Return a function with the arguments of another one, which does not call that itself.

    Args:
        call: the other one.
        take: gets the call, arguments included; what it returns is returned.
    """

    @functools.wraps(call)
    def hand_on(*args: P.args, **kwargs: P.kwargs) -> S:
        return take(functools.partial(call, *args, **kwargs))

    return hand_on


def asking_time(message: object, timeout: float | None, lock_timeout: float) -> dict[str, Any]:
    """Return how long to wait for the reply to a message, as arguments of `keyturn.ask`.

    Args:
        message: the message.
        timeout: seconds, as the caller said; None: nothing was said.
        lock_timeout: seconds within which the actor must begin then. One that starts, stops or
            destroys has the default: it comes after all that was asked before.
    """
    if timeout is not None:
        return {"timeout": timeout}
    return {} if isinstance(message, Start | Stop | Destroy) else {"begin_within": lock_timeout}


C = TypeVar("C", bound=Callable[..., Any])


def _described(call: C, message: Any) -> C:
    names = ("self", *message.__struct_fields__)
    defaults = (inspect.Parameter.empty,) * len(names) + message.__struct_defaults__
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=default,
            annotation=message.__annotations__.get(name, inspect.Parameter.empty),
        )
        for name, default in zip(names, defaults[-len(names) :], strict=True)
    ]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__doc__ = (message.__doc__ or "").replace("Attributes:", "Args:")
    call.__name__ = _method_name(message.__name__)
    call.__qualname__ = call.__name__
    return call


def _method_name(message: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in message).lstrip("_")
