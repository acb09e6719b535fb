"""Random ids for tokens and sessions, made a batch at a time.

One call to the system for each token would cost as much as its signature.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from operator import itemgetter

ID_LENGTH = 22
"""Characters of base64url in an id: 132 random bits."""

_BATCH = 128
_BATCH_LENGTH = _BATCH * ID_LENGTH
_cut = itemgetter(*(slice(n, n + ID_LENGTH) for n in range(0, _BATCH_LENGTH, ID_LENGTH)))


def random_pairs() -> Callable[[], tuple[str, str]]:
    """Return a source of random ids: each call gives two.

    Safe to call from any thread. A forked child starts with a batch of its own.
    """
    pool: list[str] = []
    os.register_at_fork(after_in_child=pool.clear)

    def next_pair() -> tuple[str, str]:
        while True:
            try:
                return pool.pop(), pool.pop()  # each is atomic
            except IndexError:
                random = os.urandom(_BATCH_LENGTH * 3 // 4)
                pool.extend(_cut(base64.urlsafe_b64encode(random).decode("ascii")))

    return next_pair


next_pair = random_pairs()
"""The source of this process."""
