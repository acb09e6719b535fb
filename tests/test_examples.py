"""The examples: each runs, as its docstring says, and does what it shows."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

import keyturn
from keyturn import ClientSession
from tests.warm_python import warm_programs

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
AGENT = EXAMPLES / "agent_and_cli.py"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a file in a Python that has imported all already; a warning is an error there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "error")
        with warm_programs() as programs:
            yield lambda *arguments, stdin="": subprocess.run(
                [programs / "python", *map(str, arguments)],
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


def test_the_plain_pykka_host_lets_all_out_when_the_key_is_reset(run: Run) -> None:
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
    tests = str(EXAMPLES / "test_starlette_app.py")
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, tests],
        env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout


# --- the agent and its command line ------------------------------------------------------------

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an agent that runs."""
    folder = tmp_path_factory.mktemp("a")  # short: the path of a socket has 104 bytes at most
    keyturn.open(path=folder / "data", password=PASSWORD).close()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", AGENT, folder, "agent"],
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


Client = Callable[[], Path]


@pytest.fixture
def new_client(agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Makes folders of clients of the agent."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("c")
        (folder / "agent.sock").symlink_to(agent / "agent.sock")
        return folder

    return make


@pytest.fixture
def folder(new_client: Client) -> Path:
    """The folder of a client."""
    return new_client()


def cli(folder: Path, *command: str, password: str = "") -> str:
    """Run the command line of a client in this process, and return what it says."""
    said = io.StringIO()
    with (
        mock.patch.multiple(
            sys, argv=[str(AGENT), str(folder), *command], stdin=io.StringIO(password)
        ),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        runpy.run_path(str(AGENT), run_name="__main__")
    return said.getvalue().strip()


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


def test_clients_at_once_all_have_their_answer_and_leave_a_good_token(
    run: Run, folder: Path
) -> None:
    cli(folder, "unlock", password=PASSWORD)

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: run(AGENT, folder, "greet").stdout.strip(), range(4)))

    assert [*said, cli(folder, "greet")] == ["hello"] * 5


@pytest.mark.parametrize(
    ("lock", "of_another"),
    [(["lock"], "hello"), (["lock", "all"], "unknown key: unlock it again")],
)
def test_a_lock_is_of_one_client_or_of_all(
    new_client: Client, lock: list[str], of_another: str
) -> None:
    folder, another = new_client(), new_client()
    for each in (folder, another):
        cli(each, "unlock", password=PASSWORD)
    stolen = token_in(folder)
    assert stolen is not None

    said = cli(folder, *lock)
    left = token_in(folder)
    with ClientSession(folder / "token", stolen):
        with_the_stolen = cli(folder, "greet")

    assert (said, left) == ("locked", None)
    assert with_the_stolen.endswith(": unlock it again")
    assert cli(another, "greet") == of_another
