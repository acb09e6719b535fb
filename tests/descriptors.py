"""Which files of a test this process has open."""

from __future__ import annotations

import os
from pathlib import Path


def open_below(folder: Path) -> int:
    """Count the descriptors that lead into a folder, of removed files too.

    Those of other tests, which the collector may close at any moment, do not count.
    """
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            leads_to = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # closed meanwhile
            continue
        count += leads_to.is_relative_to(folder)
    return count
