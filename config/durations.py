"""Durations as people write them: `45s`, `30m`, `24h`, `90d`, or a plain number of seconds."""

from __future__ import annotations

import re
from typing import Final

from keyturn.domain.errors import DurationError
from keyturn.domain.limits import check_seconds

FORMS: Final = "seconds, or a duration like 45s, 30m, 24h or 90d"
"""What may be written, for messages."""

_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([smhd]?)\s*", re.A | re.I)


def parse_duration(text: str) -> float:
    """Return how many seconds a text means.

    Args:
        text: a number ≥ 0, with a unit (s, m, h, d) or without one: then it is in seconds.

    Raises:
        DurationError: it is no such text, or not finite. The error does not show it.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise DurationError(f"a duration is a number of {FORMS}")
    number, unit = found.groups()
    return check_seconds(float(number) * _SECONDS[unit.lower()], "a duration")
