"""Typed ways to send a message and have its reply."""

from __future__ import annotations

from typing import Any, TypeVar

import pykka

from keyturn.actors.messages import Message
from keyturn.actors.reply import DEFAULT_TIMEOUT, AskTimeoutError

R = TypeVar("R")


def ask(ref: pykka.ActorRef[Any], message: Message[R], *, timeout: float = DEFAULT_TIMEOUT) -> R:
    """Send a message and wait for its reply.

    Args:
        ref: the actor.
        message: the message; it knows the type of its reply.
        timeout: seconds to wait.

    Raises:
        AskTimeoutError: no reply in time; the message may still be carried out.
        pykka.ActorDeadError: the actor has stopped.
        KeyturnError: what the message's documentation says.
    """
    reply: R = ref.ask(message, block=False).get(timeout=timeout)
    return reply


async def ask_async(
    ref: pykka.ActorRef[Any], message: Message[R], *, timeout: float = DEFAULT_TIMEOUT
) -> R:
    """Send a message and await its reply: the same as `ask`, and never blocks the event loop."""
    import asyncio  # loaded already, or else nobody could be here

    try:
        async with asyncio.timeout(timeout) as limit:
            reply: R = await ref.ask(message, block=False)
    except TimeoutError:
        if not limit.expired():  # it is the reply: a host's key ring may time out
            raise
        raise AskTimeoutError(f"no reply within {timeout:g} s", timeout=timeout) from None
    return reply
