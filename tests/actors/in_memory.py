"""Fixtures for what does not depend on the store: one log in memory, called in each way."""

from __future__ import annotations

import pytest

from tests.actors.ways import WAYS


@pytest.fixture
def store_url() -> str:
    """The URL of a log in memory."""
    return "memory:"


@pytest.fixture(params=sorted(WAYS))
def call_style(request: pytest.FixtureRequest) -> str:
    """Each way to call a manager."""
    style: str = request.param
    return style
