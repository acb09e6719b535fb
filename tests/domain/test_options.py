"""The options of a manager are checked when they are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from keyturn.domain.errors import AuditTextError, ExpiryError, KeyturnError, SettingsError
from keyturn.domain.options import ManagerOptions
from keyturn.domain.rotation import RotationPolicy


def test_options_know_the_rotation_that_they_come_to() -> None:
    assert ManagerOptions().rotation is None
    assert ManagerOptions(rotate_every=60, overlap=10).rotation == RotationPolicy(60, 10)
    assert ManagerOptions(rotate_every=60, expiry=30).rotation == RotationPolicy(60, 30)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"name": ""}, AuditTextError),
        ({"name": None}, AuditTextError),
        ({"initiator": 5}, AuditTextError),
        ({"initiator": "x" * 256}, AuditTextError),
        ({"expiry": -1}, ExpiryError),
        ({"expiry": "60"}, ExpiryError),
        ({"max_lifetime": float("nan")}, ExpiryError),
        ({"rotate_every": 0.5}, SettingsError),
        ({"rotate_every": 60, "expiry": None}, SettingsError),
        ({"overlap": -1}, SettingsError),
    ],
)
def test_bad_options_are_refused_when_they_are_made(
    bad: dict[str, Any], error: type[KeyturnError]
) -> None:
    with pytest.raises(error):
        ManagerOptions(**bad)


def test_options_can_be_replaced_one_by_one() -> None:
    options = ManagerOptions(expiry=60, rotate_every=60)

    other = dataclasses.replace(options, expiry=30)

    assert other.rotation == RotationPolicy(60, 30)
