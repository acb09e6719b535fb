"""The specification, clause by clause: `Session`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest
import structlog

from keyturn import (
    Destroy,
    ReadToken,
    Service,
    Session,
    Start,
    Stop,
    WriteToken,
    ask,
)
from keyturn.domain.errors import SessionNotRunningError

Ref = pykka.ActorRef[Session]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client" / "token"


@pytest.fixture
def tokens(service: Service) -> tuple[str, str]:
    """Two real tokens."""
    return service.create_token(), service.create_token()


@pytest.fixture(autouse=True)
def _stop_all_actors() -> Iterator[None]:
    yield
    pykka.ActorRegistry.stop_all()


def test_create_session_makes_a_running_session_of_a_token_path(path: Path) -> None:
    ref = Session.start(path)

    assert ask(ref, ReadToken()) is None


def test_create_session_takes_a_session_token_to_begin_with(
    path: Path, tokens: tuple[str, str]
) -> None:
    ref = Session.start(path, session_token=tokens[0])

    assert ask(ref, ReadToken()) == tokens[0]


def test_create_session_without_fresh_keeps_the_token_that_is_there(
    path: Path, tokens: tuple[str, str]
) -> None:
    Session.start(path, session_token=tokens[0]).stop()

    assert ask(Session.start(path), ReadToken()) == tokens[0]


def test_create_session_with_fresh_removes_the_token_that_is_there(
    path: Path, tokens: tuple[str, str]
) -> None:
    Session.start(path, session_token=tokens[0]).stop()

    assert ask(Session.start(path, fresh=True), ReadToken()) is None


def test_create_session_takes_a_logger(path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        ref = Session.start(path, logger=structlog.get_logger())
        ref.tell("nonsense")
        ask(ref, ReadToken())

    assert [line["log_level"] for line in lines] == ["error"]


def test_start_writes_the_session_token_that_it_is_given(
    path: Path, tokens: tuple[str, str]
) -> None:
    ref = Session.start(path, session_token=tokens[0])
    ask(ref, Stop())

    ask(ref, Start(session_token=tokens[1]))

    assert ask(ref, ReadToken()) == tokens[1]


def test_start_with_fresh_clears_the_existing_token(path: Path, tokens: tuple[str, str]) -> None:
    ref = Session.start(path, session_token=tokens[0])
    ask(ref, Stop())

    ask(ref, Start(fresh=True))

    assert ask(ref, ReadToken()) is None


def test_start_with_fresh_and_a_session_token_leaves_that_one(
    path: Path, tokens: tuple[str, str]
) -> None:
    ref = Session.start(path, session_token=tokens[0])
    ask(ref, Stop())

    ask(ref, Start(fresh=True, session_token=tokens[1]))

    assert ask(ref, ReadToken()) == tokens[1]


def test_stop_stops_the_session_and_keeps_its_token_file(
    path: Path, tokens: tuple[str, str]
) -> None:
    ref = Session.start(path, session_token=tokens[0])

    ask(ref, Stop())

    with pytest.raises(SessionNotRunningError):
        ask(ref, ReadToken())
    assert path.read_text().strip() == tokens[0]


def test_destroy_removes_the_session_token_file(path: Path, tokens: tuple[str, str]) -> None:
    ref = Session.start(path, session_token=tokens[0])
    ask(ref, Stop())

    ask(ref, Destroy())

    assert not path.exists()


def test_read_token_reads_the_token_from_the_file(path: Path, tokens: tuple[str, str]) -> None:
    ref = Session.start(path)
    path.write_text(f"  {tokens[0]}\n")

    assert ask(ref, ReadToken()) == tokens[0]


def test_read_token_replies_none_if_there_is_no_token(path: Path) -> None:
    assert ask(Session.start(path), ReadToken()) is None


def test_write_token_writes_the_token_to_the_file(path: Path, tokens: tuple[str, str]) -> None:
    ref = Session.start(path)

    ask(ref, WriteToken(tokens[0]))

    assert path.read_text().strip() == tokens[0]
