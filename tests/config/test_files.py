"""Private files: whole or not at all, for their owner only, and never followed."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyturn.config import files, folders
from keyturn.config.files import read_private, write_private
from tests.descriptors import open_below

LIMIT = 1 << 20
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

FULL_DISK = """
import resource, sys
from pathlib import Path
from keyturn.config.files import write_private
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_private(Path(sys.argv[1]), b"n" * 5000)
except OSError as error:
    print(type(error).__name__)
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture(params=["symlink", "dangling symlink", "fifo", "folder", "device"])
def irregular(request: pytest.FixtureRequest, path: Path) -> Path:
    """Something at the path that is not a regular file."""
    if request.param == "symlink":
        (path.parent / "target").write_bytes(b"secret")
        path.symlink_to("target")
    elif request.param == "dangling symlink":
        path.symlink_to("nowhere")
    elif request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o027, 0o111])
def test_g4_a_new_file_has_mode_0600_under_any_umask(
    path: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)

    write_private(path, b"content")

    assert mode_of(path) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640, 0o606, 0o777, 0o601])
def test_g4_writing_over_a_file_that_others_could_read_makes_it_0600(
    path: Path, mode: int
) -> None:
    path.write_bytes(b"old")
    path.chmod(mode)

    write_private(path, b"new")

    assert mode_of(path) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640, 0o606, 0o777])
def test_g4_reading_a_file_that_others_could_read_makes_it_0600(path: Path, mode: int) -> None:
    path.write_bytes(b"content")
    path.chmod(mode)

    read_private(path, limit=LIMIT)

    assert mode_of(path) == 0o600


def test_a_file_that_others_could_read_is_refused_if_that_was_asked_for(path: Path) -> None:
    path.write_bytes(b"content")
    path.chmod(0o640)

    with pytest.raises(PermissionError, match=r"mode 0640.*chmod 600"):
        read_private(path, limit=LIMIT, refused=0o077)

    assert mode_of(path) == 0o640


def test_a_file_that_others_could_read_is_left_as_it_is_if_that_was_asked_for(
    path: Path,
) -> None:
    path.write_bytes(b"content")
    path.chmod(0o644)

    content = read_private(path, limit=LIMIT, refused=0)

    assert (content, mode_of(path)) == (b"content", 0o644)


@pytest.mark.parametrize("content", [b"", b"x", b"\r\n\0\xff" * 1000, bytes(LIMIT)])
def test_what_was_written_is_read(path: Path, content: bytes) -> None:
    write_private(path, content)

    assert read_private(path, limit=LIMIT) == content


def test_a_file_that_is_not_there_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_private(path, limit=LIMIT)


def test_a_file_over_the_limit_is_refused(path: Path) -> None:
    path.write_bytes(bytes(101))

    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_private(path, limit=100)


def test_a_file_of_a_terabyte_is_refused_without_being_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(OSError, match="larger"):
        read_private(path, limit=LIMIT)


@pytest.mark.timeout(10)
def test_what_is_not_a_regular_file_is_not_read_and_not_waited_for(irregular: Path) -> None:
    with pytest.raises(OSError):
        read_private(irregular, limit=LIMIT)


@pytest.mark.timeout(10)
def test_what_is_not_a_regular_file_is_not_written_through(irregular: Path) -> None:
    with pytest.raises(OSError), files.open_private(irregular, os.O_RDWR):
        pass


def test_writing_over_a_symlink_replaces_the_link_and_not_its_target(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"somebody else's")
    path.symlink_to(target)

    write_private(path, b"new")

    assert target.read_bytes() == b"somebody else's"
    assert not path.is_symlink()


def test_a_folder_in_the_way_stops_a_write_and_nothing_is_left_behind(path: Path) -> None:
    path.mkdir()

    with pytest.raises(IsADirectoryError):
        write_private(path, b"new")

    assert list(path.parent.iterdir()) == [path]


def test_the_old_content_stands_when_the_new_one_does_not_fit(
    path: Path, run_python: RunPython
) -> None:
    write_private(path, b"old")

    failure = run_python(FULL_DISK, path).stdout.strip()

    assert (failure, path.read_bytes()) == ("OSError", b"old")


def test_a_failed_write_leaves_no_temp_file(path: Path, run_python: RunPython) -> None:
    run_python(FULL_DISK, path)

    assert list(path.parent.iterdir()) == []


def test_g4_a_reader_never_sees_a_torn_file_while_a_writer_writes(path: Path) -> None:
    contents = [letter * size for letter, size in ((b"a", 10), (b"b", 9000))]
    write_private(path, contents[0])
    done = threading.Event()

    def write_until_done() -> None:
        for content in itertools.cycle(contents):
            write_private(path, content)
            if done.is_set():
                return

    writer = threading.Thread(target=write_until_done)
    writer.start()
    try:
        seen = [read_private(path, limit=LIMIT)]
        while len(seen) < 1000 or len(set(seen)) < 2:
            seen.append(read_private(path, limit=LIMIT))
    finally:
        done.set()
        writer.join()

    assert set(seen) == set(contents)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_opening_makes_no_file(path: Path, flags: int) -> None:
    with pytest.raises(FileNotFoundError), files.open_private(path, flags):
        pass

    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("flags", "mode"), [(os.O_RDONLY, 0o644), (os.O_RDWR, 0o600)])
def test_g4_opening_for_writing_alone_makes_a_file_0600(
    path: Path, flags: int, mode: int
) -> None:
    path.write_bytes(b"content")
    path.chmod(0o644)

    with files.open_private(path, flags) as fd:
        content = os.read(fd, 100)

    assert (content, mode_of(path)) == (b"content", mode)


def test_an_open_file_is_closed_in_the_end(path: Path) -> None:
    write_private(path, b"content")
    before = open_below(path.parent)

    with pytest.raises(ZeroDivisionError), files.open_private(path, os.O_RDONLY):
        raise ZeroDivisionError

    assert open_below(path.parent) == before


def test_removing_leaves_no_file_and_may_be_done_twice(path: Path) -> None:
    write_private(path, b"old")

    files.remove_private(path)
    files.remove_private(path)

    assert list(path.parent.iterdir()) == []


def test_removing_a_symlink_leaves_its_target(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"kept")
    path.symlink_to(target)

    files.remove_private(path)

    assert target.read_bytes() == b"kept"


def test_temp_files_of_killed_writers_are_swept_and_nothing_else(path: Path) -> None:
    left_behind = [path.with_name(f".file.{number}.tmp") for number in range(3)]
    others = [path.with_name(name) for name in ("file", ".file.lock", ".other.1.tmp", "a.tmp")]
    for found in (*left_behind, *others):
        found.touch()

    files.sweep_temp_files(path)

    assert set(path.parent.iterdir()) == set(others)


def test_sweeping_a_folder_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    files.sweep_temp_files(tmp_path / "none" / "file")

    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_missing_are_made_for_their_owner_only(
    tmp_path: Path, umask: Callable[[int], int]
) -> None:
    umask(0)

    folders.make_private_folder(tmp_path / "a" / "b")

    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_a_folder_cannot_be_made_where_a_file_is(path: Path) -> None:
    path.touch()

    with pytest.raises(NotADirectoryError):
        folders.make_private_folder(path)
