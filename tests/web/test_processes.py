"""One service for each process, opened there at its first use."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import keyturn
from keyturn.domain.errors import KeyRingNotFoundError
from keyturn.web import PerProcess, per_process


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)

    assert sessions.opened is None
    assert not (tmp_path / "data").exists()


def test_all_threads_of_a_process_share_one(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)
    start = threading.Barrier(8)

    def get() -> keyturn.Service:
        start.wait()
        return sessions.get()

    with ThreadPoolExecutor(8) as pool:
        found = {id(future.result()) for future in [pool.submit(get) for _ in range(8)]}

    assert found == {id(sessions.opened)}
    sessions.close()


def test_a_child_opens_its_own_and_its_changes_are_known_here(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)
    token = sessions.get().create_token()

    if (child := os.fork()) == 0:
        try:
            service = sessions.get()
            is_good = service.verify_token(token)
            service.reset_key(reason="by the child")
            sessions.close()
            os._exit(0 if is_good else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not sessions.get().verify_token(token)
    sessions.close()


def test_one_that_was_closed_is_opened_again_when_it_is_used(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)
    first = sessions.get()
    token = first.create_token()

    sessions.close()

    assert first.is_closed
    assert sessions.get().verify_token(token)
    sessions.close()
    sessions.close()


def test_an_opening_that_failed_is_tried_again(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None, create=False)

    with pytest.raises(KeyRingNotFoundError):
        sessions.get()
    keyturn.open(path=tmp_path / "data", password=None).close()

    assert sessions.get().create_token()
    sessions.close()


def test_its_repr_shows_no_password(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password="wonderland")

    assert repr(sessions) == "<keyturn.web.PerProcess: not opened yet>"
    assert isinstance(sessions, PerProcess)
