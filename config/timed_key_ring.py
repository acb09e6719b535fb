"""A host's key ring with a time-out: a KMS may be far away, and hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from keyturn.config.local_key_ring import KeyRing
from keyturn.config.threads import NotReturnedError, in_thread
from keyturn.domain.errors import KeyRingTimeoutError
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.secret import Secret

_MOST_HANGING = 4
"""Calls that hang at once; as long as there are so many, no further one is made."""

T = TypeVar("T")


class TimedKeyRing:
    """Calls a key ring in threads of their own, and waits for each no longer than `timeout`.

    Args:
        key_ring: the host's.
        timeout: seconds.
    """

    def __init__(self, key_ring: KeyRingLike, timeout: float) -> None:
        self._key_ring = key_ring
        self._timeout = timeout
        self._deadlines: list[float] = []  # of the calls that have not returned
        self.node_id = self._timed(lambda: key_ring.node_id)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """See `KeyRingLike`."""
        secret = Secret(plaintext)
        del plaintext
        return self._timed(lambda: self._key_ring.seal(secret.reveal(), context))

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """See `KeyRingLike`."""
        return self._timed(partial(self._key_ring.unseal, sealed, context))

    def sign(self, message: bytes) -> bytes:
        """See `KeyRingLike`."""
        return self._timed(partial(self._key_ring.sign, message))

    def _timed(self, call: Callable[[], T]) -> T:
        now = time.monotonic()
        if sum(deadline < now for deadline in self._deadlines) >= _MOST_HANGING:
            raise KeyRingTimeoutError("the key ring does not answer: see that it does")
        deadline = now + self._timeout

        def run() -> T:
            self._deadlines.append(deadline)  # here: a signal may keep a thread from starting
            try:
                return call()
            finally:
                self._deadlines.remove(deadline)

        try:
            return in_thread(run, timeout=self._timeout)
        except NotReturnedError as error:
            raise KeyRingTimeoutError(
                f"the key ring did not answer within {self._timeout:g} s: see that it does"
            ) from error


def timed(key_ring: KeyRingLike, timeout: float) -> KeyRingLike:
    """Return a key ring that answers in time, or says that it does not."""
    if isinstance(key_ring, KeyRing | TimedKeyRing):  # ours never hangs
        return key_ring
    return TimedKeyRing(key_ring, timeout)
