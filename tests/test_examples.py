"""The examples: each runs, as its docstring says, and does what it shows."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyturn import ClientSession

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
AGENT = EXAMPLES / "agent_and_cli.py"


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_is_short_and_says_what_it_is(file: Path) -> None:
    text = file.read_text("utf-8")

    assert len(text.splitlines()) < 100
    assert ast.get_docstring(ast.parse(text))


def test_the_plain_pykka_host_lets_all_out_when_the_key_is_reset() -> None:
    done = run(EXAMPLES / "pykka_host.py")

    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "alice enters: True",
            "bob reset the key (laptop stolen): out go ['alice']",
            "alice enters: False",
        ],
        "",
    )


def test_the_starlette_app_passes_its_replay_tests(tmp_path: Path) -> None:
    tests = EXAMPLES / "test_starlette_app.py"

    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", tests, "--rootdir", tmp_path)

    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout


# --- the agent and its command line ------------------------------------------------------------


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an agent that runs."""
    folder = tmp_path_factory.mktemp("a")  # short: the path of a socket has 104 bytes at most
    process = subprocess.Popen(
        [sys.executable, AGENT, "agent", folder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield folder
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def cli(folder: Path, command: str) -> str:
    return run(AGENT, command, folder).stdout.strip()


def token_in(folder: Path) -> str | None:
    with ClientSession(folder / "token") as session:
        return session.read_token()


def test_the_agent_knows_who_logged_in(folder: Path) -> None:
    said = [cli(folder, command) for command in ("greet", "login", "greet")]

    assert said == ["malformed: log in again", "logged in", "hello"]


def test_each_call_leaves_a_fresh_token(folder: Path) -> None:
    cli(folder, "login")
    before = token_in(folder)

    cli(folder, "greet")

    assert token_in(folder) not in (None, before)


def test_clients_at_once_all_have_their_answer_and_leave_a_good_token(folder: Path) -> None:
    cli(folder, "login")

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: cli(folder, "greet"), range(4)))

    assert [*said, cli(folder, "greet")] == ["hello"] * 5


def test_a_reset_ends_the_session_of_the_file(folder: Path) -> None:
    cli(folder, "login")

    said = [cli(folder, command) for command in ("reset", "greet", "login", "greet")]

    assert said[1] == "unknown key: log in again"
    assert said[::2] == ["all sessions are over", "logged in"]
    assert said[3] == "hello"
