"""Who may import whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_folders_import_only_what_the_design_allows() -> None:
    root = Path(__file__).parent.parent

    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; exit(lint_imports())"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout
