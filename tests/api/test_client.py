"""The client's handle, and a whole login with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pykka
import pytest

import keyturn
from keyturn import ClientSession, Service
from keyturn.domain.errors import KeyturnError, SessionNotRunningError, TokenFileError

TOKEN = "aaaa.bbbb.cccc"


def test_a_client_needs_no_service(tmp_path: Path) -> None:
    with ClientSession(tmp_path / "token") as session:
        session.write_token(TOKEN)

        assert session.read_token() == TOKEN


def test_closing_ends_the_actor_and_leaves_the_token(tmp_path: Path) -> None:
    with ClientSession(tmp_path / "token", TOKEN) as session:
        pass

    assert (session.ref.is_alive(), (tmp_path / "token").read_text()) == (False, TOKEN + "\n")


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    session = ClientSession(tmp_path / "token")
    session.close()

    session.close()

    assert not session.ref.is_alive()


@pytest.mark.parametrize("use", ["read_token", "clear_token", "start", "stop", "destroy"])
def test_a_closed_client_cannot_be_used(tmp_path: Path, use: str) -> None:
    session = ClientSession(tmp_path / "token")
    session.close()

    with pytest.raises((pykka.ActorDeadError, KeyturnError)):
        getattr(session, use)()


def test_a_client_that_cannot_be_opened_leaves_no_actor_behind(tmp_path: Path) -> None:
    before = len(pykka.ActorRegistry.get_all())
    (tmp_path / "token").mkdir()

    with pytest.raises(TokenFileError):
        ClientSession(tmp_path / "token")

    assert len(pykka.ActorRegistry.get_all()) == before


def test_a_client_can_be_sent_messages(tmp_path: Path) -> None:
    with ClientSession(tmp_path / "token", TOKEN) as session:
        assert keyturn.ask(session.ref, keyturn.ReadToken()) == TOKEN


def test_a_stopped_client_does_no_work_until_it_is_started(tmp_path: Path) -> None:
    with ClientSession(tmp_path / "token", TOKEN) as session:
        session.stop()
        with pytest.raises(SessionNotRunningError):
            session.read_token()

        session.start()

        assert session.read_token() == TOKEN


def test_a_client_can_be_used_by_many_threads(tmp_path: Path) -> None:
    with ClientSession(tmp_path / "token") as session:
        threads = [
            threading.Thread(
                target=lambda number=number: [
                    session.write_token(f"token{number}") for _ in range(20)
                ]
            )
            for number in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert session.read_token() in {f"token{number}" for number in range(5)}


# --- a client and its service ------------------------------------------------------------------


def test_a_login_a_refresh_and_a_logout(service: Service, tmp_path: Path) -> None:
    session = service.session(tmp_path / "token")

    session.write_token(service.create_token(subject="alice"))
    old = session.read_token()
    assert old is not None
    refreshed = session.write_token(service.refresh_token(old), replacing=old)
    report = service.inspect_token(session.read_token())
    session.clear_token()

    assert (refreshed, report.valid, session.read_token()) == (True, True, None)
    assert (report.claims or {})["sub"] == "alice"


def test_several_sessions_of_a_service_have_files_of_their_own(
    service: Service, tmp_path: Path
) -> None:
    sessions = [service.session(tmp_path / f"{number}", f"token{number}") for number in range(3)]

    assert [session.read_token() for session in sessions] == ["token0", "token1", "token2"]


def test_several_sessions_may_share_a_file(service: Service, tmp_path: Path) -> None:
    one, other = service.session(tmp_path / "token"), service.session(tmp_path / "token")

    one.write_token(TOKEN)

    assert other.read_token() == TOKEN


def test_sessions_opened_by_many_threads_are_all_closed_with_the_service(
    service: Service, tmp_path: Path
) -> None:
    opened: list[ClientSession] = []
    together = threading.Barrier(8, timeout=30)

    def open_sessions() -> None:
        together.wait()
        opened.extend(service.session(tmp_path / "token") for _ in range(10))

    threads = [threading.Thread(target=open_sessions) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    service.close()

    assert (len(opened), [session for session in opened if session.ref.is_alive()]) == (80, [])
