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
    ],
)
def test_a_bad_option_is_an_error_that_names_it(option: dict[str, Any]) -> None:
    (name,) = option

    with pytest.raises(SettingsError, match=name) as caught:
        WebOptions(**option)

    assert caught.value.key == name


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "",
        "app.example.com",
        "https://app.example.com/",
        "https://*.example.com",
        "https://App.example.com",
        "https://app.example.com:443",
        "https://app.example.com\n",
        443,
    ],
)
def test_an_origin_that_no_browser_sends_is_an_error(origin: Any) -> None:
    with pytest.raises(SettingsError, match="trusted_origins"):
        WebOptions(trusted_origins=("https://example.com", origin))


def test_an_origin_is_as_browsers_send_it() -> None:
    origins = ("https://app.example.com:8443", "http://[::1]:8000", "capacitor://localhost")

    assert WebOptions(trusted_origins=origins).trusted_origins == origins
