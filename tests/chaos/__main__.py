"""`python -m tests.chaos [--seconds 60] [--seed 1] [SCENARIO…]`: prints the table.

Each scenario takes about so many seconds. The status is 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
from pathlib import Path

from tests.postgres import running_server

from .outcome import Setting, table
from .scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], help="all, if none")
    chosen = parser.parse_args()
    logging.getLogger("keyturn").setLevel(logging.CRITICAL)
    outcomes = []
    with contextlib.contextmanager(running_server)() as server:
        for name in chosen.scenario or SCENARIOS:
            print(f"{name} …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="keyturn-chaos-") as folder:
                setting = Setting(Path(folder) / "data", chosen.seconds, chosen.seed)
                outcomes += SCENARIOS[name](setting, server)
    print(table(outcomes))
    return any(outcome.bad for outcome in outcomes)


sys.exit(main())
