"""A SQLite log on read-only media, or of somebody else, is read as it is and left as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn.config.sqlite import SQLiteStore
from keyturn.domain.errors import LogDamagedError, LogUnavailableError

from .sqlite_logs import (
    ALICE,
    event,
    execute,
    files_of,
    history,
    newest,
    positions,
    run,
)

NOBODY = 65534


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which can be made read-only even for root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "keyturn-test", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk cannot be mounted here: {error}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


@pytest.fixture
def closed(disk: Path) -> Path:
    """A log that nobody has open."""
    store = SQLiteStore(disk / "log.db")
    store.insert_events(history(3))
    store.close()
    remount(disk, "ro")
    return disk / "log.db"


@pytest.fixture
def with_wal(disk: Path, tmp_path: Path) -> Path:
    """A log as a host left it that was killed: its end lies in the write-ahead log."""
    store = SQLiteStore(tmp_path / "log.db")
    store.insert_events(history(3))
    for file in files_of(tmp_path / "log.db"):
        shutil.copy(file, disk)
    store.close()
    remount(disk, "ro")
    return disk / "log.db"


@pytest.fixture(params=["closed", "with_wal"])
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_log_on_read_only_media_is_read_and_nothing_is_written(
    path: Path, temporary: Path
) -> None:
    before = content_of(path.parent)

    store = SQLiteStore(path)
    found = store.select_events(ALICE)
    rows, problems = len(list(store.rows())), store.schema_problems()
    modes = {folder.stat().st_mode & 0o777 for folder in temporary.iterdir()}
    store.close()

    assert (found, rows, problems) == (history(3), 3, [])
    assert store.is_read_only
    assert content_of(path.parent) == before
    assert modes <= {0o700}
    assert list(temporary.iterdir()) == []


def test_a_change_there_is_refused_with_what_to_do(path: Path) -> None:
    store = SQLiteStore(path)

    for write in (
        lambda: store.insert_events([event(4)]),
        lambda: store.purge(event(4)),
        lambda: store.exclusive().__enter__(),
    ):
        with pytest.raises(LogUnavailableError, match="let this user write to it") as raised:
            write()  # type: ignore[no-untyped-call]
        assert raised.value.recorded is False
    assert newest(store) == 3
    store.close()


def test_changes_stays_while_the_media_do(path: Path) -> None:
    store = SQLiteStore(path)
    os.utime(path.parent.parent)
    settled = store.changes()
    while store.changes() != settled:  # the files are younger than their clock is fine
        settled = store.changes()

    assert [store.changes() for _ in range(3)] == [settled] * 3
    store.close()


def test_what_is_written_elsewhere_to_the_same_files_is_seen(path: Path, disk: Path) -> None:
    store = SQLiteStore(path)
    newest(store)
    before = store.changes()
    remount(disk, "rw")
    writer = SQLiteStore(path)
    writer.insert_events([event(4)])

    assert store.changes() != before
    assert newest(store) == 4
    writer.insert_events([event(5)])
    assert newest(store) == 5
    writer.close()
    assert store.changes() != before
    assert positions(store) == [1, 2, 3, 4, 5]
    store.close()


def test_what_may_not_stand_in_a_log_is_refused_there_too(disk: Path, closed: Path) -> None:
    remount(disk, "rw")
    execute(closed, "CREATE VIEW seen AS SELECT 1")
    remount(disk, "ro")

    with pytest.raises(LogDamagedError, match="DROP VIEW seen"):
        SQLiteStore(closed)


def test_a_log_that_is_not_there_cannot_be_made_there(disk: Path) -> None:
    remount(disk, "ro")

    with pytest.raises(LogUnavailableError, match=r"other\.db cannot be opened: Read-only"):
        SQLiteStore(disk / "other.db")


# --- another user's ----------------------------------------------------------------------------

AS_NOBODY = """
os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = SQLiteStore(path)
print(store.is_read_only, positions(store))
store.close()
"""


@pytest.fixture
def of_root() -> Iterator[Path]:
    """A log of root's, in a folder that everybody may look into."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o711)
        path = Path(parent, "data", "log.db")
        store = SQLiteStore(path)
        store.insert_events(history(3))
        store.close()
        os.chmod(path.parent, 0o755)
        os.chmod(path, 0o644)
        yield path


def read_as_nobody(path: Path) -> str:
    return run(AS_NOBODY, path)


def test_a_log_that_this_user_may_only_read_is_read(of_root: Path) -> None:
    before = content_of(of_root.parent)

    printed = read_as_nobody(of_root)

    assert printed == "True [1, 2, 3]"
    assert content_of(of_root.parent) == before


def test_a_file_that_this_user_may_write_in_a_folder_that_he_may_not_is_read(
    of_root: Path,
) -> None:
    os.chown(of_root, NOBODY, NOBODY)
    before = content_of(of_root.parent)

    printed = read_as_nobody(of_root)

    assert printed == "True [1, 2, 3]"
    assert content_of(of_root.parent) == before


def test_a_log_that_another_user_has_open_is_read(of_root: Path) -> None:
    store = SQLiteStore(of_root)
    store.insert_events([event(4)])
    for file in files_of(of_root):
        os.chmod(file, 0o644)

    printed = read_as_nobody(of_root)

    assert printed == "True [1, 2, 3, 4]"
    store.close()
