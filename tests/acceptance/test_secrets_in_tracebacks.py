"""No password and no key is in a traceback, not even where local variables are printed.

The frames are there all the same: they are the evidence of what went wrong.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest
import structlog
from rich.console import Console
from rich.traceback import Traceback

import keyturn
from keyturn import KeyRing, Service, Settings
from keyturn.config import files
from keyturn.config.secret_file import read_password_file
from keyturn.config.stores import has_log
from keyturn.domain import key_ring as keys
from keyturn.domain.secret import Secret
from tests.postgres import PostgresServer

SECRET = "correct-horse-battery"
LONG = f"{SECRET}-{'staple' * 20}"  # loggers cut what is long themselves
URL = f"postgresql://keyturn:{SECRET}@127.0.0.1:1/keyturn?application_name={'x' * 80}"


def printed(call: Callable[[], object]) -> str:
    """Return what loggers make of the error of a call: the locals of all frames but of tests."""
    with pytest.raises((keyturn.KeyturnError, ValueError)) as raised:
        call()
    error = raised.value
    for part in parts(error):
        part.__traceback__ = of_ours(part.__traceback__)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    as_dict = structlog.tracebacks.ExceptionDictTransformer(show_locals=True)
    screen = io.StringIO()
    console = Console(file=screen, width=400)
    console.print(
        Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    )
    return "\n".join(
        (
            *report.format(),
            json.dumps(as_dict((type(error), error, error.__traceback__))),
            screen.getvalue(),
        )
    )


def parts(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that it came from."""
    if error is None:
        return []
    return [error, *parts(error.__cause__), *parts(error.__context__)]


