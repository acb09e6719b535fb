"""What somebody does to the log while a host runs on it: nothing of it revives a token."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest

import keyturn
from keyturn import KeyRing, Service, SessionKeys, Subscribe, ask
from keyturn.domain.errors import (
    ForeignLogError,
    LogRolledBackError,
    LogUnavailableError,
    NotAKeyturnLogError,
    SessionManagerDestroyedError,
)
from keyturn.domain.session_keys import Origin
from tests.api.command_line import Keyturn
from tests.heads import keys_at_head


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    with keyturn.open(path=folder, password=None) as service:
        yield service


def alter(folder: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Do to the log what nobody should; return what a SELECT finds."""
    connection = sqlite3.connect(folder / "keyturn.db")
    with connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    return found


def test_g5_no_reset_is_acknowledged_on_a_log_that_lost_its_end(
    service: Service, folder: Path
) -> None:
    for _ in range(3):
        service.reset_key()
    alter(folder, "DELETE FROM stored_events WHERE originator_version > 1")

    for _ in range(3):
        with pytest.raises(LogRolledBackError):
            service.reset_key()

    assert alter(folder, "SELECT max(originator_version) FROM stored_events") == [(1,)]


def test_g5_a_restart_refuses_a_log_that_was_cut_while_the_host_ran(folder: Path) -> None:
    with keyturn.open(path=folder, password=None) as service:
        for _ in range(3):
            service.reset_key()
        alter(folder, "DELETE FROM stored_events WHERE originator_version > 1")
        with pytest.raises(LogRolledBackError):
            service.reset_key()

    with pytest.raises(LogRolledBackError):
        keyturn.open(path=folder, password=None)


def test_g2_an_old_log_put_back_in_two_steps_revives_no_token(
    service: Service, folder: Path
) -> None:
    old = service.create_token()
    service.reset_key()
    first, *_ = alter(folder, "SELECT * FROM stored_events ORDER BY originator_version")
    alter(folder, "DELETE FROM stored_events")
    with pytest.raises(LogRolledBackError):
        service.verify_token(old)

    alter(folder, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *first)

    with pytest.raises(LogRolledBackError):
        service.verify_token(old)


def test_nothing_is_built_on_an_event_of_another_node(service: Service, folder: Path) -> None:
    keys = keys_at_head(service.log, "default")
    assert isinstance(keys, SessionKeys)
    keys.reset(b"k" * 32, KeyRing.ephemeral(), Origin.now("mallory", "forged"))
    row = service.log.mapper.to_stored_event(keys.pending_events[0])
    values = (row.originator_id.hex, row.originator_version, row.topic, row.state)
    alter(folder, "INSERT INTO stored_events VALUES (?, ?, ?, ?)", *values)

    with pytest.raises(ForeignLogError):
        service.reset_key()
    with pytest.raises(ForeignLogError):
        keyturn.open(path=folder, password=None)

    assert alter(folder, "SELECT count(*) FROM stored_events") == [(2,)]


def test_g2_a_host_whose_log_was_replaced_accepts_nothing(service: Service, folder: Path) -> None:
    token = service.create_token()
    alter(folder, f"VACUUM INTO '{folder}/copy.db'")
    os.replace(folder / "copy.db", folder / "keyturn.db")
    deadline = time.monotonic() + 10

    with pytest.raises(LogUnavailableError, match="replaced"):
        while time.monotonic() < deadline:
            service.verify_token(token)

    with pytest.raises(LogUnavailableError, match="replaced"):
        service.verify_token(token)


def test_g2_an_old_log_put_back_after_a_purge_revives_no_token(
    folder: Path, tmp_path: Path
) -> None:
    with keyturn.open(path=folder, password=None):
        pass
    shutil.copy(folder / "keyturn.db", tmp_path / "old.db")
    with keyturn.open(path=folder, password=None) as service:
        service.stop()
        service.destroy(purge=True)
    shutil.copy(tmp_path / "old.db", folder / "keyturn.db")

    with pytest.raises(LogRolledBackError):
        keyturn.open(path=folder, password=None)


def test_after_a_purge_a_new_history_begins(folder: Path) -> None:
    with keyturn.open(path=folder, password=None) as service:
        service.stop()
        service.destroy(purge=True)

    for _ in range(2):
        with keyturn.open(path=folder, password=None) as service:
            assert [change.kind for change in service.history()] == ["destroyed", "generated"]


def test_several_starts_at_once_after_a_purge_share_one_new_key(folder: Path) -> None:
    code = (
        "import sys, keyturn\n"
        "sys.stdin.readline()\n"
        "keyturn.open(path=sys.argv[1], password=None).close()\n"
    )
    with keyturn.open(path=folder, password=None) as service:
        for _ in range(3):
            service.reset_key()
        service.stop()
        service.destroy(purge=True)
    starters = [
        subprocess.Popen([sys.executable, "-c", code, folder], stdin=subprocess.PIPE)
        for _ in range(3)
    ]

    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write(b"go\n")
        starter.stdin.flush()
    for starter in starters:
        starter.communicate(timeout=60)

    assert [starter.returncode for starter in starters] == [0] * 3
    with keyturn.open(path=folder, password=None) as service:
        assert [change.kind for change in service.history()] == ["destroyed", "generated"]


@pytest.mark.parametrize("topic", ["keyturn.Evil", "keyturn.domain.node:encode_node_id", ""])
def test_opening_refuses_every_topic_that_is_not_ours(folder: Path, topic: str) -> None:
    with keyturn.open(path=folder, password=None):
        pass
    alter(folder, "INSERT INTO stored_events VALUES ('x', 1, ?, x'00')", topic)

    with pytest.raises(NotAKeyturnLogError):
        keyturn.open(path=folder, password=None)


def test_an_actor_that_died_comes_back_with_its_subscribers(service: Service) -> None:
    told: list[str] = []

    class Subscriber(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_receive(self, message: object) -> object:
            if message == "told":
                return list(told)
            told.append(type(message).__name__)
            return None

    ref = Subscriber.start()
    ask(service.manager, Subscribe(ref))
    service.reset_key()

    service.manager.stop()
    service.reset_key()
    ask(service.manager, keyturn.SetupKey())

    assert ref.ask("told", timeout=10) == ["KeyReset", "KeyReset"]
    ref.stop()


def test_an_actor_that_died_makes_no_new_keys_where_they_were_destroyed(
    service: Service, folder: Path
) -> None:
    with keyturn.open(path=folder, password=None) as other:
        other.stop()
        other.destroy()

    service.manager.stop()

    with pytest.raises(SessionManagerDestroyedError):
        _ = service.manager
    assert [change.kind for change in service.history()] == ["generated", "destroyed"]


def test_a_client_reads_its_token_while_a_writer_hangs(service: Service, tmp_path: Path) -> None:
    from keyturn.config.files import locked

    token = service.create_token()
    service.session(tmp_path / "token", token)

    with locked(tmp_path / "token", timeout=1):
        assert service.session(tmp_path / "token").read_token() == token


def test_a_token_in_place_of_a_path_is_never_echoed(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, run = service.create_token(), Keyturn(folder)
    monkeypatch.chdir(folder)

    for code, *arguments in (
        (os.EX_IOERR, "token", "verify", "--file", token),
        (os.EX_IOERR, "session", "read", token),
        (os.EX_IOERR, "session", "clear", token),
        (os.EX_IOERR, "session", "write", token, "token"),
        (os.EX_DATAERR, "audit", "--against", token),
    ):
        done = run(*arguments, code=code)
        assert token.split(".")[2] not in done.stderr, arguments

    assert not [name for name in os.listdir(folder) if "eyJ" in name]
