"""What most tests need: a service in a temporary folder, and a second process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import keyturn
from keyturn import KeyRing, Service
from tests.memory_disk import is_roomy
from tests.postgres import PostgresServer, running_server
from tests.warm_python import WarmPython, cheap_key_rings, warm_python

# The processes that tests start read compiled modules, as those of an installed package do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test cuts the power for real, so none needs a disk: what is synced lies in memory at once.
MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and is_roomy(MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for variable in [name for name in os.environ if name.startswith("KEYTURN_")]:
        monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    """Undo what a test configured; capture_logs leaves structlog configured, too."""
    yield
    if "structlog" in sys.modules:
        sys.modules["structlog"].reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _cheap_key_rings() -> Iterator[None]:
    """Have the passwords of new key rings cost next to nothing: a file says what they cost."""
    with cheap_key_rings():
        yield


@pytest.fixture
def everything_allowed() -> Iterator[None]:
    """The umask that protects nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def key_ring() -> KeyRing:
    """A key ring in memory."""
    return KeyRing.ephemeral()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service on a real SQLite file, without a password."""
    with keyturn.open(path=tmp_path / "data", password=None) as service:
        yield service


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, for the whole run. Nothing else may happen to it."""
    yield from running_server()


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each kind of log in turn: one contract for all."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url()
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db"


@pytest.fixture(params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each kind of log that several processes can use."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url()
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def each_shared_store(shared_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whatever the test opens, in processes of its own too, lie in each kind of store.

    Strict, so that what is promised at once can be tested at once.
    """
    monkeypatch.setenv("KEYTURN_STORE", shared_url)
    monkeypatch.setenv("KEYTURN_FRESHNESS", "strict")


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPython]:
    """Runs pieces of Python, each in a process that has imported Keyturn already."""
    with tempfile.TemporaryDirectory() as folder, warm_python(Path(folder)) as python:
        yield python


@pytest.fixture
def run_python(warm: WarmPython) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a piece of Python in a process of its own, and fail if it fails."""
    return lambda code, *arguments: warm.run(code, *map(str, arguments))


@pytest.fixture
def run_new_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in a new interpreter: where it matters what is imported when."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

    return run
