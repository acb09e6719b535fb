"""docs/testing.md is code: each of its snippets is a test file, and passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn import ResetKey, testing

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_every_python_snippet_is_a_test_file_and_passes(tmp_path: Path) -> None:
    for number, snippet in enumerate(SNIPPETS, 1):
        file = tmp_path / f"test_snippet_{number:02}.py"
        file.write_text(snippet, "utf-8")

    done = pytest_in(tmp_path, "-vv", "-W", "error")

    assert done.returncode == 0, done.stdout
    for number, snippet in enumerate(SNIPPETS, 1):
        tests = len(re.findall(r"^(?:async )?def test_", snippet, re.M))
        assert done.stdout.count(f"test_snippet_{number:02}.py::") >= tests


def test_the_failure_on_the_page_is_what_a_failure_looks_like(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)

    with testing.Replay() as replay, pytest.raises(AssertionError) as caught:
        replay.when(ResetKey(reason="laptop lost", initiator="alice"))
        replay.then(testing.Reset(reason="laptop stolen"), testing.Rotated())

    assert shown == f"AssertionError: {caught.value}\n"


def test_everything_for_tests_is_on_the_page() -> None:
    names = [name for name in testing.__all__ if name != "EventSpec"]

    assert [name for name in names if name not in PAGE] == []


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on its own, as a host does."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            *arguments,
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
