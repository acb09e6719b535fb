"""The documentation is true: each of its blocks runs, and nothing is left out."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from keyturn import Settings
from keyturn.cli import cli
from tests.pages import DOCS, ROOT, blocks_of, name_of, pages, run_page
from tests.warm_python import warm_python

TESTED_ELSEWHERE = {
    "tests/api/test_operations.py": ["operations"],
    "tests/chaos/test_chaos.py": ["chaos"],
    "tests/docs/test_how_to.py": [
        "how-to/containers",
        "how-to/kubernetes",
        "how-to/postgresql",
        "how-to/systemd",
    ],
    "tests/spec/test_vectors.py": ["spec/"],
    "tests/test_docs.py": ["testing"],
    "tests/test_readme.py": ["contributing"],
    "tests/web/test_docs.py": ["web/asgi", "web/django", "web/fastapi", "web/flask"],
    "tests/web/test_serve_docs.py": ["web/client", "web/serve"],
}
"""Tests, and the pages and folders in docs/ whose blocks they are about."""

RUN = {"python", "console", "sh", "toml", "text"}


def is_tested_elsewhere(page: Path) -> bool:
    starts = [f"docs/{name}" for names in TESTED_ELSEWHERE.values() for name in names]
    return name_of(page).startswith(tuple(starts))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a page, from which what it writes can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Programs that start at once."""
    with tempfile.TemporaryDirectory() as folder, warm_python(Path(folder)) as python:
        python.make_programs(Path(folder))
        yield Path(folder)


WITH_BLOCKS = [page for page in pages() if blocks_of(page) and not is_tested_elsewhere(page)]


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_every_block_of_a_page_runs(page: Path, folder: Path, programs: Path) -> None:
    blocks = blocks_of(page)
    if page == ROOT / "README.md":  # its commands are those of CI
        blocks = blocks_of(page, "python")

    run_page(blocks, folder, programs)


def test_every_toml_block_holds_settings(folder: Path) -> None:
    blocks = [block for page in WITH_BLOCKS for block in blocks_of(page, "toml")]
    for number, block in enumerate(blocks):
        file = folder / f"{number}.toml"
        file.write_text(block.text, "utf-8")

        assert Settings.load(config=file, environ={}) != Settings(), block.place
    assert blocks


def test_every_block_is_run_by_somebody() -> None:
    unknown = [
        block.place
        for page in WITH_BLOCKS
        for block in blocks_of(page)
        if block.language not in RUN
    ]

    assert unknown == []


def test_who_is_said_to_test_a_page_reads_it() -> None:
    unread = [
        name
        for test, names in TESTED_ELSEWHERE.items()
        for name in names
        if (DOCS / name).with_suffix(".md").exists()
        and Path(name).name not in (ROOT / test).read_text("utf-8")
    ]

    assert unread == []


# --- the command line ---------------------------------------------------------------------------

WRITTEN = "\n".join(page.read_text("utf-8") for page in pages())


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_every_command_is_on_a_page() -> None:
    text = re.sub(r"keyturn --path \w+ ", "keyturn ", WRITTEN)

    missing = [
        name
        for name, _ in commands(cli)
        if f"keyturn {name}" not in text and f"`{name}`" not in text
    ]

    assert missing == []


def test_every_option_is_on_a_page() -> None:
    options = {
        option
        for _, command in [("", cli), *commands(cli)]
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }

    assert [o for o in sorted(options) if not re.search(rf"{o}(?![\w-])", WRITTEN)] == []


def test_every_variable_of_the_environment_on_a_page_is_one() -> None:
    known = {f"KEYTURN_{name.upper()}" for name in Settings.__dataclass_fields__}
    known |= {"KEYTURN_CONFIG", "KEYTURN_PASSWORD", "KEYTURN_TOKEN"}
    known |= {"KEYTURN_PORT", "KEYTURN_OPTIONS", "KEYTURN_SERVICE"}  # of Kubernetes and Django

    assert set(re.findall(r"\bKEYTURN_[A-Z_]*(?==)", WRITTEN)) - known == set()


def test_twenty_questions_have_their_answers_one_click_from_the_front_page() -> None:
    questions = (DOCS / "questions.md").read_text("utf-8")

    asked = re.findall(r"^\| (\d+) \| .+\? \| .*\]\(.+\) \|$", questions, re.M)

    assert asked == [str(number) for number in range(1, 21)]
    assert "](questions.md)" in (DOCS / "index.md").read_text("utf-8")
    assert "](docs/questions.md)" in (ROOT / "README.md").read_text("utf-8")
