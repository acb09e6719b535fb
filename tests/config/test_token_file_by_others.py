"""G4: Many processes share a token file, and some of them are killed."""

from __future__ import annotations

import os
import pwd
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import keyturn
from keyturn import ClientSession

KILLS = 80
KILLED_WRITERS = """
import os, signal, sys, time
from keyturn import ClientSession

def write_for_ever(path, ready):
    session = ClientSession(path)
    os.write(ready, b".")
    number = os.getpid() * 101
    while True:
        number += 1
        length = 1 + number * 37 % 8000
        session.write_token(f"{length}." + chr(97 + number % 26) * length)

for number in range(int(sys.argv[2]) // 2):
    writers = []
    for _ in range(2):
        reading, writing = os.pipe()
        writers.append(os.fork() or write_for_ever(sys.argv[1], writing))
        os.read(reading, 1)
        os.close(reading), os.close(writing)
    time.sleep((10 + number * 13 % 37) / 1000)  # to kill them somewhere else each time
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
"""
LATE_REFRESHER = """
import sys
from keyturn import ClientSession
session = ClientSession(sys.argv[1])
for line in sys.stdin:
    old = line.strip()
    for number in range(20):
        session.write_token(old + "r" * (number + 1), replacing=old)
        old = old + "r" * (number + 1) if session.read_token() != old else old
    print("done", flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_whole(token: str | None) -> bool:
    length, _, body = (token or "").partition(".")
    return length.isdigit() and body == body[:1] * int(length)


def test_g4_a_reader_never_sees_a_torn_or_empty_file_whatever_writer_is_killed_when(
    tmp_path: Path,
) -> None:
    path = tmp_path / "token"
    seen: set[str | None] = set()
    failures: list[BaseException] = []

    with ClientSession(path, "1.a") as session, start(KILLED_WRITERS, path, KILLS) as writers:
        while writers.poll() is None:
            try:
                seen.add(session.read_token())
            except keyturn.KeyturnError as error:
                failures.append(error)

    assert failures == []
    assert [token for token in seen if not is_whole(token)] == []
    assert (writers.returncode, len(seen) > 100) == (0, True)


def test_what_killed_writers_leave_behind_does_not_stop_the_next_one(
    tmp_path: Path, run_python: Callable[..., object]
) -> None:
    path = tmp_path / "token"
    run_python(KILLED_WRITERS, path, 20)

    with ClientSession(path) as session:
        session.write_token("mine")

        assert session.read_token() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == [".token.lock", "token"]


def test_a_logout_that_races_late_refreshes_of_many_processes_leaves_no_token(
    tmp_path: Path,
) -> None:
    path = tmp_path / "token"
    with ClientSession(path) as session:
        refreshers = [start(LATE_REFRESHER, path) for _ in range(3)]
        left = []
        for number in range(40):
            session.write_token(f"token{number}")
            for process in refreshers:
                process.stdin.write(f"token{number}\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]

            session.clear_token()

            for process in refreshers:
                process.stdout.readline()  # type: ignore[union-attr]
            left.append(session.read_token())
        for process in refreshers:
            process.communicate()

    assert left == [None] * 40


def test_of_several_refreshes_of_one_token_exactly_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "token"
    sessions = [ClientSession(path) for _ in range(6)]
    written: queue.Queue[bool] = queue.Queue()

    for number in range(30):
        sessions[0].write_token(f"old{number}")
        together = threading.Barrier(6, timeout=30)

        def refresh(
            session: ClientSession, mine: str, old: str, together: threading.Barrier = together
        ) -> None:
            together.wait()
            written.put(session.write_token(mine, replacing=old))

        for i, session in enumerate(sessions):
            arguments = (session, f"new{number}by{i}", f"old{number}")
            threading.Thread(target=refresh, args=arguments).start()
        assert sorted(written.get(timeout=30) for _ in sessions) == [False] * 5 + [True]

    for session in sessions:
        session.close()


# --- as somebody who may not -------------------------------------------------------------------

as_nobody = pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
AS_NOBODY = """
import os, sys
import keyturn
from keyturn import ClientSession
os.setgroups([]), os.setgid({gid}), os.setuid({uid})
path = sys.argv[1]
try:
    {code}
except keyturn.KeyturnError as error:
    print(type(error).__name__, "|", error)
"""


@pytest.fixture
def run_as_nobody(
    run_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> Callable[[str, Path], str]:
    nobody = pwd.getpwnam("nobody")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)

    def run(code: str, path: Path) -> str:
        text = AS_NOBODY.format(gid=nobody.pw_gid, uid=nobody.pw_uid, code=code)
        return run_python(text, path).stdout

    return run


@as_nobody
def test_a_read_only_folder_is_an_error_for_a_writer(
    tmp_path: Path, run_as_nobody: Callable[[str, Path], str]
) -> None:
    output = run_as_nobody("ClientSession(path, 'a.b.c')", tmp_path / "token")

    assert output.startswith("TokenFileError | ")
    assert "cannot be written: Permission denied" in output


@as_nobody
def test_g4_the_token_in_a_folder_that_became_read_only_survives_a_write(
    tmp_path: Path, run_as_nobody: Callable[[str, Path], str]
) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "folder"
    folder.mkdir()
    with ClientSession(folder / "token", "old.old.old"):
        pass
    for file in folder.iterdir():
        os.chown(file, nobody.pw_uid, nobody.pw_gid)
    folder.chmod(0o555)

    output = run_as_nobody(
        "session = ClientSession(path); session.write_token('new.new.new')", folder / "token"
    )

    assert output.startswith("TokenFileError | ")
    assert (folder / "token").read_text().strip() == "old.old.old"


@as_nobody
def test_g4_the_token_of_another_user_cannot_be_read(
    tmp_path: Path, run_as_nobody: Callable[[str, Path], str]
) -> None:
    with ClientSession(tmp_path / "token", "a.b.c"):
        pass
    tmp_path.chmod(0o1777)

    output = run_as_nobody("print(ClientSession(path).read_token())", tmp_path / "token")

    assert output.startswith("TokenFileError | ")
    assert "a.b.c" not in output
