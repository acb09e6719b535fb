"""The design's last table: what the system that Keyturn grew out of gets wrong, row by row."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pykka
import pytest

import keyturn
from keyturn import (
    Refusal,
    ResetKey,
    Service,
    SessionKeys,
    Subscribe,
    TokenRefusedError,
    ask,
)
from keyturn.config.clock import boot_time, steady_clock
from keyturn.domain.errors import ExpiryError, SessionManagerDestroyedError

RunPython = Callable[..., subprocess.CompletedProcess[str]]

each_shared_store = pytest.mark.usefixtures("each_shared_store")

WRITE_UNTIL_KILLED = """
import itertools, os, pathlib, signal, sys, time
from keyturn.token_file import ClientSession

path, seen = pathlib.Path(sys.argv[1]), set()
for kill in range(12):
    begun, begin = os.pipe()
    writer = os.fork()
    if not writer:
        session = ClientSession(path)
        os.write(begin, b".")
        for n in itertools.count():
            session.write_token(("A" if n % 2 else "B") * 2000)
    os.read(begun, 1)
    deadline = time.monotonic() + 0.02 + 0.01 * kill
    while time.monotonic() < deadline:
        if path.exists():
            seen.add(path.read_text())
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    seen.add(path.read_text())
print(*{(token[0], len(token.strip()), len(set(token.strip()))) for token in seen})
"""
REFRESH_LATE = """
import sys
from keyturn.token_file import ClientSession
session = ClientSession(sys.argv[1])
print("ready", flush=True)
old, new = sys.stdin.readline().split()
session.write_token(new, replacing=old)
"""
START_AT_ONCE = """
import os, sys, keyturn
wait, go = os.pipe()
children = []
for _ in range(4):
    children.append(os.fork())
    if not children[-1]:
        os.close(go)
        os.read(wait, 1)
        with keyturn.open(path=sys.argv[1], password=None) as service:
            os._exit(not service.verify_token(service.create_token()))
os.close(go)
print([os.waitpid(child, 0)[1] for child in children])
"""
DESTROY = """
import sys, keyturn
with keyturn.open(path=sys.argv[1], password=None) as service:
    service.stop()
    service.destroy()
