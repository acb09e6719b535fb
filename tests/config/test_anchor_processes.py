"""The anchor between processes: never back, never torn, and no long wait for a stopped one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count, pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.config import files
from keyturn.config.anchor import Anchor, folder_of
from keyturn.domain.errors import AnchorError
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import manager_id
from tests.config.test_system_calls import trace
from tests.domain import golden
from tests.domain.builders import history, mark_of

RING = golden.KEY_RING
MARKS = [mark_of(event) for event in history(RING, resets=29)]
ENTRY = f"{manager_id('default').hex}.json"

WRITER = """
import sys, msgspec
from keyturn.config import files
from keyturn.config.anchor import Anchor
from keyturn.domain.mark import Mark
for line in sys.stdin:
    path, node_id, marks = msgspec.json.decode(line, type=tuple[str, str, list[Mark]])
    anchor = Anchor(path, node_id)
    seen = []
    for mark in marks:
        anchor.advance("default", mark)
        seen.append(anchor.read("default").position)
    print(seen, flush=True)
"""

ADVANCE_TWICE = f"""
import sys, msgspec
from pathlib import Path
from keyturn.config import files
from keyturn.config.anchor import Anchor
from keyturn.domain.mark import Mark
marks = msgspec.json.decode({msgspec.json.encode(MARKS[:3])!r}, type=list[Mark])
anchor = Anchor(Path(sys.argv[1]) / "anchor.json", {RING.node_id!r})
for mark in marks:
    anchor.advance("default", mark)
