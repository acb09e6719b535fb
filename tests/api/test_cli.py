"""The command line, as a person and as a program uses it: real processes, real files."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

import keyturn
from keyturn.cli.texts import for_command_line
from keyturn.testing import ManualClock
from tests.api.command_line import Keyturn


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


def test_init_makes_a_private_data_folder_and_names_the_node(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "data")

    facts = json.loads(run("init", "--no-password", "--json").stdout)

    keyturn.decode_node_id(facts["node_id"])
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert {"keyring.json", "keyturn.db", "anchor.json.d"} <= set(os.listdir(tmp_path / "data"))


def test_init_leaves_a_folder_that_is_made_already_alone(cli: Keyturn) -> None:
    before = (cli.folder / "keyring.json").read_bytes()

    done = cli("init", "--no-password", code=os.EX_CANTCREAT)

    assert "exists already" in done.stderr
    assert (cli.folder / "keyring.json").read_bytes() == before


def test_init_goes_on_where_it_could_not_make_the_log(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "data")
    in_the_way = tmp_path / "logs"
    in_the_way.touch()
    run.environment["KEYTURN_STORE"] = f"sqlite:///{in_the_way}/keyturn.db"
    run("init", "--no-password", code=os.EX_IOERR)
    before = (run.folder / "keyring.json").read_bytes()
    in_the_way.unlink()
    in_the_way.mkdir()

    run("init", "--no-password")

    run("audit")
    assert (run.folder / "keyring.json").read_bytes() == before


def test_init_makes_no_log_for_a_key_ring_that_may_have_lost_one(cli: Keyturn) -> None:
    shutil.rmtree(cli.folder / "anchor.json.d")
    (cli.folder / "keyturn.db").unlink()

    cli("init", "--no-password", code=os.EX_CANTCREAT)

    assert not (cli.folder / "keyturn.db").exists()


def test_the_password_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_PASSWORD"] = "correct horse"
    run("init")

    run("token", "create")
    run.environment["KEYTURN_PASSWORD"] = "wrong"
    wrong = run("token", "create", code=os.EX_NOPERM)
    del run.environment["KEYTURN_PASSWORD"]
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("correct horse\n")
    run.environment["KEYTURN_PASSWORD_FILE"] = str(secret)
    run("token", "create")

    assert "password" in wrong.stderr
    assert "wrong" not in wrong.stderr.replace("this is not", "")


def test_a_token_is_created_verified_refreshed_and_inspected(cli: Keyturn) -> None:
    token = cli("token", "create", "--subject", "alice", "--claims", '{"role": "admin"}').stdout
    token = token.strip()

    assert cli("token", "verify", token).stdout == "good\n"
    refreshed = cli("token", "refresh", token, "--expiry", "60").stdout.strip()
    report = json.loads(cli("token", "inspect", refreshed, "--json").stdout)

    assert report["valid"] is True
    assert report["claims"]["sub"] == "alice"
    assert report["claims"]["role"] == "admin"


def test_a_token_is_taken_from_standard_input_and_from_a_token_file(cli: Keyturn) -> None:
    token = cli("token", "create").stdout
    path = cli.folder / "client" / "token"

    assert cli("token", "verify", "-", stdin=token).stdout == "good\n"
    cli("session", "write", str(path), "-", stdin=token)

    assert cli("token", "verify", "--file", str(path)).stdout == "good\n"
    assert cli("session", "read", str(path)).stdout == token


def test_g2_a_reset_on_the_command_line_ends_the_tokens_of_a_running_host(cli: Keyturn) -> None:
    with keyturn.open(path=cli.folder, password=None) as host:
        token = host.create_token()
        assert host.verify_token(token)

        cli("reset", "--reason", "laptop stolen", "--initiator", "alice")

        assert not host.verify_token(token)
    done = cli("token", "verify", token, "--json", code=1)
    assert json.loads(done.stdout) == {"valid": False, "reason": "revoked"}


def test_a_rotation_on_the_command_line_lets_tokens_of_a_running_host_live_on(
    cli: Keyturn,
) -> None:
    with keyturn.open(path=cli.folder, password=None) as host:
        token = host.create_token()

        cli("rotate", "--overlap", "3600", "--reason", "monthly", "--initiator", "alice")

        during = host.verify_token(token)
        *_, change = host.history()
        cli("rotate", "--overlap", "0")
        cli("reset")
        assert (during, host.verify_token(token)) == (True, False)
    assert (change.kind, change.initiator, change.reason) == ("rotated", "alice", "monthly")


def test_a_command_does_what_it_is_told_and_leaves_the_rotation_policy_to_hosts(
    tmp_path: Path,
) -> None:
    with keyturn.open(path=tmp_path / "data", password=None, clock=ManualClock(1_700_000_000)):
        pass
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_ROTATE_EVERY"] = "3600"
    run.environment["KEYTURN_OVERLAP"] = "60"

    for _ in range(3):
        run("token", "create")

    assert len(run("history", "--json").stdout.splitlines()) == 1


def test_history_needs_no_password_and_tells_who_and_why(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_PASSWORD"] = "secret"
    run("init")
    run("reset", "--reason", "laptop stolen", "--initiator", "alice")
    del run.environment["KEYTURN_PASSWORD"]

    rows = [json.loads(line) for line in run("history", "--json").stdout.splitlines()]

    assert [row["kind"] for row in rows] == ["generated", "reset"]
    assert (rows[1]["initiator"], rows[1]["reason"]) == ("alice", "laptop stolen")
    assert "laptop stolen" in run("history").stdout


def test_what_is_in_the_log_is_shown_and_not_obeyed(cli: Keyturn) -> None:
    cli("reset", "--reason", "\x1b[31m[bold]red[/bold]\u202e", "--initiator", "mallory")

    shown = cli("history").stdout

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]" in shown


def test_a_token_is_never_echoed_in_an_error(cli: Keyturn) -> None:
    token = cli("token", "create").stdout.strip()

    errors = [
        cli("token", "verify", token, token, code=os.EX_USAGE).stderr,
        cli("token", "refresh", token + "x", code=1).stderr,
        cli("token", token, code=os.EX_USAGE).stderr,
        cli("session", "write", str(cli.folder), token, code=os.EX_IOERR).stderr,
    ]

    assert all(token.split(".")[2] not in error for error in errors)
    assert all(error.startswith("keyturn: ") for error in errors)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("frobnicate",), os.EX_USAGE),
        (("token", "create", "--expiry", "-1"), os.EX_USAGE),
        (("token", "create", "--expiry", "soon"), os.EX_USAGE),
        (("token", "create", "--claims", '{"exp": 1}'), os.EX_USAGE),
        (("token", "create", "--claims", "["), os.EX_USAGE),
        (("token", "verify"), os.EX_USAGE),
        (("token", "verify", "nonsense"), 1),
        (("token", "create", "--expiry", "5 fortnights"), os.EX_USAGE),
        (("token", "refresh", "nonsense", "--expiry", "never"), os.EX_USAGE),
        (("token", "authenticate", "nonsense"), 1),
        (("token", "authenticate", "nonsense", "--max-age", "never"), os.EX_USAGE),
        (("session", "end"), os.EX_USAGE),
        (("session", "end", "--sid", "a", "--token", "b"), os.EX_USAGE),
        (("session", "end", "--sid", ""), os.EX_USAGE),
        (("session", "end", "--token", "nonsense"), 1),
        (("session", "end", "--file", "/nowhere/token"), os.EX_IOERR),
        (("sessions", "end"), os.EX_USAGE),
        (("sessions", "end", "--subject", "alice", "--sid", "a"), os.EX_USAGE),
        (("sessions", "end", "--sid", "a", "--keep", "b"), os.EX_USAGE),
        (("sessions", "end", "--subject", "alice", "--keep", "a.b.c"), os.EX_USAGE),
        (("sessions", "end", "--subject", "alice", "--initiator", "x" * 256), os.EX_USAGE),
        (("session", "end", "--sid", "a", "--initiator", "x" * 256), os.EX_USAGE),
        (("reset", "--initiator", "x" * 256), os.EX_USAGE),
        (("destroy",), os.EX_USAGE),
        (("--accept-rollback", "token", "verify", "nonsense"), os.EX_USAGE),
        (("--name", "defualt", "token", "verify", "nonsense"), os.EX_NOINPUT),
        (("reset", "--reason", "x" * 1001), os.EX_USAGE),
        (("rotate",), os.EX_USAGE),
        (("rotate", "--overlap", "-1"), os.EX_USAGE),
        (("rotate", "--overlap", "1.5"), os.EX_USAGE),
        (("rotate", "--overlap", "nan"), os.EX_USAGE),
        (("rotate", "--overlap", "9" * 400), os.EX_USAGE),
        (("--store", "foo:bar", "history"), os.EX_CONFIG),
        (("--config", "/nowhere.toml", "history"), os.EX_CONFIG),
        (("--name", "other", "session", "read", "/nowhere/token"), 1),
    ],
)
def test_bad_input_gets_one_line_and_its_exit_code(
    cli: Keyturn, arguments: tuple[str, ...], code: int
) -> None:
    done = cli(*arguments, code=code)

    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("token", "create", "--claims", '{"sub": "alice"}'), "--subject"),
        (("--accept-rollback", "token", "verify", "a.b.c"), "--accept-rollback reset"),
        (("audit", "--any-node", "--node-id", "v" + "0" * 52), "--node-id"),
    ],
)
def test_an_error_speaks_of_options_and_not_of_python(
    cli: Keyturn, arguments: tuple[str, ...], says: str
) -> None:
    done = cli(*arguments, code=os.EX_USAGE)

    assert says in done.stderr
    assert not re.search(r"=True|=None|\bNone\b|argument `", done.stderr)


def test_no_error_of_ours_speaks_of_python_once_it_is_for_the_command_line() -> None:
    texts = [
        "accept it with accept_rollback=True (--accept-rollback)",
        "say so once with trust_log=True (--trust-log, KEYTURN_TRUST_LOG=true)",
        "say whose: (node_id, --node-id), or any (any_node=True, --any-node)",
        "one is made with `keyturn --name NAME init`, or with create=True",
        "open it again, with create=True or with `keyturn init`",
        "a password is text and not empty; None means no password",
        "needs one (KEYTURN_PASSWORD, or the argument `password`); password=None makes one",
        "at least 60 (None: never)",
    ]

    shown = [for_command_line(text) for text in texts]

    assert [text for text in shown if re.search(r"=True|=None|\bNone\b|argument `", text)] == []


def test_a_bug_is_no_refused_token(cli: Keyturn, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("keyturn.cli.base.ManagerParts", fail)

    done = cli("token", "verify", "a.b.c", code=os.EX_SOFTWARE)

    assert done.stderr.startswith("keyturn: this is a bug")
    assert "ZeroDivisionError" in done.stderr


def test_without_a_data_folder_each_command_says_how_to_make_one(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "nowhere")

    errors = [run(*c, code=os.EX_NOINPUT).stderr for c in (["token", "create"], ["history"])]

    assert all("keyturn init" in error for error in errors)
    assert not (tmp_path / "nowhere").exists()


def test_a_rolled_back_log_is_refused_until_it_is_accepted(cli: Keyturn) -> None:
    database = cli.folder / "keyturn.db"
    old = database.read_bytes()
    cli("reset")
    database.write_bytes(old)

    refused = cli("token", "create", code=os.EX_DATAERR)
    cli("--accept-rollback", "token", "create")

    assert "--accept-rollback" in refused.stderr
    kinds = [json.loads(line)["reason"] for line in cli("history", "--json").stdout.splitlines()]
    assert kinds[-1] == "accepted a log that was rolled back"


def test_the_password_is_changed_without_touching_the_log(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_PASSWORD"] = "old"
    run("init")
    token = run("token", "create").stdout.strip()

    run("password", "--no-password")
    del run.environment["KEYTURN_PASSWORD"]

    assert run("token", "verify", token).stdout == "good\n"


def test_the_password_is_changed_by_a_script(tmp_path: Path) -> None:
    run = Keyturn(tmp_path / "data")
    run.environment["KEYTURN_PASSWORD"] = "old"
    run("init")
    new = tmp_path / "new"
    new.touch(0o600)
    new.write_text("new\n")

    run("password", "--new-password-file", str(new))
    run("token", "create", code=os.EX_NOPERM)
    run.environment["KEYTURN_PASSWORD"] = "new"
    run("token", "create")
    new.chmod(0o644)
    refused = run("password", "--new-password-file", str(new), code=os.EX_CONFIG)

    assert "chmod 600" in refused.stderr


def test_every_command_explains_itself(cli: Keyturn) -> None:
    from keyturn.cli import cli as group

    def check(command: object, *path: str) -> None:
        assert cli(*path, "--help").stdout.count("\n") > 3
        for name, sub in getattr(command, "commands", {}).items():
            check(sub, *path, name)

    check(group)
