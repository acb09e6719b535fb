"""A key ring of a host's own, which does what a test wants before it signs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from keyturn import KeyRing


class HostKeyRing:
    """What Keyturn asks of a key ring, with hooks before what may take its time, or fail."""

    def __init__(self, ring: KeyRing | None = None) -> None:
        self._ring = ring or KeyRing.ephemeral()
        self.before_sign: Callable[[], object] = lambda: None
        self.before_unseal: Callable[[], object] = lambda: None

    @property
    def node_id(self) -> str:
        return self._ring.node_id

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        return self._ring.seal(plaintext, context)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        self.before_unseal()
        return self._ring.unseal(sealed, context)

    def sign(self, message: bytes) -> bytes:
        self.before_sign()
        return self._ring.sign(message)


class Gate:
    """Holds whoever comes until it is opened, and tells when somebody has come."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self._reached.set()
        assert self._opened.wait(30)

    def wait_until_reached(self) -> None:
        assert self._reached.wait(30)

    def open(self) -> None:
        self._opened.set()


def raises(error: BaseException) -> Callable[[], object]:
    """Return a hook that raises this."""

    def hook() -> object:
        raise error

    return hook
