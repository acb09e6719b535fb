"""When a key is rotated with nobody asking: by the age of the key, and by nothing else.

Every process that shares a log judges for itself, by what the log says: so no process is in
charge, and the first one is the only one. It knows no log and no thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import ceil, inf
from typing import Self

from keyturn.domain.claims import check_overlap
from keyturn.domain.errors import DurationError, ExpiryError, SettingsError
from keyturn.domain.limits import check_seconds
from keyturn.domain.session_keys import MAX_RETIRING, SessionKeys

INITIATOR = "rotation policy"
"""Who rotated, for the record."""

MIN_SECONDS = 1.0
"""More often is a mistake: each rotation is an event for ever."""


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """Rotate a key that is `every` seconds old, with an `overlap` in whole seconds."""

    every: float
    overlap: int

    @classmethod
    def of(
        cls, rotate_every: float | None, overlap: int | None, expiry: float | None
    ) -> Self | None:
        """Return the policy that these settings say, None for none.

        Args:
            rotate_every: seconds; None: never.
            overlap: whole seconds; None: as long as a token lives.
            expiry: seconds that a token lives; None: for ever.

        Raises:
            SettingsError: one of them is bad, or they do not go together.
        """
        if overlap is not None:
            overlap = _overlap(overlap)
        if rotate_every is None:
            return None
        try:
            every = check_seconds(rotate_every, "rotate_every", least=MIN_SECONDS)
        except DurationError as error:
            raise _bad("rotate_every", f"{error} (None: never)") from error
        if overlap is None:
            if expiry is None:
                raise _bad(
                    "overlap",
                    "tokens live for ever (expiry is never), and keys are to be rotated "
                    "(rotate_every): say with overlap for how many seconds tokens under an old "
                    "key stay good",
                )
            why = "tokens live too long for an overlap (expiry), so say one: "
            overlap = _overlap(ceil(expiry), why)
        if overlap > every * MAX_RETIRING:
            raise _bad(
                "rotate_every",
                f"with rotate_every {_plain(every)} and an overlap of {overlap} s more than "
                f"{MAX_RETIRING} keys would overlap: rotate every {ceil(overlap / MAX_RETIRING)} "
                "s or less often, or shorten the overlap",
            )
        return cls(every, overlap)

    @property
    def reason(self) -> str:
        """Why a key was rotated, for the record."""
        return f"every {_plain(self.every)} s"


class KeyAge:
    """How old the current key is, as far as this process knows. Safe to use from any thread.

    That is the time since the event that made it, or how long this process has seen it,
    whichever is longer. So neither a clock that was set back nor an event that another machine
    dated in the future keeps a key for ever, and a clock set forward costs one early rotation.

    Args:
        wall: the time that events are dated by.
        lasting: seconds that nobody sets, and that go on while the machine sleeps.
    """

    def __init__(self, wall: Callable[[], datetime], lasting: Callable[[], float]) -> None:
        self._wall = wall
        self._lasting = lasting
        self._seen: tuple[str, datetime, float] | None = None

    def see(self, keys: SessionKeys) -> None:
        """Note which key is the current one."""
        if self._seen is None or self._seen[0] != keys.key_id:
            self._seen = (keys.key_id, keys.key_made_at or keys.modified_on, self._lasting())

    def seconds(self) -> float:
        """Return the age of the key seen last; as long as none was, it is infinite."""
        if self._seen is None:
            return inf
        _, made_at, seen_at = self._seen
        return max((self._wall() - made_at).total_seconds(), self._lasting() - seen_at)


def _overlap(seconds: int, why: str = "") -> int:
    try:
        return check_overlap(seconds)
    except ExpiryError as error:
        raise _bad("overlap", f"{why}{error}") from None


def _bad(key: str, message: str) -> SettingsError:
    return SettingsError(message, key=key, source="the arguments")


def _plain(seconds: float) -> str:
    return f"{seconds:.15g}"
