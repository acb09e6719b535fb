"""A service with a past: changes of keys and tokens at times that a test chooses."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import keyturn
from keyturn import KeyRing, Service, SessionKeys, TokenReport
from keyturn.domain.session_keys import Origin
from tests.heads import keys_at_head

HOUR = 3600
MINUTE = 60
INSTANT = 1e-6


class Past:
    """A service whose history is written at the times that a test chooses.

    All times are seconds after the first key was generated.
    """

    def __init__(self, path: Path, key_ring: KeyRing, **options: Any) -> None:
        self._key_ring = key_ring
        self.now = 0.0
        self.start = datetime.now(UTC)
        self.service: Service = keyturn.open(
            path=path,
            key_ring=key_ring,
            clock=lambda: self.moment(self.now).timestamp(),
            **options,
        )
        self.start = next(self.service.history()).at

    def moment(self, at: float) -> datetime:
        return self.start + timedelta(seconds=at)

    def token(self, at: float, **arguments: Any) -> str:
        """A token that was issued at this time, which is not before the newest change."""
        self.now = at
        return self.service.create_token(**arguments)

    def reset(self, at: float, initiator: str = "bob", reason: str | None = None) -> None:
        self._change("reset", at, initiator, reason)

    def rotate(self, at: float, overlap: int, initiator: str = "carol") -> None:
        self._change("rotate", at, initiator, "routine", overlap=overlap)

    def regenerate(self, at: float) -> None:
        self._change("regenerate", at, "erin", None)

    def destroy(self, at: float, initiator: str = "dave") -> None:
        keys = self._load()
        keys.destroy(self._key_ring, Origin(initiator, "the end", self.moment(at)))
        assert self.service.log.append(keys)

    def inspect(self, token: str, at: float) -> TokenReport:
        return self.service.inspect_token(token, self.moment(at))

    def _change(
        self, command: str, at: float, initiator: str, reason: str | None, **arguments: int
    ) -> None:
        keys = self._load()
        by = Origin(initiator, reason, self.moment(at))
        getattr(keys, command)(secrets.token_bytes(32), self._key_ring, by, **arguments)
        assert self.service.log.append(keys)

    def _load(self) -> SessionKeys:
        keys = keys_at_head(self.service.log, "default")
        assert keys is not None
        return keys
