"""The writers' lock of a private file: one holder, and never a dead one."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn.config.files import LockTimeoutError, locked, locked_fd
from tests.descriptors import open_below

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

HOLDER = """
import sys, time
from pathlib import Path
from keyturn.config.files import locked
with locked(Path(sys.argv[1]), timeout=5):
    print("held", flush=True)
    time.sleep(60)
"""

FORKING = """
import os, sys
from pathlib import Path
from keyturn.config.files import locked
path = Path(sys.argv[1])
reading, writing = os.pipe()
with locked(path, timeout=5):
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # live until the parent says so
        os._exit(0)
with locked(path, timeout=0.1):
    print("free")
os.write(writing, b".")
os.waitpid(child, 0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_lock_that_is_held_times_out(path: Path) -> None:
    too_long = pytest.raises(LockTimeoutError, match=r"more than 0\.01 s")

    with locked(path, timeout=1), too_long, locked(path, timeout=0.01):
        pass


def test_a_timeout_names_the_file(path: Path) -> None:
    timeout = pytest.raises(LockTimeoutError)

    with locked(path, timeout=1), timeout as caught, locked(path, timeout=0):
        pass

    assert caught.value.filename == str(path)


def test_a_lock_can_be_taken_again_after_it_was_released(path: Path) -> None:
    with locked(path, timeout=0):
        pass

    with locked(path, timeout=0):
        pass


def test_a_lock_is_released_when_its_holder_raises(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(path, timeout=0):
        raise ZeroDivisionError

    with locked(path, timeout=0):
        pass


def test_locks_of_two_files_do_not_wait_for_each_other(path: Path) -> None:
    with locked(path, timeout=0), locked(path.with_name("other"), timeout=0):
        pass


def test_the_folder_of_the_lock_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b" / "file", timeout=0):
        pass

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_lock_leaves_no_open_file_behind(path: Path) -> None:
    before = open_below(path.parent)

    for _ in range(20):
        with locked(path, timeout=0):
            pass

    assert open_below(path.parent) == before


def test_a_lock_is_not_taken_through_a_symlink(path: Path) -> None:
    path.with_name(".file.lock").symlink_to("elsewhere")

    with pytest.raises(OSError), locked(path, timeout=0):
        pass

    assert not path.with_name("elsewhere").exists()


def test_only_one_thread_at_a_time_has_the_lock(path: Path) -> None:
    inside, worst = 0, 0

    def work() -> None:
        nonlocal inside, worst
        for _ in range(20):
            with locked(path, timeout=20):
                inside += 1
                worst = max(worst, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert worst == 1


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockTimeoutError), locked(path, timeout=0):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    with locked(path, timeout=0):
        pass


def test_a_child_forked_while_the_lock_was_held_does_not_keep_it(
    path: Path, run_python: RunPython
) -> None:
    assert run_python(FORKING, path).stdout == "free\n"


def test_an_open_file_is_locked_by_one_holder(path: Path) -> None:
    path.touch()

    with path.open() as first, path.open() as second:
        with (
            locked_fd(first.fileno(), path, timeout=0),
            pytest.raises(LockTimeoutError, match="file"),
            locked_fd(second.fileno(), path, timeout=0),
        ):
            pass
        with locked_fd(second.fileno(), path, timeout=0):
            pass
