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


def run(
    *arguments: object, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
        input=stdin,
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

PASSWORD = "correct horse battery staple"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an agent that runs."""
    folder = tmp_path_factory.mktemp("a")  # short: the path of a socket has 104 bytes at most
    process = subprocess.Popen(
        [sys.executable, AGENT, folder, "agent"],
        env={**os.environ, "KEYTURN_PASSWORD": PASSWORD},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield folder
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def cli(folder: Path, *command: str, password: str = "") -> str:
    return run(AGENT, folder, *command, stdin=password).stdout.strip()


def token_in(folder: Path) -> str | None:
    with ClientSession(folder / "token") as session:
        return session.read_token()


def test_the_agent_asks_once_and_knows_the_client_from_then_on(folder: Path) -> None:
    said = [
        cli(folder, "greet"),
        cli(folder, "unlock", password="another"),
        cli(folder, "unlock", password=PASSWORD),
        cli(folder, "greet"),
    ]

    assert said == [
        "malformed: unlock it again",
        "this is not the password",
        "hello",
        "hello",
    ]


def test_a_script_takes_password_or_token_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_PASSWORD", PASSWORD)
    said = [cli(folder, "unlock")]
    monkeypatch.setenv("KEYTURN_TOKEN", token_in(folder) or "")
    (folder / "token").unlink()

    said += [cli(folder, "greet")]

    assert (said, token_in(folder)) == (["hello", "hello"], None)


def test_each_call_leaves_a_fresh_token(folder: Path) -> None:
    cli(folder, "unlock", password=PASSWORD)
    before = token_in(folder)

    cli(folder, "greet")

    assert token_in(folder) not in (None, before)


def test_clients_at_once_all_have_their_answer_and_leave_a_good_token(folder: Path) -> None:
    cli(folder, "unlock", password=PASSWORD)

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: cli(folder, "greet"), range(4)))

    assert [*said, cli(folder, "greet")] == ["hello"] * 5


@pytest.mark.parametrize(
    ("lock", "of_another"),
    [(["lock"], "hello"), (["lock", "all"], "unknown key: unlock it again")],
)
def test_a_lock_is_of_one_client_or_of_all(
    folder: Path, lock: list[str], of_another: str
) -> None:
    cli(folder, "unlock", password=PASSWORD)
    another = folder / "another"
    another.mkdir(mode=0o700)
    (another / "agent.sock").symlink_to(folder / "agent.sock")
    cli(another, "unlock", password=PASSWORD)
    stolen = token_in(folder)
    assert stolen is not None

    said = cli(folder, *lock)
    left = token_in(folder)
    with ClientSession(folder / "token", stolen):
        with_the_stolen = cli(folder, "greet")

    assert (said, left) == ("locked", None)
    assert with_the_stolen.endswith(": unlock it again")
    assert cli(another, "greet") == of_another
