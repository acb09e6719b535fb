"""What the README says is so: its first snippet, its two commands, its promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import DOCS, ROOT, blocks_of, run_python

README = ROOT / "README.md"
TEXT = README.read_text("utf-8")


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_the_first_snippet_prints_what_its_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = blocks_of(README, "python")[0]

    lines = run_python(first).splitlines()

    assert [lines[0], lines[1], lines[-1]] == re.findall(r"# (.+)", first.text)
    assert len(first.text.strip().splitlines()) <= 11


def test_ci_calls_the_test_command_that_the_readme_prints() -> None:
    printed = [block.text.strip() for block in blocks_of(README, "sh")]

    pattern = re.search(r"grep -E '(.+?)' README.md", (ROOT / ".ci" / "run").read_text("utf-8"))

    assert pattern is not None
    assert re.findall(pattern[1], TEXT, re.M) == [c for c in printed if c.endswith("pytest")]
    assert [c.rsplit("/", 1)[1] for c in printed] == ["keyturn demo", "pytest"]


def test_the_set_up_of_contributing_is_that_of_the_readme() -> None:
    [shown] = blocks_of(DOCS / "contributing.md", "sh")

    assert shown.text in [block.text for block in blocks_of(README, "sh")]


def test_every_promise_is_in_the_readme_and_with_its_limits_on_a_page() -> None:
    for text in (TEXT, (DOCS / "promises.md").read_text("utf-8")):
        assert re.findall(r"^\| (G\d) \|", text, re.M) == [f"G{n}" for n in range(1, 10)]