"""


def test_g4_a_writer_killed_at_any_moment_leaves_a_whole_token(
    tmp_path: Path, run_python: RunPython
) -> None:
    seen = run_python(WRITE_UNTIL_KILLED, tmp_path / "token").stdout

    assert set(seen.replace(") (", ")|(").strip().split("|")) <= {
        "('A', 2000, 1)",
        "('B', 2000, 1)",
    }


@each_shared_store
def test_an_old_token_is_never_exchanged_for_one_under_the_new_key(service: Service) -> None:
    exchanged: deque[tuple[str, str]] = deque(maxlen=20_000)
    reset = threading.Event()
    token = service.create_token()

    def refresh_until_refused() -> None:
        try:
            for _ in itertools.count():
                exchanged.append((token, service.refresh_token(token)))
        except TokenRefusedError:
            assert reset.is_set()

    for _ in range(6):
        reset.clear()
        token = service.create_token()
        threads = [threading.Thread(target=refresh_until_refused) for _ in range(4)]
        for thread in threads:
            thread.start()
        reset.set()
        service.reset_key()
        for thread in threads:
            thread.join(30)

    assert exchanged
    assert not any(service.verify_token(new) for _, new in exchanged)
    assert all(new.split(".")[0] == old.split(".")[0] for old, new in exchanged)


def test_a_late_refresh_does_not_undo_a_logout(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "token"
    old = service.create_token()
    session = service.session(path, old)
    command = [sys.executable, "-c", REFRESH_LATE, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()

        session.clear_token()
        client.communicate(f"{old} {service.refresh_token(old)}\n", timeout=60)

    assert client.returncode == 0
    assert session.read_token() is None


@each_shared_store
def test_several_first_starts_at_once_share_one_first_key(
    tmp_path: Path, run_python: RunPython
) -> None:
    assert run_python(START_AT_ONCE, tmp_path / "data").stdout == "[0, 0, 0, 0]\n"

    with keyturn.open(path=tmp_path / "data", password=None) as service:
        assert [change.kind for change in service.history()] == ["generated"]


@each_shared_store
def test_a_manager_destroyed_by_another_process_says_so(
    tmp_path: Path, run_python: RunPython
) -> None:
    with keyturn.open(path=tmp_path / "data", password=None) as service:
        token = service.create_token()

        run_python(DESTROY, tmp_path / "data")

        assert service.verify_token(token) is False
        with pytest.raises(SessionManagerDestroyedError):
            service.create_token()
        with pytest.raises(SessionManagerDestroyedError):
            service.reset_key()


def test_tokens_expire_unless_somebody_said_never(service: Service) -> None:
    claims = service.inspect_token(service.create_token()).claims

    assert claims is not None
    assert claims["exp"] - claims["iat"] == 24 * 60 * 60


def test_an_expiry_that_is_none_is_refused_with_an_error(service: Service) -> None:
    for expiry in (float("nan"), float("inf"), -1, "3600", True, b"1", [1]):
        with pytest.raises(ExpiryError):
            service.create_token(expiry=expiry)  # type: ignore[arg-type]


def test_a_token_has_one_spelling(service: Service) -> None:
    token = service.create_token()

    for spelled in (
        token + "=",
        token + "\n",
        " " + token,
        token.replace(".", " .", 1),
        token[:-1] + chr(ord(token[-1]) + 1),
        token + ".",
        token + "." + token,
        token.replace("_", "/").replace("-", "+") + "=",
    ):
        assert service.verify_token(spelled) is False


def test_g4_a_token_file_is_private_and_its_links_are_not_followed(
    service: Service, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    old_umask = os.umask(0)
    try:
        service.session(tmp_path / "token", service.create_token())
    finally:
        os.umask(old_umask)

    with pytest.raises(keyturn.KeyturnError):
        service.session(tmp_path / "link", service.create_token())

    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "precious"


def test_readers_do_not_wait_for_a_writer_that_holds_the_lock(
    service: Service, tmp_path: Path
) -> None:
    from keyturn.config.files import locked

    token = service.create_token()
    session = service.session(tmp_path / "token", token)

    with locked(tmp_path / "token", timeout=1):
        assert session.read_token() == token


def test_setting_the_clock_back_does_not_revive_an_expired_token(tmp_path: Path) -> None:
    wall, elapsed = [1_000_000.0], [0.0]
    clock, _ = steady_clock(lambda: wall[0], lambda: elapsed[0], boot_time)
    with keyturn.open(store="memory:", clock=clock) as service:
        token = service.create_token(expiry=60)
        wall[0] += 120
        elapsed[0] += 120
        assert not service.verify_token(token)

        wall[0] -= 3600
        elapsed[0] += 1

        assert not service.verify_token(token)


@each_shared_store
def test_subscribers_are_told_of_a_reset_and_can_end_open_streams(service: Service) -> None:
    told = threading.Event()

    class Stream(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_receive(self, message: object) -> None:
            if isinstance(message, SessionKeys.KeyReset):
                told.set()

    stream = Stream.start()
    ask(service.manager, Subscribe(stream))

    ask(service.manager, ResetKey(reason="laptop stolen"))

    assert told.wait(10)
    stream.stop()


def test_a_refusal_has_a_typed_reason_for_the_host(service: Service) -> None:
    token = service.create_token()
    service.reset_key(reason="laptop stolen", initiator="alice")

    report = service.inspect_token(token)

    assert service.verify_token(token) is False
    assert report.refusal is Refusal.REVOKED
    assert (report.revoked_by, report.revoked_because) == ("alice", "laptop stolen")
