"""Where things stand on a timeline: keys drawn to scale, and round moments below them.

It knows nothing of the page that it is drawn on: what it returns are percents of a width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from keyturn.projections.history import KeyChange

_MAX_SEGMENTS = 60  # of a timeline; more are merged to at most twice as many
_MAX_ALONE = 30  # resets that are never merged with others
_MIN_WIDTH = 0.45  # of a segment, in percent of its timeline
_DAY = 86_400
_TICK_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 10_800, 21_600, 43_200, _DAY, 2 * _DAY, 7 * _DAY)
_TICK_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200)
_MAX_TICKS = 7
_TICK_ROOM = 11  # percents from one tick to the next, for its text
LOUD = ("reset", "destroyed")
"""The kinds that end every session: none of them is lost among others."""
_MONTHS = range(datetime.min.year * 12, (datetime.max.year + 1) * 12)


@dataclass(slots=True)
class Segment:
    """A piece of a timeline: a generation, or several that are too short to be seen alone."""

    changes: Sequence[KeyChange]
    seconds: float
    left: float = 0.0
    width: float = 0.0

    @property
    def loud(self) -> list[KeyChange]:
        """The changes that must be seen, however many others they stand among."""
        return [change for change in self.changes if change.kind in LOUD]


def segments_of(changes: Sequence[KeyChange], made_at: datetime) -> list[Segment]:
    """Return the timeline, each piece as long as it lasted, but never too short to be seen."""
    ends = [change.at for change in changes[1:]] + [made_at]
    pieces = [
        Segment([change], max(0.0, (end - change.at).total_seconds()))
        for change, end in zip(changes, ends, strict=True)
    ]
    if len(pieces) > _MAX_SEGMENTS:
        pieces = list(_merged(pieces))
    left = 0.0
    for piece, width in zip(pieces, _widths([p.seconds for p in pieces]), strict=True):
        piece.left, piece.width = left, width
        left += width
    return pieces


def _merged(pieces: Sequence[Segment]) -> Iterator[Segment]:
    """Yield the long pieces as they are, and runs of short ones as one.

    A reset stays alone too, unless there are too many of them.
    """
    enough = sum(piece.seconds for piece in pieces) / _MAX_SEGMENTS or 1.0
    keeps_loud = sum(len(piece.loud) for piece in pieces) <= _MAX_ALONE
    run: list[KeyChange] = []
    seconds = 0.0
    was_alone = False
    for piece in pieces:
        is_alone = piece.seconds >= enough or (keeps_loud and bool(piece.loud))
        if run and (is_alone or was_alone or seconds >= enough):
            yield Segment(run, seconds)
            run, seconds = [], 0.0
        run.extend(piece.changes)
        seconds += piece.seconds
        was_alone = is_alone
    yield Segment(run, seconds)


def _widths(seconds: Sequence[float]) -> list[float]:
    """Return widths in percent: to scale, but for those that would be too small."""
    if not any(seconds):
        return [100 / len(seconds)] * len(seconds)
    narrow: set[int] = set()
    while True:
        room = 100 - _MIN_WIDTH * len(narrow)
        rest = sum(s for number, s in enumerate(seconds) if number not in narrow)
        more = {n for n, s in enumerate(seconds) if s * room < _MIN_WIDTH * rest} - narrow
        if not more:
            break
        narrow |= more
    return [_MIN_WIDTH if n in narrow else s * room / rest for n, s in enumerate(seconds)]


def ticks_of(segments: Sequence[Segment], made_at: datetime) -> Iterator[tuple[float, str, str]]:
    """Yield round moments: where they stand, in percent, their text and how it is anchored."""
    start = segments[0].changes[0].at
    moments, form = _round_moments(start, made_at)
    free = 0.0
    for moment in moments:
        segment = next((s for s in segments if 0 <= _since(s, moment) < s.seconds), None)
        if segment is None:
            continue
        x = place_of(moment, segment)
        if x < free:  # the text of the one before stands there
            continue
        free = x + _TICK_ROOM
        anchor = "start" if x < 6 else "end" if x > 94 else "middle"
        label = f"{moment:{form}}"
        yield x, label.lstrip("0") if form.startswith("%d") else label, anchor


def place_of(moment: datetime, segment: Segment) -> float:
    """Return where a moment of a segment stands, in percent of the timeline."""
    share = _since(segment, moment) / segment.seconds if segment.seconds else 0.0
    share = min(1.0, max(0.0, share))
    return round(segment.left + segment.width * share, 3)


def _since(segment: Segment, moment: datetime) -> float:
    return (moment - segment.changes[0].at).total_seconds()


def _round_moments(start: datetime, end: datetime) -> tuple[list[datetime], str]:
    seconds = (end - start).total_seconds()
    for step in _TICK_SECONDS:
        if seconds / step <= _MAX_TICKS:
            first = -(-start.timestamp() // step) * step
            stamps = [first + n * step for n in range(_MAX_TICKS + 1)]
            moments = [datetime.fromtimestamp(s, UTC) for s in stamps if s <= end.timestamp()]
            form = "%d %b" if step >= _DAY else "%H:%M" if step >= 60 else "%H:%M:%S"
            return moments, form if seconds < _DAY or step >= _DAY else "%d %b, %H:%M"
    month = start.year * 12 + start.month - 1
    for step in _TICK_MONTHS:
        if seconds / (step * 30.4 * _DAY) <= _MAX_TICKS:
            break
    numbers = [(month // step + n) * step for n in range(_MAX_TICKS + 2)]
    moments = [datetime(n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in numbers if n in _MONTHS]
    return moments, "%b %Y" if step < 12 else "%Y"
