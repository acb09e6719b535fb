"""A file system in memory, which is what most tests write to."""

from __future__ import annotations

import os
from pathlib import Path

NEEDED_BYTES = 2 << 30


def is_roomy(folder: Path) -> bool:
    """Whether the tests may write there, run programs there, and have room enough."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return False
    return (
        os.access(folder, os.W_OK)
        and not found.f_flag & os.ST_NOEXEC
        and found.f_bavail * found.f_frsize >= NEEDED_BYTES
    )
