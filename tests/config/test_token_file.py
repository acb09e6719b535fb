"""G4: A token file is whole, private, and nothing else than a file of ours."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import ClearToken, ReadToken, Session, WriteToken
from keyturn.domain.errors import TokenFileError

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


# --- reading and writing -----------------------------------------------------------------------


def test_a_written_token_is_read_again(session: Ref) -> None:
    keyturn.ask(session, WriteToken(TOKEN))

    assert keyturn.ask(session, ReadToken()) == TOKEN


def test_a_write_says_that_it_was_written(session: Ref) -> None:
    assert keyturn.ask(session, WriteToken(TOKEN)) is True


def test_a_later_token_takes_the_place_of_an_earlier_one(session: Ref) -> None:
    keyturn.ask(session, WriteToken("a" * 500))
    keyturn.ask(session, WriteToken(TOKEN))

    assert keyturn.ask(session, ReadToken()) == TOKEN


def test_a_token_outlives_its_session(session: Ref, path: Path) -> None:
    keyturn.ask(session, WriteToken(TOKEN))
    session.stop(timeout=30)

    assert keyturn.ask(Session.start(path), ReadToken()) == TOKEN


def test_an_absent_file_holds_no_token(session: Ref) -> None:
    assert keyturn.ask(session, ReadToken()) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"  \t\r\n "])
def test_a_blank_file_holds_no_token(session: Ref, path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert keyturn.ask(session, ReadToken()) is None


@pytest.mark.parametrize("content", ["{}", "{}\n", "  {}\r\n\n", "\n\t{} "])
def test_white_space_around_a_token_does_not_count(
    session: Ref, path: Path, content: str
) -> None:
    path.write_text(content.format(TOKEN))

    assert keyturn.ask(session, ReadToken()) == TOKEN


@pytest.mark.parametrize(
    "content",
    [b"two words", b"a\nb", b"\xff\xfe", "tökén".encode(), b"a" * 8193, b"a" * 100_000, b"\0"],
    ids=["words", "lines", "not-utf8", "not-ascii", "long", "huge", "nul"],
)
def test_a_file_that_holds_something_else_is_an_error(
    session: Ref, path: Path, content: bytes
) -> None:
    path.write_bytes(content)

    with pytest.raises(TokenFileError) as caught:
        keyturn.ask(session, ReadToken())

    assert caught.value.path == str(path)


def test_the_error_about_what_a_file_holds_does_not_show_it(session: Ref, path: Path) -> None:
    path.write_text("my secret\n")

    with pytest.raises(TokenFileError) as caught:
        keyturn.ask(session, ReadToken())

    shown = f"{caught.value!r}{caught.value.__cause__!r}"
    assert "secret" not in shown


@pytest.mark.parametrize(
    "token",
    ["", " ", "two words", "a\n", "tökén", "a" * 8193, "a\0b", "a\x7f", None, 5, b"a.b.c"],
)
def test_what_cannot_be_a_token_is_not_written(session: Ref, token: Any) -> None:
    keyturn.ask(session, WriteToken(TOKEN))

    with pytest.raises(TokenFileError, match="nothing was written"):
        keyturn.ask(session, WriteToken(token))

    assert keyturn.ask(session, ReadToken()) == TOKEN


def test_the_longest_token_that_is_minted_can_be_kept(session: Ref) -> None:
    keyturn.ask(session, WriteToken("a" * 8192))

    assert keyturn.ask(session, ReadToken()) == "a" * 8192


# --- clearing ----------------------------------------------------------------------------------


def test_clearing_removes_the_file(session: Ref, path: Path) -> None:
    keyturn.ask(session, WriteToken(TOKEN))

    keyturn.ask(session, ClearToken())

    assert (path.exists(), keyturn.ask(session, ReadToken())) == (False, None)


def test_clearing_what_is_not_there_does_nothing(session: Ref) -> None:
    keyturn.ask(session, ClearToken())

    assert keyturn.ask(session, ReadToken()) is None


# --- replacing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "replacing", "written"),
    [
        (None, None, True),
        (None, TOKEN, False),
        (TOKEN, TOKEN, True),
        (TOKEN, None, False),
        (OTHER, TOKEN, False),
    ],
)
def test_a_write_that_replaces_does_so_only_where_that_token_is(
    session: Ref, there: str | None, replacing: str | None, written: bool
) -> None:
    if there is not None:
        keyturn.ask(session, WriteToken(there))

    reply = keyturn.ask(session, WriteToken("new.new.new", replacing=replacing))

    after = "new.new.new" if written else there
    assert (reply, keyturn.ask(session, ReadToken())) == (written, after)


def test_replacing_does_not_mind_white_space(session: Ref, path: Path) -> None:
    path.write_text(f"  {TOKEN}\n\n")

    assert keyturn.ask(session, WriteToken(OTHER, replacing=TOKEN)) is True


def test_a_late_refresh_does_not_undo_a_logout(session: Ref) -> None:
    keyturn.ask(session, WriteToken(TOKEN))
    keyturn.ask(session, ClearToken())

    written = keyturn.ask(session, WriteToken(OTHER, replacing=TOKEN))

    assert (written, keyturn.ask(session, ReadToken())) == (False, None)
