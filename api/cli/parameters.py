"""What options take besides text: moments and durations; and the options of many commands."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from keyturn.config.durations import parse_duration
from keyturn.domain.errors import DurationError


class _Moment(click.ParamType[datetime]):
    """A moment in ISO 8601, UTC unless it says otherwise; or how long ago it was."""

    name = "moment"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment: datetime | None = datetime.fromisoformat(str(value))
        except ValueError:
            moment = _ago(str(value))
        if moment is None:
            forms = "a moment like 2026-11-24 or 2026-11-24T18:30Z, or how long ago: 90m, 7d"
            self.fail(f"{value!r} is not {forms}", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ago(text: str) -> datetime | None:
    """Return the moment that was so long ago; None: the text is no duration with a unit."""
    if text.strip().isdecimal():  # it may be a year
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (DurationError, OverflowError):
        return None


class _Duration(click.ParamType[float]):
    """A duration with or without a unit, in seconds."""

    name = "duration"

    def __init__(self, *, may_be_never: bool = False) -> None:
        self._may_be_never = may_be_never

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value)
        if self._may_be_never and text.strip().lower() == "never":
            return NEVER
        try:
            return parse_duration(text)
        except DurationError as error:
            self.fail(str(error), param, ctx)


NEVER = math.inf
"""What the duration `never` is; no number of seconds is that."""

MOMENT = _Moment()
DURATION = _Duration()
DURATION_OR_NEVER = _Duration(may_be_never=True)

PATH = click.Path(path_type=Path)

reason_option = click.option("--reason", help="Why, for the record.")
initiator_option = click.option(
    "--initiator", help="Who, for the record; user@host if not given."
)
