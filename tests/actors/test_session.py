"""The session actor: what its start, stop and destroy do with the token file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import ClientSession, Destroy, ReadToken, Session, Start, Stop, WriteToken
from keyturn.domain.errors import TokenFileError

TOKEN = "aaaa.bbbb.cccc"


class ByMessages:
    """A session, called with messages."""

    def __init__(self, path: Path, **arguments: Any) -> None:
        self.ref = Session.start(path, **arguments)

    def read(self) -> str | None:
        return keyturn.ask(self.ref, ReadToken())

    def write(self, token: str) -> bool:
        return keyturn.ask(self.ref, WriteToken(token))

    def start(self, session_token: str | None = None, fresh: bool = False) -> None:
        keyturn.ask(self.ref, Start(fresh, session_token))

    def stop(self) -> None:
        keyturn.ask(self.ref, Stop())

    def destroy(self) -> None:
        keyturn.ask(self.ref, Destroy())


class ByProxy(ByMessages):
    """A session, called with the methods of pykka's proxy."""

    def __init__(self, path: Path, **arguments: Any) -> None:
        super().__init__(path, **arguments)
        self.proxy: Any = self.ref.proxy()

    def read(self) -> Any:
        return self.proxy.read_token().get()

    def write(self, token: str) -> Any:
        return self.proxy.write_token(token).get()

    def start(self, session_token: str | None = None, fresh: bool = False) -> None:
        self.proxy.resume(session_token, fresh).get()

    def stop(self) -> None:
        self.proxy.suspend().get()

    def destroy(self) -> None:
        self.proxy.destroy().get()


class ByHandle(ByMessages):
    """A session, called with the methods of its handle."""

    def __init__(self, path: Path, **arguments: Any) -> None:
        handle = ClientSession(path, **arguments)
        self.ref: pykka.ActorRef[Any] = handle.ref
        self.read = handle.read_token  # type: ignore[method-assign]
        self.write = handle.write_token  # type: ignore[method-assign]
        self.start = handle.start  # type: ignore[method-assign]
        self.stop = handle.stop  # type: ignore[method-assign]
        self.destroy = handle.destroy  # type: ignore[method-assign]


@pytest.fixture(params=[ByMessages, ByProxy, ByHandle], ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest) -> type[ByMessages]:
    kind: type[ByMessages] = request.param
    return kind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def test_a_session_keeps_the_token_that_is_there(way: type[ByMessages], path: Path) -> None:
    path.write_text(TOKEN)

    assert way(path).read() == TOKEN


def test_a_session_writes_the_token_that_it_is_given(way: type[ByMessages], path: Path) -> None:
    path.write_text("old.old.old")

    assert way(path, session_token=TOKEN).read() == TOKEN


def test_a_fresh_session_removes_the_token_that_is_there(
    way: type[ByMessages], path: Path
) -> None:
    path.write_text(TOKEN)

    assert way(path, fresh=True).read() is None


def test_a_fresh_session_writes_the_token_that_it_is_given(
    way: type[ByMessages], path: Path
) -> None:
    path.write_text("old.old.old")

    assert way(path, session_token=TOKEN, fresh=True).read() == TOKEN


def test_a_token_that_is_none_is_refused_to_whoever_starts(
    way: type[ByMessages], path: Path
) -> None:
    with pytest.raises(TokenFileError):
        way(path, session_token="two words")


def test_stop_leaves_the_token_where_it_is(way: type[ByMessages], path: Path) -> None:
    session = way(path, session_token=TOKEN)

    session.stop()

    assert path.read_text().strip() == TOKEN


def test_a_session_that_is_started_again_has_its_token(way: type[ByMessages], path: Path) -> None:
    session = way(path, session_token=TOKEN)
    session.stop()

    session.start()

    assert session.read() == TOKEN


def test_a_session_can_be_started_again_with_another_token(
    way: type[ByMessages], path: Path
) -> None:
    session = way(path, session_token=TOKEN)
    session.stop()

    session.start(session_token="new.new.new")

    assert session.read() == "new.new.new"


def test_a_session_can_be_started_again_fresh(way: type[ByMessages], path: Path) -> None:
    session = way(path, session_token=TOKEN)
    session.stop()

    session.start(fresh=True)

    assert session.read() is None


def test_destroy_removes_the_token_file(way: type[ByMessages], path: Path) -> None:
    session = way(path, session_token=TOKEN)
    session.stop()

    session.destroy()

    assert not path.exists()


def test_a_start_that_fails_leaves_the_session_stopped(way: type[ByMessages], path: Path) -> None:
    session = way(path)
    session.stop()
    path.mkdir()
    with pytest.raises(TokenFileError):
        session.start()
    path.rmdir()

    session.start()

    assert session.write(TOKEN)


def test_a_relative_path_stays_the_same_file_when_the_process_goes_elsewhere(
    way: type[ByMessages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = way(Path("token"), session_token=TOKEN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert session.read() == TOKEN
