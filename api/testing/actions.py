"""What `when` can run: a message, or a function of the host, plain or async."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from keyturn.actors.messages import Message
from keyturn.testing.events import EventSpec

_WHAT_IT_TAKES = (
    "when() takes a message, such as ResetKey(), or a function without arguments, or with the "
    "service for its only one"
)


def check_action(action: object) -> None:
    """Raise `TypeError` if it cannot be run, or would not do what was meant."""
    if isinstance(action, Message):
        return
    if isinstance(action, type):
        name = action.__name__
        what = f"{name} is a class: "
        if issubclass(action, EventSpec):
            what += "given() takes events"
        else:
            what += f"write {name}(…), or a function that calls it"
        raise TypeError(f"{_WHAT_IT_TAKES}; {what}")
    if isinstance(action, EventSpec):
        raise TypeError(f"{_WHAT_IT_TAKES}; {action!r} is an event: given() takes those")
    if not callable(action) and not inspect.isawaitable(action):
        raise TypeError(f"{_WHAT_IT_TAKES}, not {action!r:.200}")


def takes_service(function: Callable[..., object]) -> bool:
    """Return whether a function must be given the service; False: it can do without.

    Raises:
        TypeError: it needs other arguments.
    """
    name = name_of(function)
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise TypeError(
            f"{_WHAT_IT_TAKES}; what {name} takes cannot be told: write lambda: {name}(…)"
        ) from error
    for arguments in ((), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise TypeError(f"{_WHAT_IT_TAKES}; {name}{signature} needs others: write lambda: {name}(…)")


def check_result(action: object, result: object) -> None:
    """Raise `TypeError` if a function returned what still had to be done."""
    name = name_of(action)
    kind = result if isinstance(result, type) else type(result)
    if issubclass(kind, Message):
        raise TypeError(
            f"{name} returned the message {kind.__name__}, which nobody sent: send it with "
            f"service.ask, or write when({kind.__name__}(…))"
        )
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(f"{name} returned a generator, and nothing of it has run: go through it")


def has_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    import asyncio  # only who has something to await comes here

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def not_awaited(name: str, awaitable: Awaitable[Any] | None = None) -> TypeError:
    """Return the error for what is async and was not awaited."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()  # or else Python warns, too
    return TypeError(
        f"{name} is async, and was not awaited: nothing of it has run. In an async test write "
        f"`await replay.when({name})`; in another one, call it with asyncio.run"
    )


def name_of(action: object) -> str:
    """Return what to call a message or a function in a failure."""
    if isinstance(action, Message):
        return repr(action)
    function = getattr(action, "func", action)  # of a functools.partial
    name: str = getattr(function, "__qualname__", repr(function))
    return name.rpartition(".<locals>.")[2]
