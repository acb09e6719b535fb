"""What options take besides text: moments and durations; and the options of many commands."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from keyturn.config.durations import parse_duration
from keyturn.domain.errors import DurationError
from keyturn.domain.limits import MAX_INITIATOR, check_text

NEVER = math.inf
"""What the duration `never` is; no number of seconds is that."""

PATH = click.Path(path_type=Path)


def moment(text: str) -> datetime:
    """Return a moment in ISO 8601, UTC unless it says otherwise; or how long ago it was."""
    try:
        found: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        found = _ago(text)
    if found is None:
        forms = "a moment like 2026-11-24 or 2026-11-24T18:30Z, or how long ago: 90m, 7d"
        raise click.BadParameter(f"{text!r} is not {forms}")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ago(text: str) -> datetime | None:
    """Return the moment that was so long ago; None: the text is no duration with a unit."""
    if text.strip().isdecimal():  # it may be a year
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (DurationError, OverflowError):
        return None


def duration(text: str) -> float:
    """Return a duration, with or without a unit, in seconds."""
    try:
        return parse_duration(text)
    except DurationError as error:
        raise click.BadParameter(str(error)) from error


def duration_or_never(text: str) -> float:
    """Return a duration in seconds, or `NEVER`."""
    return NEVER if text.strip().lower() == "never" else duration(text)


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep what an option says in the command's object, and not among its arguments."""
    if context.obj is not None:  # there is none while a shell completes
        setattr(context.obj, str(parameter.name), value)


def _keep_initiator(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        check_text(value, "initiator", MAX_INITIATOR)  # a bad argument, and no bad setting
    _keep(context, parameter, value)


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    expose_value=False,
    callback=_keep,
    help="JSON, for programs.",
)
_reason = click.option(
    "--reason", expose_value=False, callback=_keep, help="Why, for the record."
)
_initiator = click.option(
    "--initiator",
    expose_value=False,
    callback=_keep_initiator,
    help="Who, for the record; user@host if not given.",
)


def recorded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that changes the record."""
    return _reason(_initiator(json_option(command)))
