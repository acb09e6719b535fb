"""Random ids for tokens and sessions, made a batch at a time.

One call to the system for each token would cost as much as its signature.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable

ID_LENGTH = 22
"""Characters of base64url in an id: 132 random bits."""

_PAIR_LENGTH = 2 * ID_LENGTH
_BATCH = 64


def random_pairs() -> Callable[[], str]:
    """Return a source of random text: each call gives two ids' worth, 44 characters.

    Safe to call from any thread. A forked child starts with a batch of its own.
    """
    pool: list[str] = []
    os.register_at_fork(after_in_child=pool.clear)

    def next_pair() -> str:
        try:
            return pool.pop()  # atomic
        except IndexError:
            text = base64.urlsafe_b64encode(os.urandom(_BATCH * _PAIR_LENGTH * 3 // 4))
            pairs = text.decode("ascii")
            pool.extend(
                pairs[start : start + _PAIR_LENGTH]
                for start in range(_PAIR_LENGTH, len(pairs), _PAIR_LENGTH)
            )
            return pairs[:_PAIR_LENGTH]

    return next_pair


next_pair = random_pairs()
"""The source of this process."""
