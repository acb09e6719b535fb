"""What another user plants in a folder does not lead a process, and root least of all, astray."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn.config import sqlite_files


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that others are to go on reading."""
    victim = tmp_path / "victim"
    victim.write_text("for all to read")
    victim.chmod(0o644)
    return victim


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder in which another user may do what he likes."""
    data = tmp_path / "data"
    data.mkdir()
    return data


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- the files of a SQLite log ------------------------------------------------------------------


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_a_link_beside_a_database_does_not_change_the_mode_of_its_victim(
    data: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    plant(data / "keyturn.db-wal", victim)

    sqlite_files.make_private(data / "keyturn.db")

    assert mode(victim) == 0o644


def test_a_link_that_takes_the_place_of_a_file_after_a_look_at_it_is_not_followed(
    data: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = data / "keyturn.db"
    database.touch(0o644)
    look = os.lstat

    def look_and_lose(path: Path) -> os.stat_result:
        status = look(path)
        if path == database and stat.S_ISREG(status.st_mode):
            os.rename(path, data / "gone")
            database.symlink_to(victim)
        return status

    monkeypatch.setattr(os, "lstat", look_and_lose)

    sqlite_files.make_private(database)

    assert database.is_symlink()
    assert mode(victim) == 0o644


def test_a_database_that_others_could_read_is_made_private(data: Path) -> None:
    database = data / "keyturn.db"
    database.touch()
    database.chmod(0o644)

    sqlite_files.make_private(database)

    assert mode(database) == 0o600
