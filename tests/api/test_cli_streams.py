"""The command line beside a terminal, a pipe, a full disk and other locales."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from keyturn.cli import main
from tests.api.command_line import COMMAND, Keyturn


@pytest.fixture
def cli(tmp_path: Path) -> Keyturn:
    """A command line whose data folder is made already."""
    run = Keyturn(tmp_path / "data")
    run("init", "--no-password")
    return run


def into_a_closed_pipe(cli: Keyturn, *arguments: str) -> tuple[int, bytes]:
    """Run a command whose output nobody reads; return its exit code and what it complains of."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, "--path", str(cli.folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            env=cli.environment,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", [("history",), ("history", "--json"), ("export",)])
def test_a_broken_pipe_is_quiet_and_not_the_code_of_a_refused_token(
    cli: Keyturn, command: tuple[str, ...]
) -> None:
    assert into_a_closed_pipe(cli, *command) == (141, b"")


@pytest.mark.parametrize("command", [("history",), ("export",), ("--help",)])
def test_a_full_disk_under_standard_output_is_one_line(
    cli: Keyturn, command: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = cli.process(*command, stdout=full.fileno(), code=os.EX_IOERR)

    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("command", ["export", "history", "managers"])
def test_a_closed_standard_output_is_one_line(cli: Keyturn, command: str) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "--path", cli.folder, command],
        env=cli.environment,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.returncode == os.EX_IOERR
    assert done.stderr.startswith("keyturn: standard output cannot be used")
    assert done.stderr.count("\n") == 1


def test_the_verdict_survives_a_standard_error_that_is_full(cli: Keyturn) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *COMMAND, "--path", cli.folder, "frobnicate"],
        env=cli.environment,
        timeout=60,
        check=False,
    )

    assert done.returncode == os.EX_USAGE


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_nothing_is_lost_to_an_encoding(cli: Keyturn, locale: dict[str, str]) -> None:
    cli("reset", "--reason", "naïve 日本", "--initiator", "Åsa")
    cli.environment |= locale

    assert "reset" in cli.process("history").stdout
    assert cli.process("audit").stdout.startswith("The record holds")


def test_without_a_terminal_nobody_is_asked_for_a_password_nor_is_a_token_taken_for_it(
    tmp_path: Path,
) -> None:
    cli = Keyturn(tmp_path / "data")
    cli.environment["KEYTURN_PASSWORD"] = "secret"
    cli("init")
    del cli.environment["KEYTURN_PASSWORD"]

    done = cli.process(
        "token", "verify", "-", stdin="secret\n", code=os.EX_CONFIG, start_new_session=True
    )
    other = Keyturn(tmp_path / "other")
    made = other.process("init", stdin="a\na\n", code=os.EX_CONFIG, start_new_session=True)

    for each in (done, made):
        assert each.stdout == ""
        assert each.stderr.count("\n") == 1
        assert "KEYTURN_PASSWORD" in each.stderr
    assert not (tmp_path / "other").exists()


def test_at_a_terminal_the_password_is_asked_for_and_standard_input_stays_a_token(
    tmp_path: Path,
) -> None:
    cli = Keyturn(tmp_path / "data")
    cli.environment["KEYTURN_PASSWORD"] = "secret"
    cli("init")
    token = cli("token", "create").stdout
    del cli.environment["KEYTURN_PASSWORD"]
    (tmp_path / "token").write_text(token)
    command = [*COMMAND, "--path", str(cli.folder), "token", "verify", "-"]

    process, terminal = pty.fork()
    if process == 0:  # which a test must not return from
        with contextlib.suppress(BaseException):
            os.dup2(os.open(tmp_path / "token", os.O_RDONLY), 0)
            os.execve(command[0], command, cli.environment)
        os._exit(1)
    said = b""
    while b"Password: " not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"secret\n")
    with contextlib.suppress(OSError):  # the end, for Linux
        while more := os.read(terminal, 1000):
            said += more
    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert b"good" in said
    assert b"secret" not in said


@pytest.mark.parametrize("command", [(), ("token",), ("session",), ("sessions",)])
def test_a_group_alone_shows_its_help_as_help(command: tuple[str, ...]) -> None:
    out = io.StringIO()
    with mock.patch.object(sys, "stdout", out), pytest.raises(SystemExit) as ended:
        main(command)

    assert ended.value.code == os.EX_USAGE
    assert out.getvalue().startswith("Usage: keyturn")
    assert out.getvalue().count("\n") > 5
    assert "\\n" not in out.getvalue()


def test_an_option_in_the_wrong_place_is_told_where_it_belongs(cli: Keyturn) -> None:
    late = cli("history", "--path", "x", code=os.EX_USAGE).stderr
    early = cli("--json", "history", code=os.EX_USAGE).stderr

    assert "--path stands before the command" in late
    assert "--json stands after the command" in early
