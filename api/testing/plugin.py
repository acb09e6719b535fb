"""pytest's fixtures `keyturn_service` and `replay`: see `keyturn.testing`.

pytest loads this in every run where Keyturn is installed, so what only tests need is imported
when a test first uses a fixture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from keyturn.testing import ClockedService, Replay


@pytest.fixture
def keyturn_service() -> Iterator[ClockedService]:
    """A real service in memory; `keyturn_service.clock.advance(seconds)` moves its clock."""
    from keyturn.testing import open_service  # when first used: see above

    with open_service() as service:
        yield service


@pytest.fixture
def replay() -> Iterator[Replay]:
    """Replay-based tests: `replay.given(events…).when(message).then(events…)`."""
    from keyturn.testing import Replay  # when first used: see above

    with Replay() as replay:
        yield replay


def pytest_runtest_logfinish() -> None:
    """Have the clock of the process forget a test that travelled in time."""
    clock = sys.modules.get("keyturn.config.clock")
    if clock is not None:
        clock.reset_steady_time()