def of_ours(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of tests, which know the secrets."""
    if frames is None:
        return None
    rest = of_ours(frames.tb_next)
    if "/tests/" in frames.tb_frame.f_code.co_filename:
        return rest
    return TracebackType(rest, frames.tb_frame, frames.tb_lasti, frames.tb_lineno)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets") / "data"
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
        lambda folder, wrong: KeyRing.ephemeral().save(folder / "keyring.json", wrong),
        lambda folder, wrong: KeyRing.ephemeral().reopen(wrong),
        lambda folder, wrong: KeyRing.check_password(folder / "nowhere.json", wrong),
        lambda folder, wrong: KeyRing.change_password(folder / "keyring.json", wrong, wrong),
    ],
    ids=["open", "open_async", "open ring", "create", "save", "reopen", "check", "change"],
)
def test_a_password_is_in_no_traceback(call: Callable[..., object], folder: Path) -> None:
    text = printed(lambda: call(folder, LONG))

    assert "local_key_ring.py" in text
    assert "[secret]" in text
    assert SECRET not in text


def test_what_cannot_be_a_password_is_in_no_traceback(folder: Path) -> None:
    text = printed(lambda: KeyRing.open(folder / "keyring.json", f"{SECRET}\ud800"))

    assert "key_ring_file.py" in text
    assert SECRET not in text


def test_a_password_that_is_checked_is_in_no_traceback(tmp_path: Path) -> None:
    async def check() -> None:
        async with keyturn.open_async(store="memory:") as service:
            await service.check_password(SECRET)

    with keyturn.open(store="memory:") as service:
        texts = [
            printed(lambda: service.check_password(SECRET)),
            printed(lambda: asyncio.run(check())),
        ]

    for text in texts:
        assert "service.py" in text
        assert SECRET not in text


def test_a_password_of_the_environment_is_in_no_traceback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_PASSWORD", f"not {SECRET}")
    wrong = printed(lambda: keyturn.open(path=folder))
    monkeypatch.setenv("KEYTURN_EXPIRY", f"in the wrong place: {SECRET}")
    misplaced = printed(lambda: keyturn.open(path=folder))

    for text in (wrong, misplaced):
        assert "opening.py" in text
        assert SECRET not in text


@pytest.mark.parametrize("content", [SECRET.encode("utf-16"), SECRET.encode() + b"\xff"])
def test_what_is_in_a_password_file_is_in_no_traceback(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "password"
    files.write_private(path, content)

    text = printed(lambda: read_password_file(path))

    assert "secret_file.py" in text
    assert "correct" not in text.replace("\\x00", "")


def test_what_is_in_a_settings_file_is_in_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "keyturn.toml"
    texts = []
    for content in (
        f"store = '{URL}'\nexpiry = 'soon'\n".encode(),
        f"store = {SECRET}\n".encode(),
        SECRET.encode() + b"\xff",
    ):
        path.write_bytes(content)
        texts.append(printed(lambda: Settings.load(config=path)))

    for text in texts:
        assert "settings.py" in text
        assert SECRET not in text


@pytest.mark.parametrize("url", [URL, f"mysql://root:{SECRET}@host/db"], ids=["ours", "not ours"])
def test_the_password_of_a_store_is_in_no_traceback(url: str, tmp_path: Path) -> None:
    texts = [
        printed(lambda: keyturn.open(path=tmp_path, store=url, password=None)),
        printed(lambda: keyturn.open_event_log(url)),
        printed(lambda: Settings.load({"store": url, "expiry": -1})),
        repr(Settings(store=URL)),
        repr(Settings(store=URL).store),
    ]

    for text in texts:
        assert SECRET not in text


def test_the_password_of_a_server_is_in_no_traceback(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.tcp_url("public", password=SECRET)

    texts = [
        printed(lambda: keyturn.open(path=tmp_path, store=url, password=None)),
        printed(lambda: keyturn.open_event_log(url)),
        printed(lambda: has_log(Settings(store=url).store_url)),
    ]

    for text in texts:
        assert "postgresql://keyturn@127.0.0.1" in text
        assert "postgres_pool.py" in text
        assert SECRET not in text


def test_the_keys_of_a_damaged_key_ring_are_in_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keyring.json"
    KeyRing(b"i" * 32, b"s" * 32).save(path, None)
    content = path.read_bytes()

    path.write_bytes(content.replace(b'"checksum": "', b'"checksum": "0'))
    texts = [printed(lambda: KeyRing.open(path, None))]
    path.write_bytes(content)
    monkeypatch.setattr(KeyRing, "node_id", KeyRing.ephemeral().node_id)
    texts.append(printed(lambda: KeyRing.open(path, None)))

    for text in texts:
        assert "damaged" in text
        assert "iiii" not in text
        assert "aWlp" not in text  # base64


def test_the_keys_that_cannot_be_written_are_in_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(b"i" * 32, b"s" * 32)

    def no_room(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_room)
    text = printed(lambda: ring.save(tmp_path / "keyring.json", None))

    assert "write_private" in text
    assert "iiii" not in text
    assert "aWlp" not in text  # base64


class SilentRing:
    """A host's key ring that cannot seal."""

    node_id = KeyRing.ephemeral().node_id

    def __init__(self) -> None:
        self.asked_to_seal = b""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        self.asked_to_seal = plaintext
        raise ValueError("this key ring does not seal")

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        raise NotImplementedError

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError


def test_a_session_key_that_cannot_be_sealed_is_in_no_traceback() -> None:
    ring = SilentRing()

    text = printed(lambda: keyturn.open(store="memory:", key_ring=ring))

    assert "timed_key_ring.py" in text
    assert len(ring.asked_to_seal) == keys.KEY_BYTES
    assert repr(ring.asked_to_seal)[2:20] not in text


def test_the_error_of_a_refused_token_shows_where_it_was_refused(service: Service) -> None:
    token = service.create_token()
    service.reset_key()

    text = printed(lambda: service.refresh_token(token))

    assert "token_issuer.py" in text
    assert "unknown key" in text


def test_a_secret_shows_itself_nowhere_and_is_not_copied() -> None:
    secret = Secret(SECRET)

    shown = f"{secret} {secret!r} {secret!s} {[secret]} {(secret,)} " + str(secret)

    assert secret.reveal() == SECRET
    assert SECRET not in shown
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copied(secret)
