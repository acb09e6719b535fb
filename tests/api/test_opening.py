"""Opening: what is made, what is refused, and what must not be touched then."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import keyturn
from keyturn import KeyRing, KeyturnError, Settings
from keyturn.domain.errors import (
    ForeignLogError,
    KeyRingNotFoundError,
    LogNotFoundError,
    ManagerNotFoundError,
    PasswordRequiredError,
    SessionManagerDestroyedError,
    SettingsError,
    WrongPasswordError,
)

PASSWORD = "correct horse battery staple"


def contents(folder: Path) -> dict[str, str]:
    """Return what the data folder holds, byte for byte."""
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# --- the first start ---------------------------------------------------------------------------


def test_the_first_start_makes_everything_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keyturn.open(path=tmp_path / "new" / "data", password=None).close()
    finally:
        os.umask(before)

    made = tmp_path / "new" / "data"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.lstat().st_mode) for f in made.rglob("*") if f.is_file()} == {0o600}
    assert stat.S_IMODE((made / "anchor.json.d").stat().st_mode) == 0o700
    assert {"keyring.json", "keyturn.db", "anchor.json.d"} <= {f.name for f in made.iterdir()}


def test_no_password_has_to_be_said(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        assert service.verify_token(service.create_token())


def test_without_a_word_about_a_password_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(PasswordRequiredError, match="KEYTURN_PASSWORD"):
        keyturn.open(path=tmp_path / "data")

    assert list(tmp_path.iterdir()) == []


def test_a_key_ring_without_a_password_is_opened_without_a_word(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=None).close()

    keyturn.open(path=tmp_path).close()


def test_a_password_is_needed_again(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=PASSWORD).close()

    with pytest.raises(PasswordRequiredError):
        keyturn.open(path=tmp_path)


def test_g6_a_wrong_password_opens_nothing_and_changes_nothing(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=PASSWORD).close()
    before = contents(tmp_path)

    for wrong in ("another", PASSWORD + " ", ""):
        with pytest.raises(WrongPasswordError):
            keyturn.open(path=tmp_path, password=wrong)

    assert contents(tmp_path) == before


def test_the_password_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_PASSWORD", PASSWORD)
    keyturn.open(path=tmp_path).close()
    monkeypatch.delenv("KEYTURN_PASSWORD")

    keyturn.open(path=tmp_path, password=PASSWORD).close()


def test_a_changed_password_loses_nothing(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password="old") as service:
        token = service.create_token()

    KeyRing.change_password(tmp_path / "keyring.json", "old", None)

    with keyturn.open(path=tmp_path, password=None) as service:
        assert service.verify_token(token)


# --- nothing is made by mistake ----------------------------------------------------------------


def test_without_create_nothing_is_made_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyRingNotFoundError, match="keyturn init"):
        keyturn.open(path=tmp_path / "data", password=None, create=False)

    assert list(tmp_path.iterdir()) == []


def test_without_create_a_log_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=None).close()
    (tmp_path / "keyturn.db").unlink()

    with pytest.raises(LogNotFoundError, match="put it back"):
        keyturn.open(path=tmp_path, password=None, create=False, accept_rollback=True)

    assert not (tmp_path / "keyturn.db").exists()


def test_without_create_a_log_in_memory_is_refused() -> None:
    with pytest.raises(LogNotFoundError, match="memory"):
        keyturn.open(store="memory:", create=False)


def test_without_create_an_unknown_manager_is_refused_by_the_names_there_are(
    tmp_path: Path,
) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        service.named("tenant-7")
    before = contents(tmp_path)

    with pytest.raises(ManagerNotFoundError) as caught:
        keyturn.open(path=tmp_path, password=None, name="defualt", create=False)

    assert (caught.value.name, caught.value.managers) == ("defualt", ("default", "tenant-7"))
    assert "'default', 'tenant-7'" in str(caught.value)
    assert contents(tmp_path) == before


def test_without_create_a_destroyed_manager_stays_destroyed(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        service.stop()
        service.destroy()

    with pytest.raises(SessionManagerDestroyedError, match="create=True"):
        keyturn.open(path=tmp_path, password=None, create=False)

    with keyturn.open(path=tmp_path, password=None) as service:
        assert [change.kind for change in service.history()][-2:] == ["destroyed", "generated"]


def test_without_create_what_is_there_is_opened_as_ever(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        token = service.create_token()

    with keyturn.open(path=tmp_path, password=None, create=False, fresh=True) as service:
        assert not service.verify_token(token)
        service.manager.stop()
        assert service.verify_token(service.create_token())
        service.reset_key()
        assert [change.kind for change in service.history()] == ["generated", "reset", "reset"]


# --- several at once ---------------------------------------------------------------------------

FIRST_START = """
import sys, keyturn
sys.stdin.readline()
with keyturn.open(path=sys.argv[1], password=None) as service:
    token = service.create_token()
    print(service.node_id, service.verify_token(token), token)
