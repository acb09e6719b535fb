"""What a scenario tried, and what of it went wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """A row of the table.

    Attributes:
        what: the scenario, and what it was done to.
        tried: how often.
        hits: how often it hit something under way.
        bad: what was not as it must be.
    """

    what: str
    tried: int = 0
    hits: int = 0
    bad: list[str] = field(default_factory=list)


@dataclass
class Setting:
    """What a scenario needs.

    Attributes:
        folder: an empty one of its own.
        seconds: how long it may take, about.
        seed: of what it does at random.
    """

    folder: Path
    seconds: float
    seed: int

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._end


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as text, a line each."""
    lines = [f"{'what':48} {'tried':>8} {'hits':>8} {'bad':>5}"]
    for it in outcomes:
        lines.append(f"{it.what:48} {it.tried:8,} {it.hits:8,} {len(it.bad):5}")
        lines += [f"    {problem}" for problem in it.bad[:5]]
    return "\n".join(lines)
