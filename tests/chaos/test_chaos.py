"""Scenarios of chaos: a sample in each run, more of it with `-m soak` (see docs/chaos.md)."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, running_server

from . import power_cuts
from .outcome import Setting, table
from .scenarios import SCENARIOS

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
SAMPLED = [name for name in SCENARIOS if not name.startswith("interrupts")]  # see test_interrupts


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own: its connections are ended."""
    yield from running_server()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "keyturn")


def check(name: str, folder: Path, server: PostgresServer, *seconds: float) -> None:
    """Run a scenario for so many seconds, and again for more if it hit nothing."""
    for each in seconds:
        outcomes = SCENARIOS[name](Setting(folder / f"{each}" / "data", each, seed=1), server)

        print(table(outcomes))
        assert not any(outcome.bad for outcome in outcomes), table(outcomes)
        if any(outcome.hits for outcome in outcomes):
            return
    pytest.fail("nothing was hit")


@needs_strace
@pytest.mark.parametrize("name", SAMPLED)
def test_a_fault_hurts_only_once(name: str, tmp_path: Path, server: PostgresServer) -> None:
    check(name, tmp_path, server, 1.2, 6.0)


@needs_strace
@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_hurts_only_once_for_long(
    name: str, tmp_path: Path, server: PostgresServer
) -> None:
    check(name, tmp_path, server, float(os.environ.get("CHAOS_SECONDS", "60")))


@needs_strace
def test_the_power_cuts_see_what_was_never_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = power_cuts.Disk.apply

    def without_sync(disk: power_cuts.Disk, call: str, arguments: str, result: int) -> None:
        if call != "fdatasync":
            apply(disk, call, arguments, result)

    monkeypatch.setattr(power_cuts.Disk, "apply", without_sync)

    assert power_cuts.cut_power(Setting(tmp_path / "data", 20.0, seed=1)).bad
