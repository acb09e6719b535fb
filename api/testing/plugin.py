"""pytest's fixtures for the tests of a host: see `keyturn.testing`.

pytest loads this in every run where Keyturn is installed, so what only tests need is imported
when a test first uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from keyturn.testing import ClockedAsyncService, ClockedService, Replay

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


@pytest.fixture
def keyturn_service(request: pytest.FixtureRequest) -> Iterator[ClockedService]:
    """A real service in memory; `keyturn_service.clock.advance(seconds)` moves its clock."""
    from keyturn.testing import open_service  # when first used: see above

    with open_service(**_marked(request)) as service:
        yield service


@pytest.fixture
def keyturn_async_service(request: pytest.FixtureRequest) -> Iterator[ClockedAsyncService]:
    """The same service, awaited: for pytest-asyncio, anyio and plain `asyncio.run`."""
    from keyturn.testing import ClockedAsyncService, open_service  # when first used: see above

    with open_service(**_marked(request)) as service:
        yield ClockedAsyncService(service)


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
            raise pytest.UsageError(
                "@pytest.mark.keyturn takes arguments by name, such as expiry=60"
            )
        arguments = {**marker.kwargs, **arguments}
    return arguments