anchor.advance("default", marks[0])
anchor.replace("default", marks[1])
"""

STOP_WHILE_LOCKED = """
import fcntl, os, signal, sys
with open(sys.argv[1], "rb+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    os.kill(os.getpid(), signal.SIGSTOP)
"""

FORK_WHILE_LOCKED = f"""
import os, sys, msgspec
from pathlib import Path
from keyturn.config import files
from keyturn.config.anchor import Anchor
from keyturn.domain.mark import Mark
marks = msgspec.json.decode({msgspec.json.encode(MARKS[:4])!r}, type=list[Mark])
anchor = Anchor(Path(sys.argv[1]) / "anchor.json", {RING.node_id!r})
anchor.advance("default", marks[0])
reading, writing = os.pipe()
children = []
write_over = os.pwrite

def fork_and_write(*arguments):
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # live until the parent says so
        os._exit(0)
    children.append(child)
    return write_over(*arguments)

os.pwrite = fork_and_write
anchor.advance("default", marks[1])
os.pwrite = write_over
anchor.advance("default", marks[2])
print(anchor.peek("default"))
os.close(writing)
os.waitpid(children[0], 0)
"""

KILLED_WHILE_MAKING = f"""
import os, sys, msgspec
from pathlib import Path
from keyturn.config.anchor import Anchor
from keyturn.domain.mark import Mark
marks = msgspec.json.decode({msgspec.json.encode(MARKS[:2])!r}, type=list[Mark])
call, number, folder = getattr(os, sys.argv[1]), 0, Path(sys.argv[2])

def killed(after):
    def replaced(*arguments, **options):
        if after:
            call(*arguments, **options)
        os._exit(9)
    return replaced

for after in (False, True):
    anchor = Anchor(folder / f"{{after}}.json", {RING.node_id!r})
    child = os.fork()
    if child == 0:
        setattr(os, sys.argv[1], killed(after))
        anchor.advance("default", marks[0])
        os._exit(0)
    os.waitpid(child, 0)
    anchor.advance("default", marks[1])
    print(anchor.peek("default"))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor.json"


# --- never back --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def writers() -> Iterator[list[subprocess.Popen[str]]]:
    """Three processes that advance anchors as they are told."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    yield processes
    for process in processes:
        process.communicate()


@pytest.fixture(scope="module")
def new_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Give the path of an anchor that is not made yet, each time another one."""
    folder, numbers = tmp_path_factory.mktemp("anchors"), count()
    return lambda: folder / f"{next(numbers)}.json"


@settings(max_examples=15)
@given(orders=st.lists(st.lists(st.sampled_from(MARKS), max_size=12), min_size=3, max_size=3))
def test_g5_it_only_moves_forward_however_several_processes_move_it(
    writers: list[subprocess.Popen[str]],
    new_path: Callable[[], Path],
    orders: list[list[Mark]],
) -> None:
    path = new_path()
    told = [msgspec.json.encode((str(path), RING.node_id, marks)).decode() for marks in orders]

    for process, line in zip(writers, told, strict=True):
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
    seen = [json.loads(process.stdout.readline()) for process in writers if process.stdout]

    assert all(before <= after for positions in seen for before, after in pairwise(positions))
    assert all(
        position >= mark.position
        for positions, marks in zip(seen, orders, strict=True)
        for position, mark in zip(positions, marks, strict=True)
    )
    farthest = max((mark.position for marks in orders for mark in marks), default=0)
    assert Anchor(path, RING.node_id).peek("default") == farthest
    assert not list(path.parent.glob(f"{path.name}.d/.*.tmp"))


def test_g5_a_reader_beside_writers_only_sees_it_move_forward(
    writers: list[subprocess.Popen[str]], path: Path
) -> None:
    anchor = Anchor(path, RING.node_id)
    anchor.advance("default", MARKS[0])
    for process, marks in zip(writers, (MARKS[::3], MARKS[1::3], MARKS[2::3]), strict=True):
        assert process.stdin is not None
        told = msgspec.json.encode((str(path), RING.node_id, marks)).decode()
        process.stdin.write(told + "\n")
        process.stdin.flush()

    seen = []
    while not seen or seen[-1] < len(MARKS):
        mark = anchor.read("default")
        assert mark is not None
        seen.append(mark.position)

    assert seen == sorted(seen)
    for process in writers:
        assert process.stdout is not None
        process.stdout.readline()


# --- never torn --------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_g5_a_change_is_one_write_of_a_sector_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()

    lines = trace(
        "write,pwrite64,ftruncate,fsync,fdatasync,/^(rename|link|unlink|mkdir)",
        ADVANCE_TWICE,
        folder,
        tmp_path,
    )

    entries = re.escape(f"{folder}/anchor.json.d")
    name = rf"\.{ENTRY}\.[0-9a-f]{{16}}\.tmp"
    temp, place, inside = f"{entries}/{name}", f"{entries}/{ENTRY}", rf"\d+<{entries}>"
    overwritten = rf'pwrite64\(\d+<{place}>, ".*"\.*, 512, 0\) += 512'
    expected = [
        rf'mkdirat\(\d+<{re.escape(str(folder))}>, "anchor.json.d", 0700\) += 0',
        rf"fsync\(\d+<{re.escape(str(folder))}>\) += 0",
        rf'write\(\d+<{temp}>, ".*"\.*, 512\) += 512',
        rf"fsync\(\d+<{temp}>\) += 0",
        rf'renameat\({inside}, "{name}", {inside}, "{ENTRY}"\) += 0',
        rf"fsync\({inside}\) += 0",
        *[overwritten] * 3,  # two steps forward, none back, and back as it was accepted
    ]
    assert len(lines) == len(expected), lines
    for pattern, line in zip(expected, lines, strict=True):
        assert re.fullmatch(pattern, line)


def test_g5_a_reader_that_saw_half_a_write_looks_again_when_it_is_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor, place = Anchor(path, RING.node_id), folder_of(path) / ENTRY
    anchor.advance("default", MARKS[0])
    older = place.read_bytes()
    anchor.advance("default", MARKS[1])
    newer = place.read_bytes()
    place.write_bytes(newer[:300] + older[300:])
    wait_for_the_writer = files.locked_fd

    def finish_the_write(fd: int, path: Path, *, timeout: float) -> AbstractContextManager[None]:
        place.write_bytes(newer)
        return wait_for_the_writer(fd, path, timeout=timeout)

    monkeypatch.setattr(files, "locked_fd", finish_the_write)

    assert anchor.marks() == {"default": MARKS[1]}
    place.write_bytes(newer[:300] + older[300:])
    assert anchor.read("default") == MARKS[1]


# --- nobody waits long -------------------------------------------------------------------------


@pytest.fixture
def stopped_holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was stopped while it had the lock of the entry of `default`."""
    Anchor(path, RING.node_id).advance("default", MARKS[0])
    place = folder_of(path) / ENTRY
    with subprocess.Popen([sys.executable, "-c", STOP_WHILE_LOCKED, str(place)]) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
        if process.returncode is None:
            process.kill()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("move", [Anchor.advance, Anchor.replace])
def test_g8_a_change_gives_up_when_a_stopped_process_has_the_lock(
    path: Path,
    stopped_holder: subprocess.Popen[bytes],
    move: Callable[[Anchor, str, Mark], None],
) -> None:
    anchor = Anchor(path, RING.node_id)

    with pytest.raises(AnchorError, match=r"locked by another process for more than 0\.2 s"):
        move(anchor, "default", MARKS[1])

    assert anchor.read("default") == MARKS[0]


@pytest.mark.timeout(20)
def test_g8_a_stopped_process_keeps_nobody_from_other_managers_entries(
    path: Path, stopped_holder: subprocess.Popen[bytes]
) -> None:
    anchor = Anchor(path, RING.node_id)
    other = mark_of(history(RING, "other", resets=0)[0])

    anchor.advance("other", other)

    assert anchor.read("other") == other


@pytest.mark.timeout(20)
def test_g8_the_entry_moves_on_when_a_stopped_process_is_killed(
    path: Path, stopped_holder: subprocess.Popen[bytes]
) -> None:
    anchor = Anchor(path, RING.node_id)
    stopped_holder.send_signal(signal.SIGKILL)
    stopped_holder.wait()

    anchor.advance("default", MARKS[1])

    assert anchor.read("default") == MARKS[1]


def test_g8_a_child_forked_during_a_change_does_not_keep_the_lock(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert run_python(FORK_WHILE_LOCKED, tmp_path).stdout == "3\n"


@pytest.mark.parametrize("call", ["open", "write", "fsync", "link", "rename", "unlink"])
def test_g8_a_process_killed_while_it_made_an_entry_hinders_nobody(
    call: str, tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert run_python(KILLED_WHILE_MAKING, call, tmp_path).stdout == "2\n2\n"
