"""G4: A token file is the owner's alone, and what is no file of ours is left alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import ClearToken, ReadToken, Session, WriteToken
from keyturn.config import files, token_file
from keyturn.domain.errors import TokenFileError, TokenFileLockedError

Ref = pykka.ActorRef[Any]
TOKEN = "aaaa.bbbb.cccc"
OTHER = "dddd.eeee.ffff"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


@pytest.fixture
def session(path: Path) -> Ref:
    return Session.start(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("everything_allowed")
def test_g4_a_token_file_is_the_owners_alone_under_any_umask(session: Ref, path: Path) -> None:
    keyturn.ask(session, WriteToken(TOKEN))

    assert mode(path) == 0o600


@pytest.mark.usefixtures("everything_allowed")
def test_g4_nothing_beside_a_token_file_can_be_read_by_others(path: Path) -> None:
    keyturn.ask(Session.start(path), WriteToken(TOKEN))

    assert {mode(file) for file in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("wide", [0o644, 0o640, 0o666, 0o604])
def test_g4_a_wider_mode_is_tightened_when_the_token_is_read(
    session: Ref, path: Path, wide: int
) -> None:
    path.write_text(TOKEN)
    path.chmod(wide)

    token = keyturn.ask(session, ReadToken())

    assert (token, mode(path)) == (TOKEN, 0o600)


def test_g4_a_wider_mode_is_not_kept_by_a_write(session: Ref, path: Path) -> None:
    path.write_text(OTHER)
    path.chmod(0o666)

    keyturn.ask(session, WriteToken(TOKEN))

    assert mode(path) == 0o600


@pytest.mark.usefixtures("everything_allowed")
def test_g4_missing_folders_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "token"

    keyturn.ask(Session.start(path), WriteToken(TOKEN))

    assert (mode(path.parent), mode(path.parent.parent)) == (0o700, 0o700)


# --- what is no file of ours -------------------------------------------------------------------


def make_link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text(TOKEN)
    path.symlink_to(target)


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


every_impostor = pytest.mark.parametrize(
    "make", [make_link, make_dangling_link, make_folder, make_pipe]
)


@every_impostor
@pytest.mark.parametrize(
    "message",
    [ReadToken(), WriteToken(OTHER), WriteToken(OTHER, replacing=None), ClearToken()],
    ids=["read", "write", "replace", "clear"],
)
def test_g4_what_is_no_regular_file_is_refused_and_not_waited_for(
    session: Ref, path: Path, make: Callable[[Path], None], message: Any
) -> None:
    make(path)

    with pytest.raises(TokenFileError, match=r"link|not a regular file"):
        keyturn.ask(session, message, timeout=10)


@every_impostor
def test_g4_what_is_no_regular_file_is_refused_at_the_start(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)

    with pytest.raises(TokenFileError):
        Session.start(path)


@pytest.mark.parametrize("message", [ReadToken(), WriteToken(OTHER), ClearToken()])
def test_who_names_a_link_is_told_what_to_do(session: Ref, path: Path, message: Any) -> None:
    make_link(path)

    with pytest.raises(TokenFileError, match=r"link.* name the file itself"):
        keyturn.ask(session, message, timeout=10)


def test_g4_a_link_is_not_followed_by_a_write(session: Ref, path: Path) -> None:
    make_link(path)

    with pytest.raises(TokenFileError):
        keyturn.ask(session, WriteToken(OTHER))

    assert (path.is_symlink(), path.with_name("target").read_text()) == (True, TOKEN)


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(TokenFileError):
        Session.start(tmp_path / "file" / "token")


# --- what goes wrong ---------------------------------------------------------------------------


def test_g4_the_previous_token_survives_a_write_that_fails(
    session: Ref, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyturn.ask(session, WriteToken(TOKEN))
    monkeypatch.setattr(os, "fsync", _no_space)

    with pytest.raises(TokenFileError, match="No space left"):
        keyturn.ask(session, WriteToken(OTHER))

    assert keyturn.ask(session, ReadToken()) == TOKEN


def test_g4_a_write_that_fails_leaves_no_token_behind(
    session: Ref, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _no_space)

    with pytest.raises(TokenFileError):
        keyturn.ask(session, WriteToken(OTHER))

    assert [file.name for file in path.parent.iterdir()] == [".token.lock"]


def _no_space(fd: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_lock_that_somebody_keeps_is_an_error_in_time(
    session: Ref, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "LOCK_TIMEOUT", 0.01)

    with (
        files.locked(path, timeout=1),
        pytest.raises(TokenFileLockedError, match="try again"),
    ):
        keyturn.ask(session, WriteToken(TOKEN))


def test_a_reader_needs_no_lock(session: Ref, path: Path) -> None:
    keyturn.ask(session, WriteToken(TOKEN))

    with files.locked(path, timeout=1):
        assert keyturn.ask(session, ReadToken(), timeout=5) == TOKEN


def test_what_killed_writers_left_behind_is_swept_at_the_start(path: Path) -> None:
    left = path.with_name(".token.0123456789abcdef.tmp")
    left.write_text(TOKEN)

    Session.start(path)

    assert not left.exists()


def test_what_belongs_to_another_token_file_is_not_swept(path: Path) -> None:
    others = [path.with_name(name) for name in (".other.01.tmp", "token.tmp", ".token.lock.old")]
    for other in others:
        other.write_text(TOKEN)

    Session.start(path)

    assert all(other.exists() for other in others)
