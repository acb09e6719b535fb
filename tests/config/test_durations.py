"""Durations as people write them."""

from __future__ import annotations

import pytest

from keyturn.config.durations import parse_duration
from keyturn.domain.errors import DurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("60.5", 60.5),
        ("1e3", 1000.0),
        ("45s", 45.0),
        ("30m", 1800.0),
        ("24h", 86400.0),
        ("90d", 7776000.0),
        ("0.5 h", 1800.0),
        ("2D\n", 172800.0),
    ],
)
def test_a_number_is_in_seconds_unless_a_unit_says_otherwise(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "s", "1w", "1h30m", "1,5", "1_000", "nan", "inf", "1e999", "1.7e308d", "٣"],
)
def test_what_is_no_duration_is_an_error_that_does_not_show_it(text: str) -> None:
    with pytest.raises(DurationError) as raised:
        parse_duration(text)

    assert len(text) < 3 or text not in str(raised.value)


def test_a_number_of_any_length_is_read_at_once() -> None:
    with pytest.raises(DurationError):
        parse_duration("9" * 100_000)
