"""Batches: how many tokens one call may make or check, or sessions end.

A batch is one turn of the actor, and everybody else waits for their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from keyturn.domain.errors import BatchError, SessionArgumentError

MAX_BATCH: Final = 10_000
"""Tokens, or sids; checking so many tokens takes some 0.03 s."""

MAX_SID: Final = 100
"""Characters; those of Keyturn have 22."""


def check_count(count: object) -> int:
    """Return a number of tokens to make.

    Raises:
        BatchError: it is no whole number from 0 to `MAX_BATCH`.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise BatchError(f"a number of tokens is an int, not a {type(count).__name__}")
    if not 0 <= count <= MAX_BATCH:
        raise BatchError(f"a batch has 0 to {MAX_BATCH} tokens: make them in several")
    return count


def check_batch(items: object, what: str = "tokens") -> list[object]:
    """Return what a batch consists of, whatever each of them is.

    Args:
        items: the batch.
        what: what to call them in an error.

    Raises:
        BatchError: it is one text or no iterable at all, or has more than `MAX_BATCH` items.
    """
    if isinstance(items, str | bytes | bytearray | memoryview):
        raise BatchError(f"a batch is a list of {what}, not a single one: put it into a list")
    if not isinstance(items, Iterable):
        raise BatchError(f"a batch is a list of {what}, not a {type(items).__name__}")
    batch = list(islice(items, MAX_BATCH + 1))
    if len(batch) > MAX_BATCH:
        raise BatchError(f"a batch has at most {MAX_BATCH} {what}: make several of it")
    return batch


def check_sids(sids: object) -> list[str]:
    """Return the sids of sessions to end.

    Raises:
        BatchError: these are too many, or no list of texts.
        SessionArgumentError: one cannot be a sid.
    """
    found = check_batch(sids, "sids")
    for sid in found:
        if not isinstance(sid, str) or not 0 < len(sid) <= MAX_SID or not sid.isprintable():
            raise SessionArgumentError(
                f"a sid is printable text of 1 to {MAX_SID} characters: take it from "
                "`authenticate(token).sid`"
            )
    return [str(sid) for sid in found]
