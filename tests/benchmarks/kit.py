"""The test kit: what it costs who uses it, and who does not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from keyturn.testing import Replay, Reset, Rotated, SessionEnded, open_service
from tests.benchmarks.measure import Figure, compare

TESTS = 500
EVENTS = 20_000


def kit_figures(folder: Path) -> Iterator[Figure]:
    """Yield the figures of a test, of many, of a long history and of an empty project."""
    yield fixture()
    with tempfile.TemporaryDirectory(dir=folder) as host:
        yield many_tests(Path(host))
    yield loading(folder / "history.jsonl")
    with tempfile.TemporaryDirectory(dir=folder) as host:
        yield unused(Path(host))


def fixture() -> Figure:
    """Set up and tear down what the fixture `keyturn_service` is, beside the 5 ms it may take."""
    return compare(
        "keyturn_service, a test",
        lambda: open_service().close(),
        lambda: time.sleep(0.005),
        "asleep",
        goal=1,
        calls=20,
    )


def many_tests(host: Path) -> Figure:
    """Run tests that use `keyturn_service`, beside the 3 s that they may take."""
    (host / "test_host.py").write_text(
        "import pytest\n"
        f"@pytest.mark.parametrize('number', range({TESTS}))\n"
        "def test_host(keyturn_service, number):\n"
        "    assert keyturn_service.verify_token(keyturn_service.create_token())\n"
    )
    return compare(
        f"pytest, {TESTS} tests with keyturn_service",
        lambda: run_pytest(host),
        lambda: time.sleep(3),
        "asleep",
        goal=1,
        calls=1,
    )


def loading(path: Path) -> Figure:
    """Load a long history, beside the time that 20,000 events/s would take."""
    with Replay() as replay:
        events = [
            (Reset(), Rotated(overlap=60), SessionEnded(sid=f"{number:022}"))[number % 3]
            for number in range(EVENTS)
        ]
        replay.given(*events).save(path)

    def load() -> None:
        with Replay() as replay:
            replay.load(path)
            assert replay.service.verify_token(replay.token())

    return compare(
        f"replay.load, {EVENTS:,} events",
        load,
        lambda: time.sleep(EVENTS / 20_000),
        "asleep",
        goal=1,
        calls=1,
    )


def unused(host: Path) -> Figure:
    """Collect an empty project, beside the same without Keyturn and the 15 ms it may take."""

    def without() -> None:
        run_pytest(host, "--collect-only", "-p", "no:keyturn", status=5)
        time.sleep(0.015)

    return compare(
        "pytest --collect-only, Keyturn unused",
        lambda: run_pytest(host, "--collect-only", status=5),
        without,
        "not installed, + 15 ms",
        goal=1,
        calls=1,
    )


def run_pytest(host: Path, *options: str, status: int = 0) -> None:
    """Run a pytest of its own, without the plugins of others."""
    (host / "pytest.ini").write_text("[pytest]\n")  # or else the settings of this project count
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugin = () if "no:keyturn" in options else ("-p", "keyturn.testing.plugin")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *options],
        cwd=host,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert result.returncode == status, result.stdout + result.stderr