"""


@pytest.mark.parametrize("attempt", range(2))
def test_three_first_starts_at_once_share_one_key(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "data"
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_START, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in starting:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    outputs = [process.communicate(timeout=60)[0].split() for process in starting]

    assert [process.returncode for process in starting] == [0, 0, 0]
    assert len({node_id for node_id, _, _ in outputs}) == 1
    with keyturn.open(path=path, password=None) as service:
        assert [change.kind for change in service.history()] == ["generated"]
        assert all(service.verify_token(token) for _, _, token in outputs)


# --- what is missing or another's --------------------------------------------------------------


def test_a_deleted_key_ring_beside_a_log_is_not_made_anew(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=None).close()
    (tmp_path / "keyring.json").unlink()

    with pytest.raises(KeyRingNotFoundError, match="backup"):
        keyturn.open(path=tmp_path, password=None)

    assert not (tmp_path / "keyring.json").exists()


def test_a_deleted_key_ring_beside_an_anchor_is_not_made_anew(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=None).close()
    (tmp_path / "keyring.json").unlink()
    (tmp_path / "keyturn.db").unlink()

    with pytest.raises(KeyRingNotFoundError, match=r"anchor\.json"):
        keyturn.open(path=tmp_path, password=None)


def test_a_key_ring_that_was_put_back_opens_the_log_again(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        token = service.create_token()
    ring = tmp_path / "keyring.json"
    ring.rename(tmp_path / "backup")
    with pytest.raises(KeyRingNotFoundError):
        keyturn.open(path=tmp_path, password=None)

    (tmp_path / "backup").rename(ring)

    with keyturn.open(path=tmp_path, password=None) as service:
        assert service.verify_token(token)


@pytest.mark.parametrize("accept_rollback", [False, True])
def test_a_foreign_key_ring_is_refused_and_the_database_stays_as_it_was(
    tmp_path: Path, accept_rollback: bool
) -> None:
    keyturn.open(path=tmp_path, password=None).close()
    (tmp_path / "keyring.json").unlink()
    KeyRing.create(tmp_path / "keyring.json", None)
    before = (tmp_path / "keyturn.db").read_bytes()

    with pytest.raises(ForeignLogError):
        keyturn.open(path=tmp_path, password=None, fresh=True, accept_rollback=accept_rollback)

    assert (tmp_path / "keyturn.db").read_bytes() == before


def test_a_refused_start_leaves_the_log_free_for_the_right_one(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password=None).close()
    with pytest.raises(ForeignLogError):
        keyturn.open(path=tmp_path, key_ring=KeyRing.ephemeral(), anchor=tmp_path / "other")

    with keyturn.open(path=tmp_path, password=None) as service:
        service.reset_key()

        assert len(list(service.history())) == 2


# --- memory, stores and anchors ----------------------------------------------------------------


def test_a_store_in_memory_leaves_no_file(
    tmp_path: Path, run_python: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    run_python(
        "import keyturn\n"
        "with keyturn.open(store='memory:') as service:\n"
        "    service.reset_key()\n"
        "    assert service.verify_token(service.create_token())\n"
    )

    assert list(tmp_path.iterdir()) == []


def test_stores_in_memory_have_nothing_in_common() -> None:
    with keyturn.open(store="memory:") as one, keyturn.open(store="memory:") as other:
        assert not other.verify_token(one.create_token())


def test_the_log_may_be_elsewhere(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/logs/some%20log.db"

    keyturn.open(path=tmp_path / "data", store=store, password=None).close()

    assert (tmp_path / "logs" / "some log.db").exists()
    assert not (tmp_path / "data" / "keyturn.db").exists()


def test_the_anchor_may_be_elsewhere(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path / "data", anchor=tmp_path / "state" / "a", password=None).close()

    assert (tmp_path / "state" / "a.d").exists()
    assert not (tmp_path / "data" / "anchor.json.d").exists()


def test_with_no_path_data_and_anchor_go_to_the_platforms_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    keyturn.open(password=None).close()

    assert (tmp_path / "data" / "keyturn" / "keyring.json").exists()
    assert (tmp_path / "state" / "keyturn" / "anchor.json.d").exists()


def test_a_hosts_own_key_ring_needs_no_file(tmp_path: Path) -> None:
    ring = KeyRing.ephemeral()
    with keyturn.open(path=tmp_path, key_ring=ring) as service:
        token = service.create_token()

    with keyturn.open(path=tmp_path, key_ring=ring) as service:
        assert service.verify_token(token)
    assert not (tmp_path / "keyring.json").exists()


# --- settings ----------------------------------------------------------------------------------


def test_an_argument_goes_before_a_setting(tmp_path: Path) -> None:
    settings = Settings(path=tmp_path, name="from settings")

    with keyturn.open(settings, password=None, name="from argument") as service:
        assert "from argument" in repr(service)


def test_arguments_reach_what_they_are_for(tmp_path: Path) -> None:
    with keyturn.open(
        path=tmp_path, password=None, initiator="bot", expiry=60, max_lifetime=30
    ) as service:
        token = service.create_token()
        claims = service.inspect_token(token).claims or {}

        assert claims["exp"] - claims["auth_time"] == 30
        assert [change.initiator for change in service.history()] == ["bot"]


@pytest.mark.parametrize("store", ["nonsense", "mysql://x", "sqlite://", "memory"])
def test_a_store_that_is_none_is_an_error_and_makes_nothing(tmp_path: Path, store: str) -> None:
    with pytest.raises(SettingsError):
        keyturn.open(path=tmp_path / "data", store=store, password=None)


def test_fresh_refuses_every_earlier_token(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        token = service.create_token()

    with keyturn.open(path=tmp_path, password=None, fresh=True) as service:
        assert not service.verify_token(token)
        assert [change.reason for change in service.history()] == [None, "fresh start"]


def test_every_error_of_an_opening_is_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(KeyturnError):
        keyturn.open(path=tmp_path / "file", password=None)


COLLECTED_WHILE_OPENING = """
import gc, sys, keyturn

def abandon(number):
    log = keyturn.open_event_log(f"sqlite:///{sys.argv[1]}/{number}.db")
    log.itself = log  # so that only the garbage collector finds it

def collect(frame, event, argument):
    global calls
    calls += "keyturn" in frame.f_code.co_filename
    if calls == when:
        gc.collect()

gc.disable()
for when in range(1, 150, 7):
    abandon(when)
    calls = 0
    sys.setprofile(collect)
    keyturn.open_event_log(f"sqlite:///{sys.argv[1]}/log.db").close()
    sys.setprofile(None)
print("opened")
"""


def test_a_log_that_is_collected_while_another_is_opened_holds_nobody_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECTED_WHILE_OPENING, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("opened\n", 0)
