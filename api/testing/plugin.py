"""pytest's fixtures for the tests of a host: see `keyturn.testing`.

pytest loads this in every run where Keyturn is installed, so what only tests need is imported
when a test first uses a fixture.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from keyturn.testing import ClockedAsyncService, ClockedService, Replay

_FIXTURES = {"keyturn_service", "keyturn_async_service", "replay"}
_MARKER = (
    "keyturn(expiry, max_lifetime, …): the arguments of keyturn.testing.open_service for the "
    "fixtures keyturn_service, keyturn_async_service and replay"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes snapshots anew."""
    parser.getgroup("keyturn").addoption(
        "--keyturn-update",
        action="store_true",
        help="write the files that replay.then_snapshot compares with (as --snapshot-update "
        "does, where another plugin has it)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Load what its fixtures need, before another one of them stops the time (freezegun)."""
    if not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        importlib.import_module("keyturn.testing.replay")


def pytest_runtest_logfinish() -> None:
    """Have the clock of the process forget a test that travelled in time."""
    clock = sys.modules.get("keyturn.config.clock")
    if clock is not None:
        clock.reset_steady_time()


@pytest.fixture
def keyturn_service(request: pytest.FixtureRequest) -> Iterator[ClockedService]:
    """A real service in memory; `keyturn_service.clock.advance(seconds)` moves its clock."""
    from keyturn.testing import open_service  # when first used: see above

    with open_service(**_marked(request)) as service:
        yield service


@pytest.fixture
def keyturn_async_service(keyturn_service: ClockedService) -> ClockedAsyncService:
    """The same service, awaited: for pytest-asyncio, anyio and plain `asyncio.run`."""
    from keyturn.testing import ClockedAsyncService  # when first used: see above

    return ClockedAsyncService(keyturn_service)


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Iterator[Replay]:
    """Replay-based tests: `replay.given(events…).when(message).then(events…)`."""
    from keyturn.testing import Replay  # when first used: see above

    with Replay(**_marked(request)) as replay:
        given = request.config.invocation_params.args
        replay.update_snapshots = (
            request.config.getoption("--keyturn-update") or "--snapshot-update" in given
        )
        yield replay


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what markers say: that of a test goes before that of its class or module."""
    arguments: dict[str, Any] = {}
    for marker in request.node.iter_markers("keyturn"):
        if marker.args:
            raise TypeError("@pytest.mark.keyturn takes arguments by name, such as expiry=60")
        arguments = {**marker.kwargs, **arguments}
    return arguments
