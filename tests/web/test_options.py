"""What may be chosen."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.domain.errors import SettingsError
from keyturn.web import WebOptions


@pytest.mark.parametrize(
    "option",
    [
        {"refresh_below": 1.1},
        {"refresh_below": -0.1},
        {"check_every": 0},
        {"check_every": float("inf")},
        {"trusted_origins": "https://app.example.com"},
        {"trusted_origins": ("https://app.example.com", "null")},
        {"trusted_origins": ("https://app.example.com/",)},
        {"trusted_origins": ("https://App.example.com",)},
        {"trusted_origins": ("app.example.com",)},
        {"trusted_origins": ("*",)},
    ],
)
def test_a_bad_option_is_an_error_that_names_it(option: dict[str, Any]) -> None:
    (name,) = option

    with pytest.raises(SettingsError, match=name) as caught:
        WebOptions(**option)

    assert caught.value.key == name
