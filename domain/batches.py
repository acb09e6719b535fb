"""Batches: how many tokens one call may make or check.

A batch is one turn of the actor, and everybody else waits for their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from keyturn.domain.errors import BatchError

MAX_BATCH: Final = 10_000
"""Tokens; checking so many takes some 0.03 s."""


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


def check_batch(tokens: object) -> list[object]:
    """Return the tokens of a batch to check, whatever each of them is.

    Raises:
        BatchError: it is one text or no iterable at all, or has more than `MAX_BATCH` tokens.
    """
    if isinstance(tokens, str | bytes | bytearray | memoryview):
        raise BatchError("a batch is a list of tokens, not a single one: put it into a list")
    if not isinstance(tokens, Iterable):
        raise BatchError(f"a batch is a list of tokens, not a {type(tokens).__name__}")
    batch = list(islice(tokens, MAX_BATCH + 1))
    if len(batch) > MAX_BATCH:
        raise BatchError(f"a batch has at most {MAX_BATCH} tokens: check them in several")
    return batch
