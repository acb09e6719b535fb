"""docs/testing.md is code: each of its snippets is a test file, and passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyturn import ResetKey, testing

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_every_python_snippet_is_a_test_file_and_passes(pytester: pytest.Pytester) -> None:
    files = {f"test_snippet_{n:02}": snippet for n, snippet in enumerate(SNIPPETS, 1)}
    pytester.makepyfile(**files)

    done = pytester.runpytest_inprocess(
        "-vv", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"
    )

    assert done.ret == 0
    for name, snippet in files.items():
        tests = len(re.findall(r"^(?:async )?def test_", snippet, re.M))
        assert str(done.stdout).count(f"{name}.py::") >= tests


def test_the_failure_on_the_page_is_what_a_failure_looks_like(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)

    with testing.Replay() as replay, pytest.raises(AssertionError) as caught:
        replay.when(ResetKey(reason="laptop lost", initiator="alice"))
        replay.then(testing.Reset(reason="laptop stolen"), testing.Rotated())

    assert shown == f"AssertionError: {caught.value}\n"


def test_everything_for_tests_is_on_the_page() -> None:
    names = [name for name in testing.__all__ if name != "EventSpec"]

    assert [name for name in names if name not in PAGE] == []
