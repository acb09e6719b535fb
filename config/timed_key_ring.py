"""A host's key ring with a time-out: a KMS may be far away, and hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from keyturn.config.local_key_ring import KeyRing
from keyturn.config.threads import in_thread
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
        self._hanging: set[object] = set()
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
        if len(self._hanging) >= _MOST_HANGING:
            raise KeyRingTimeoutError("the key ring does not answer: see that it does")
        is_over = threading.Event()

        def run() -> T:
            try:
                return call()
            finally:
                is_over.set()
                self._hanging.discard(is_over)

        try:
            return in_thread(run, timeout=self._timeout)
        except TimeoutError as error:
            if is_over.is_set():  # it is the key ring's own
                raise
            self._hanging.add(is_over)
            if is_over.is_set():
                self._hanging.discard(is_over)
            raise KeyRingTimeoutError(
                f"the key ring did not answer within {self._timeout:g} s: see that it does"
            ) from error


def timed(key_ring: KeyRingLike, timeout: float) -> KeyRingLike:
    """Return a key ring that answers in time, or says that it does not."""
    if isinstance(key_ring, KeyRing | TimedKeyRing):  # ours never hangs
        return key_ring
    return TimedKeyRing(key_ring, timeout)
