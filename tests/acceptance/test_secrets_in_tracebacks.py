"""Passwords, keys and tokens are in no traceback, not even where local variables are printed."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import keyturn
from keyturn import KeyRing, Service
from tests.postgres import PostgresServer

SECRET = "correct-horse-battery"


def printed(call: Callable[[], object]) -> str:
    """Return the traceback of the error that a call raises, with all local variables of ours."""
    with pytest.raises(keyturn.KeyturnError) as raised:
        call()
    report = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    part: traceback.TracebackException | None = report
    while part is not None:
        part.stack[:] = [frame for frame in part.stack if frame.filename != __file__]
        part = part.__cause__ or part.__context__
    return "".join(report.format())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    keyturn.open(path=folder, password=SECRET).close()
    return folder


async def open_async(folder: Path, password: str) -> None:
    async with keyturn.open_async(path=folder, password=password):
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda folder, wrong: keyturn.open(path=folder, password=wrong),
        lambda folder, wrong: asyncio.run(open_async(folder, wrong)),
        lambda folder, wrong: KeyRing.open(folder / "keyring.json", wrong),
        lambda folder, wrong: KeyRing.create(folder / "keyring.json", wrong),
        lambda folder, wrong: KeyRing.change_password(folder / "keyring.json", wrong, wrong),
    ],
    ids=["open", "open_async", "KeyRing.open", "KeyRing.create", "KeyRing.change_password"],
)
def test_a_password_is_in_no_traceback(call: Callable[..., object], folder: Path) -> None:
    text = printed(lambda: call(folder, f"not {SECRET}"))

    assert "keyring.json" in text
    assert SECRET not in text


def test_the_password_of_a_store_is_in_no_traceback(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.tcp_url("public", password=SECRET)

    texts = [
        printed(lambda: keyturn.open(path=tmp_path, store=url, password=None)),
        printed(lambda: keyturn.open_event_log(url)),
        repr(keyturn.Settings(store=url)),
    ]

    for text in texts:
        assert "postgresql://keyturn@127.0.0.1" in text
        assert SECRET not in text


def test_a_token_that_is_refused_is_in_no_traceback(service: Service) -> None:
    token = service.create_token()
    service.reset_key()

    text = printed(lambda: service.refresh_token(token))

    assert "unknown key" in text
    assert token not in text
