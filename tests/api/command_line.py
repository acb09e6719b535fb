"""Runs the command line as a person or a program does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


class Keyturn:
    """`keyturn` with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}

    def __call__(
        self, *arguments: str, stdin: str | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, and check its exit code and that no traceback was shown."""
        command = [sys.executable, "-m", "keyturn", "--path", str(self.folder), *arguments]
        done = subprocess.run(
            command,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done
