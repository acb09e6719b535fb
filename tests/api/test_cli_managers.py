"""The commands make a manager only where they are told to, and say what they did."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import keyturn
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


def names(cli: Keyturn) -> list[str]:
    lines = cli("managers", "--json").stdout.splitlines()
    return [json.loads(line)["name"] for line in lines]


def last_change(cli: Keyturn, *name: str) -> dict[str, Any]:
    last: dict[str, Any] = json.loads(cli(*name, "history", "--json").stdout.splitlines()[-1])
    return last


@pytest.mark.parametrize(
    "command",
    [
        ("reset",),
        ("rotate", "--overlap", "60"),
        ("token", "create"),
        ("token", "verify", "a.b.c"),
        ("session", "end", "--sid", "abc"),
        ("sessions", "end", "--subject", "alice"),
        ("destroy", "--yes"),
        ("--accept-rollback", "reset"),
        ("--trust-log", "reset"),
    ],
)
def test_a_misspelt_name_makes_no_manager_and_the_error_names_those_there_are(
    cli: Keyturn, command: tuple[str, ...]
) -> None:
    refused = cli("--name", "defualt", *command, code=os.EX_NOINPUT)

    assert "no manager 'defualt': there are 'default'" in refused.stderr
    assert names(cli) == ["default"]


def test_init_makes_a_further_manager_and_only_that(cli: Keyturn) -> None:
    token = cli("token", "create").stdout

    cli("--name", "tenant-7", "init")
    again = cli("--name", "tenant-7", "init", code=os.EX_CANTCREAT)

    assert names(cli) == ["default", "tenant-7"]
    assert "manager 'tenant-7'" in again.stderr
    cli("token", "verify", "-", stdin=token)


def test_init_gives_a_destroyed_manager_new_keys_and_nothing_else_does(cli: Keyturn) -> None:
    cli("destroy", "--yes", "--reason", "the end")
    refused = cli("token", "create", code=os.EX_UNAVAILABLE)

    cli("init")

    assert "keyturn init" in refused.stderr
    cli("token", "create")


def test_managers_shows_each_with_its_newest_event(cli: Keyturn) -> None:
    cli("--name", "tenant-7", "init")
    cli("reset")
    cli("--name", "tenant-7", "destroy", "--yes")

    shown = cli("managers").stdout.splitlines()
    default, tenant = (json.loads(line) for line in cli("managers", "--json").stdout.splitlines())

    assert (default["generation"], default["position"], default["is_destroyed"]) == (2, 2, False)
    assert default["changed_at"] == last_change(cli)["at"]
    assert tenant["is_destroyed"]
    assert shown[1].startswith("default ")
    assert shown[2].endswith("destroyed")


def alter(cli: Keyturn, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(cli.folder / "keyturn.db")) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_manager_whose_first_row_was_deleted_is_still_shown(cli: Keyturn) -> None:
    cli("reset")

    alter(cli, "DELETE FROM stored_events WHERE originator_version = 1")

    assert names(cli) == ["default"]
    assert json.loads(cli("history", "--all", "--json").stdout)["position"] == 2


@pytest.mark.parametrize(
    "change", ["state = x'00'", "originator_version = 'last'", "topic = NULL"]
)
def test_a_manager_whose_newest_row_is_no_event_is_warned_of(cli: Keyturn, change: str) -> None:
    cli("--name", "tenant-7", "init")
    cli("reset")
    alter(cli, f"UPDATE stored_events SET {change} WHERE originator_version = 2")

    for command in ("managers", "--json"), ("history", "--all", "--json"):
        done = cli(*command)

        assert "tenant-7" in done.stdout
        assert "keyturn audit" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("reset",),
        ("rotate", "--overlap", "24h"),
        ("session", "end", "--sid", "abc"),
        ("sessions", "end", "--subject", "alice"),
        ("destroy", "--yes", "--purge"),
    ],
)
def test_a_command_says_what_it_recorded(cli: Keyturn, command: tuple[str, ...]) -> None:
    done = cli(*command, "--reason", "why not", "--initiator", "ops", "--json")

    facts, recorded = json.loads(done.stdout), last_change(cli)
    assert {key: facts[key] for key in ("kind", "generation", "position", "at", "reason")} == {
        key: recorded[key] for key in ("kind", "generation", "position", "at", "reason")
    }
    assert (facts["manager"], facts["initiator"]) == ("default", recorded["initiator"])


def test_a_command_says_what_it_recorded_to_people_too(cli: Keyturn) -> None:
    said = cli("reset").stdout

    moment = last_change(cli)["at"][:19].replace("T", " ")
    assert said == f"reset: manager default, generation 2, {moment} UTC\n"


def test_a_reset_clears_a_token_file_if_it_is_told_to(cli: Keyturn, tmp_path: Path) -> None:
    file = tmp_path / "token"
    cli("session", "write", str(file), "-", stdin=cli("token", "create").stdout)

    cli("reset", "--clear-file", str(file))

    assert not file.exists()


def test_destroying_asks_and_purging_leaves_one_event(cli: Keyturn) -> None:
    cli("reset")
    refused = cli("destroy", "--purge", code=os.EX_USAGE)
    before = len(cli("history", "--json").stdout.splitlines())

    cli("destroy", "--purge", "--yes", "--reason", "moved", "--initiator", "ops")

    (left,) = cli("history", "--json").stdout.splitlines()
    assert "--yes" in refused.stderr
    assert before == 2
    assert (json.loads(left)["reason"], json.loads(left)["initiator"]) == ("moved", "ops")


def test_a_destroyed_manager_can_be_purged_later_and_once(cli: Keyturn) -> None:
    cli("reset")
    cli("destroy", "--yes")

    cli("destroy", "--purge", "--yes", "--reason", "moved", "--initiator", "ops")
    again = cli("destroy", "--purge", "--yes", code=os.EX_UNAVAILABLE)

    (left,) = cli("history", "--json").stdout.splitlines()
    assert (json.loads(left)["kind"], json.loads(left)["reason"]) == ("destroyed", "moved")
    assert "purged before" in again.stderr
    cli("audit")


def test_the_row_of_a_destroyed_manager_repeats_nothing_of_its_key(cli: Keyturn) -> None:
    cli("destroy", "--yes", "--reason", "the end")

    (row,) = (line for line in cli("history").stdout.splitlines() if "destroyed" in line)

    assert row.split()[:3] == ["2", "destroyed", last_change(cli)["at"][:10]]


# --- sessions ----------------------------------------------------------------------------------


def test_a_session_is_ended_by_its_token_file_which_is_cleared(
    cli: Keyturn, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    token = cli("token", "create").stdout
    refreshed = cli("token", "refresh", "-", stdin=token).stdout
    cli("session", "write", str(file), "-", stdin=token)

    cli("session", "end", "--file", str(file), "--reason", "lost", "--initiator", "alice")

    assert not file.exists()
    assert (
        cli("token", "verify", "-", stdin=refreshed, code=1).stdout == "refused: session ended\n"
    )
    assert last_change(cli)["reason"] == "lost"


def test_a_session_that_cannot_be_ended_again_is_no_success(cli: Keyturn, tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = cli("token", "create").stdout
    cli("session", "write", str(file), "-", stdin=token)
    cli("session", "end", "--token", "-", stdin=token)

    again = cli("session", "end", "--file", str(file), "--json", code=1)

    assert json.loads(again.stdout) == {"events": 0}
    assert not file.exists()
    assert last_change(cli)["position"] == 2


def test_a_running_host_refuses_what_a_command_ended(cli: Keyturn) -> None:
    with keyturn.open(path=cli.folder, create=False) as host:
        alice = [host.create_token(subject="alice") for _ in range(2)]
        bob = [host.create_token(subject="bob") for _ in range(2)]

        cli("sessions", "end", "--subject", "alice", "--keep", alice[0])
        sids = [host.authenticate(token).sid for token in bob]
        cli("sessions", "end", "--sid", sids[0], "--sid", sids[1])

        assert host.verify_tokens([*alice, *bob]) == [True, False, False, False]
        assert last_change(cli)["position"] == 4


def test_the_session_to_keep_is_taken_from_standard_input(cli: Keyturn) -> None:
    kept, other = (cli("token", "create", "--subject", "alice").stdout for _ in range(2))
    end = ("sessions", "end", "--subject", "alice", "--keep", "-")

    nothing = cli(*end, stdin="\n", code=os.EX_USAGE)
    cli(*end, stdin=kept)

    cli("token", "verify", "-", stdin=kept)
    cli("token", "verify", "-", stdin=other, code=1)
    assert "nothing was ended" in nothing.stderr


def test_the_token_to_replace_is_taken_from_standard_input(cli: Keyturn, tmp_path: Path) -> None:
    file = str(tmp_path / "token")
    old, new = (cli("token", "create").stdout for _ in range(2))
    cli("session", "write", file, "-", stdin=old)

    cli("session", "write", file, new.strip(), "--replacing", "-", stdin=new, code=1)
    cli("session", "write", file, new.strip(), "--replacing", "-", stdin=old)
    cli("session", "write", file, "-", "--replacing", "-", stdin=old, code=os.EX_USAGE)
    cli("session", "write", file, "x", "--replacing", "-", stdin="", code=os.EX_USAGE)

    assert cli("session", "read", file).stdout == new


# --- tokens ------------------------------------------------------------------------------------


def test_the_claims_of_a_good_token_are_shown_and_only_of_a_good_one(cli: Keyturn) -> None:
    token = cli("token", "create", "--subject", "alice", "--claims", '{"role": "admin"}').stdout

    facts = json.loads(cli("token", "authenticate", "-", "--json", stdin=token).stdout)
    text = cli("token", "authenticate", "-", stdin=token).stdout
    cli("reset")
    refused = cli("token", "authenticate", "-", stdin=token, code=1)
    as_json = cli("token", "authenticate", "-", "--json", stdin=token, code=1)

    assert (facts["subject"], facts["claims"], facts["generation"]) == (
        "alice",
        {"role": "admin"},
        1,
    )
    assert "alice" in text
    assert (refused.stdout, refused.stderr) == ("refused: revoked\n", "")
    assert json.loads(as_json.stdout) == {"valid": False, "reason": "revoked"}


def test_a_session_that_began_too_long_ago_is_refused(cli: Keyturn) -> None:
    with keyturn.open(path=cli.folder, clock=lambda: 1_700_000_000, expiry=None) as host:
        token = host.create_token()

    cli("token", "authenticate", token, "--max-age", "36500d")
    refused = cli("token", "authenticate", token, "--max-age", "10m", code=1)

    assert refused.stdout == "refused: authenticated too long ago\n"


@pytest.mark.parametrize(
    ("expiry", "seconds"), [("90", 90), ("30m", 1800), ("1.5h", 5400), ("never", None)]
)
def test_an_expiry_is_written_with_a_unit(cli: Keyturn, expiry: str, seconds: int | None) -> None:
    token = cli("token", "create", "--expiry", expiry).stdout

    claims = json.loads(cli("token", "inspect", "-", "--json", stdin=token).stdout)["claims"]

    assert (claims["exp"] - claims["iat"] if "exp" in claims else None) == seconds


def test_claims_cannot_be_taken_for_what_is_known_of_a_token(cli: Keyturn) -> None:
    claims = {"token": "good", "ended": "never", "by": "nobody", "because": "x\ntoken good"}
    token = cli("token", "create", "--claims", json.dumps(claims)).stdout
    cli("reset", "--reason", "laptop stolen", "--initiator", "alice")

    lines = cli("token", "inspect", "-", stdin=token).stdout.splitlines()
    facts = lines[: lines.index("claims")]

    assert facts[0].split() == ["token", "refused:", "revoked"]
    assert facts[-1].split(maxsplit=1) == ["because", "laptop stolen"]
    assert all(line.startswith("  ") for line in lines[lines.index("claims") + 1 :])


def test_the_moments_in_a_token_are_shown_in_utc(cli: Keyturn) -> None:
    with keyturn.open(path=cli.folder, clock=lambda: 1_700_000_000) as host:
        token = host.create_token(expiry=60)

    text = cli("token", "inspect", token).stdout
    facts = json.loads(cli("token", "inspect", token, "--json").stdout)

    assert "1700000060 (2023-11-14 22:14:20 UTC)" in text
    assert facts["claim_times"]["exp"] == "2023-11-14T22:14:20+00:00"


def test_as_of_a_moment_nothing_is_told_that_happened_later(cli: Keyturn) -> None:
    token = cli("token", "create").stdout.strip()
    before = last_change(cli)["at"]
    cli("reset", "--reason", "laptop stolen")

    then = json.loads(cli("token", "inspect", token, "--at", before, "--json").stdout)
    now = json.loads(cli("token", "inspect", token, "--json").stdout)

    assert (then["revoked_at"], then["revoked_by"], then["revoked_because"]) == (None, None, None)
    assert now["revoked_because"] == "laptop stolen"


# --- who ---------------------------------------------------------------------------------------


def test_who_recorded_a_change_is_the_user_of_the_system_and_stands_beside_who_said_so(
    cli: Keyturn, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = socket.gethostname()
    recorders = []
    for environment in ({"LOGNAME": "mallory", "USER": "mallory"}, {"SUDO_USER": "carol"}, {}):
        cli.environment |= environment
        cli("reset", "--initiator", "alice")
        recorders.append(last_change(cli)["recorded_by"])
    del cli.environment["SUDO_USER"]
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # a user without a name
    cli("reset", "--initiator", "alice")

    assert "mallory" not in recorders[0]
    assert recorders[1] == f"carol@{host}"
    assert last_change(cli)["recorded_by"] == f"uid-{os.getuid()}@{host}"
    assert last_change(cli)["initiator"] == "alice"
    assert f"alice (recorded by carol@{host})" in " ".join(cli("history").stdout.split())
