"""An exception that a signal handler raises in the main thread, at any moment of any call.

Ctrl-C in a REPL, a soft time limit, a test's time-out: the call ends, and nothing else does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def interrupt_every_call(store: str, folder: Path, count: int, timeout: float) -> None:
    """Run the process that `tests.acceptance.interrupting` describes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.interrupting", store, str(folder), str(count)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        # Strict, so that what another process did counts at once.
        env={**os.environ, "KEYTURN_MAX_STALENESS": "0"},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout.startswith("ok")


def test_a_service_goes_on_however_its_calls_are_interrupted(
    store_url: str, tmp_path: Path
) -> None:
    interrupt_every_call(store_url, tmp_path / "data", 50, timeout=110)


@pytest.mark.soak
@pytest.mark.timeout(3700)
def test_a_service_goes_on_after_ten_thousand_interrupts_of_each_call(
    store_url: str, tmp_path: Path
) -> None:
    interrupt_every_call(store_url, tmp_path / "data", 10_000, timeout=3600)
