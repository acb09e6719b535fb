"""What a number of seconds may be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from keyturn.domain.errors import DurationError
from keyturn.domain.limits import check_seconds


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.5, 2**1000, 1.7e308])
def test_a_finite_number_that_is_not_negative_is_a_number_of_seconds(value: float) -> None:
    checked = check_seconds(value, "a timeout")

    assert (type(checked), checked) == (float, float(value))


@pytest.mark.parametrize(
    "value", [-1, -0.1, math.nan, math.inf, 10**400, -(10**400), True, None, "1", b"1", [], 1j]
)
def test_anything_else_is_an_error_that_names_what_it_was_for(value: Any) -> None:
    with pytest.raises(DurationError, match="a timeout is a number of seconds ≥ 0, and finite"):
        check_seconds(value, "a timeout")


def test_the_least_number_of_seconds_may_be_said() -> None:
    assert check_seconds(1.5, "a timeout", least=1.5) == 1.5
    with pytest.raises(DurationError, match=r"≥ 1\.5"):
        check_seconds(1.4, "a timeout", least=1.5)
