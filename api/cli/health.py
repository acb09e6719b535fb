"""What a health check says of one thing that it looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
