"""The handle: what it keeps alive, what it closes, and what it says when it is over."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keyturn
from keyturn import KeyturnError, Service
from tests.api.uses import USES

RunPython = Callable[..., subprocess.CompletedProcess[str]]


# --- open and close ----------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("each_shared_store")


def test_the_front_door_works_as_the_design_shows_it(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path / "data", password="correct horse") as service:
        token = service.create_token(expiry=1800)
        before = service.verify_token(token)
        service.reset_key(reason="laptop stolen", initiator="alice")
        after = service.verify_token(token)
        changes = [(change.kind, change.reason) for change in service.history()]

    assert (before, after) == (True, False)
    assert changes == [("generated", None), ("reset", "laptop stolen")]


def test_a_token_outlives_the_service_that_made_it(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        token = service.create_token()

    with keyturn.open(path=tmp_path, password=None) as service:
        assert service.verify_token(token)


def test_closing_twice_does_nothing(service: Service) -> None:
    service.close()

    service.close()

    assert not service._manager.is_alive()


def test_closing_ends_the_actors_and_their_threads(tmp_path: Path) -> None:
    before = threading.enumerate()
    with keyturn.open(path=tmp_path, password=None) as service:
        service.session(tmp_path / "token")
        service.manager.ask(keyturn.Subscribe(service.manager), timeout=30)
    started = [thread for thread in threading.enumerate() if thread not in before]

    for thread in started:
        if thread.name.startswith(("keyturn", "SessionManager", "Session")):
            thread.join(30)
            assert not thread.is_alive(), thread.name


def test_closing_lets_go_of_the_database(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        service.reset_key()

    assert not (tmp_path / "keyturn.db-wal").exists()  # the last connection removes it


def test_an_unclosed_service_warns(tmp_path: Path) -> None:
    service = keyturn.open(path=tmp_path, password=None)

    with pytest.warns(ResourceWarning, match="was never closed"):
        del service  # and the last reference with it


def test_an_unclosed_service_leaves_no_thread_that_listens(tmp_path: Path) -> None:
    def listeners() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name == "keyturn-listener"}

    before = listeners()
    service = keyturn.open(path=tmp_path, password=None)
    end_watch = service.log.watch(lambda: None)
    end_watch()
    mine = listeners() - before

    with pytest.warns(ResourceWarning, match="was never closed"):
        del service

    for thread in mine:
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_a_closed_service_does_not_warn(tmp_path: Path) -> None:
    service = keyturn.open(path=tmp_path, password=None)
    service.close()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del service  # and the last reference with it


def test_an_unclosed_service_does_not_keep_its_process_alive(
    tmp_path: Path, run_python: RunPython
) -> None:
    done = run_python(
        "import sys, keyturn\n"
        "service = keyturn.open(path=sys.argv[1], password=None)\n"
        "print(service.verify_token(service.create_token()))",
        tmp_path,
    )

    assert done.stdout == "True\n"


def test_the_handle_shows_its_name_and_log_and_no_secret(service: Service) -> None:
    assert repr(service) == f"<keyturn.Service 'default' on {service.log.location}>"


# --- after close -------------------------------------------------------------------------------


def test_a_closed_service_says_clearly_that_it_cannot_be_used(
    service: Service, tmp_path: Path
) -> None:
    service.close()

    for use in USES.values():
        with pytest.raises(KeyturnError, match="closed"):
            use(service, tmp_path)


def test_a_session_of_a_closed_service_is_closed(service: Service, tmp_path: Path) -> None:
    session = service.session(tmp_path / "token")

    service.close()

    assert not session.ref.is_alive()


CLOSE_WHILE_IN_USE = """
import sys, threading, keyturn
for _ in range(6):
    service = keyturn.open(path=sys.argv[1], password=None)
    in_use = threading.Barrier(4)
    surprises = []

    def use():
        service.create_token()
        in_use.wait()
        try:
            while True:
                service.reset_key()
                service.verify_token("a.b.c")
        except keyturn.KeyturnError:
            pass
        except BaseException as error:
            surprises.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    in_use.wait()
    service.close()
    for thread in threads:
        thread.join()
    assert not surprises, surprises
"""


def test_a_service_can_be_closed_while_other_threads_use_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CLOSE_WHILE_IN_USE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


# --- what anybody may present ------------------------------------------------------------------


@pytest.fixture(scope="module")
def any_service() -> Iterator[Service]:
    with keyturn.open(store="memory:") as service:
        yield service


def test_g3_verifying_anything_at_all_never_raises(any_service: Service) -> None:
    good = any_service.create_token()
    text = st.text() | st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{43}")
    altered = st.builds(
        lambda at, by: good[: at % len(good)] + by + good[at % len(good) + 1 :],
        st.integers(0),
        st.text(max_size=3),
    )

    @given(text | altered | st.binary() | st.none() | st.integers() | st.builds(object))
    def verify(token: object) -> None:
        assert any_service.verify_token(token) is (token == good)

    verify()


class Text(str):
    """A kind of text that is not plain text."""


@pytest.mark.parametrize("wrap", [Text, lambda token: token.encode(), lambda token: [token]])
def test_g3_only_plain_text_is_a_token(any_service: Service, wrap: Callable[[str], Any]) -> None:
    assert any_service.verify_token(wrap(any_service.create_token())) is False
