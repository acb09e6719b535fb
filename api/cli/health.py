"""What a health check says of one thing that it looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Health:
    """One thing that was looked at.

    Attributes:
        what: it was.
        value: how it is.
        level: how bad that is.
        message: what is not as it should be, and what to do about it.
    """

    what: str
    value: str
    level: Level = Level.OK
    message: str | None = None

    @classmethod
    def warning(cls, what: str, value: str, message: str) -> Self:
        """Return what works, and would better be otherwise."""
        return cls(what, value, Level.WARNING, message)

    @classmethod
    def wrong(cls, what: str, value: str, message: str) -> Self:
        """Return what does not work."""
        return cls(what, value, Level.WRONG, message)
