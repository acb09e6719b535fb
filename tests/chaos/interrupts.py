"""An exception that a signal handler raises at random moments of every public call [G8]."""

from __future__ import annotations

import os
import subprocess
import sys

from .outcome import Outcome, Setting

CALLS = 25
"""About how many calls there are to share the time."""


def interrupt(setting: Setting, store: str) -> Outcome:
    """Interrupt every call up to 10,000 times, as the time allows: see `interrupting`."""
    outcome = Outcome(f"interrupts of every call, {store.partition(':')[0]}")
    each = setting.seconds / CALLS
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.interrupting", store, str(setting.folder),
         "10000", str(each)],
        check=False, capture_output=True, text=True, timeout=setting.seconds * 3 + 120,
        env={**os.environ, "KEYTURN_MAX_STALENESS": "0"},
    )  # fmt: skip
    if done.returncode != 0:
        outcome.bad.append(done.stderr[-2000:])
    else:
        outcome.tried, outcome.hits = map(int, done.stdout.split()[1:3])
    return outcome
