"""The command line beside a terminal, a pipe, a full disk and other locales."""

from __future__ import annotations

import contextlib
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from keyturn.cli import main
from tests.api.command_line import COMMAND, Keyturn


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Keyturn:
    """A command line that each test gets a copy of."""
    run = Keyturn(tmp_path_factory.mktemp("made") / "data")
    run("init", "--no-password")
    return run


@pytest.fixture
def cli(made: Keyturn, tmp_path: Path) -> Keyturn:
    """A command line whose data folder is made already."""
    return made.copy(tmp_path / "data")


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        yield pipe


@pytest.mark.parametrize("command", [("history",), ("history", "--json"), ("export",)])
def test_a_broken_pipe_is_quiet_and_not_the_code_of_a_refused_token(
    cli: Keyturn, unread: TextIO, command: tuple[str, ...]
) -> None:
    assert cli(*command, stdout=unread, code=141).stderr == ""


@pytest.mark.parametrize("command", ["history", "export", "--help"])
def test_a_full_disk_under_standard_output_is_one_line(cli: Keyturn, command: str) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = cli(command, stdout=full, code=os.EX_IOERR)

    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("shell", "code", "says"),
    [
        ('"$@" | true', 0, ""),  # which proves that nothing is said when the process ends
        ('"$@" >&-', os.EX_IOERR, "keyturn: standard output cannot be used"),
    ],
)
def test_a_process_whose_output_goes_nowhere_ends_with_one_line_or_none(
    cli: Keyturn, shell: str, code: int, says: str
) -> None:
    done = cli.process("export", shell=shell, code=code)

    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == (1 if says else 0)


def test_the_verdict_survives_a_standard_error_that_is_full(cli: Keyturn) -> None:
    cli.process("frobnicate", shell='"$@" 2>/dev/full', code=os.EX_USAGE)


def test_an_old_locale_shows_characters_that_it_lacks_in_another_way(cli: Keyturn) -> None:
    cli("reset", "--reason", "smörgåsbord ☃", "--initiator", "Åsa")
    cli.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    done = cli.process("history")

    assert "sm\\xf6rg\\xe5sbord" in done.stdout.replace("\n", "")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "stdin", [b"", os.urandom(20_000), b"a\0b\xff\xfe"], ids=["nothing", "binary", "UTF-16"]
)
def test_whatever_comes_as_a_token_is_refused_in_one_line(cli: Keyturn, stdin: bytes) -> None:
    done = cli("token", "verify", "-", stdin=stdin, code=1)

    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_closed_standard_input_is_no_token(cli: Keyturn) -> None:
    done = cli.process("token", "verify", "-", shell='"$@" <&-', code=1)

    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_path_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    done = Keyturn(tmp_path / ("n" * 300))("init", "--no-password", code=os.EX_IOERR)

    assert "File name too long" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [("init",), ("token", "verify", "-")])
def test_without_a_terminal_nobody_is_asked_for_a_password_nor_is_a_token_taken_for_it(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    cli = Keyturn(tmp_path / "data")
    if command != ("init",):
        cli.environment["KEYTURN_PASSWORD"] = "secret"
        cli("init")
        del cli.environment["KEYTURN_PASSWORD"]

    done = cli.process(*command, stdin="secret\nsecret\n", code=os.EX_CONFIG)

    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "KEYTURN_PASSWORD" in done.stderr
    assert cli.folder.exists() == (command != ("init",))


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


def test_a_group_alone_shows_its_help_as_help(
    cli: Keyturn, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [cli(name, code=os.EX_USAGE).stdout for name in ("token", "session", "sessions")]
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == os.EX_USAGE
    for shown in (*groups, capsys.readouterr().out):
        assert shown.startswith("Usage: keyturn")
        assert shown.count("\n") > 5
        assert "\\n" not in shown


def test_an_option_in_the_wrong_place_is_told_where_it_belongs(cli: Keyturn) -> None:
    late = cli("history", "--path", "x", code=os.EX_USAGE).stderr
    early = cli("--json", "history", code=os.EX_USAGE).stderr

    assert "--path stands before the command" in late
    assert "--json stands after the command" in early
