"""A locked, full, missing or read-only log gives a clear error; the service goes on [G8]."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import keyturn
from keyturn import Service, Settings
from keyturn.domain.errors import LogUnavailableError, NotAKeyturnLogError

from .second_process import SecondProcess


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def impatient(folder: Path) -> Iterator[Service]:
    """A service that waits for no writer for longer than a moment."""
    with keyturn.open(Settings(path=folder, lock_timeout=0.2), password=None) as service:
        yield service


def generations(folder: Path) -> list[int]:
    with keyturn.open(path=folder, password=None) as service:
        return [change.generation for change in service.history()]


# --- locked ------------------------------------------------------------------------------------


@pytest.fixture
def locker(impatient: Service, folder: Path) -> Iterator[SecondProcess]:
    """Another process, which holds the database's write lock."""
    with SecondProcess(folder, service=False) as locker:
        locker.sql("BEGIN IMMEDIATE")
        yield locker


def test_g8_a_log_that_is_locked_for_too_long_is_a_clear_error(
    impatient: Service, locker: SecondProcess, folder: Path
) -> None:
    with pytest.raises(LogUnavailableError, match="locked for too long; try again") as raised:
        impatient.reset_key()

    assert (raised.value.recorded, raised.value.is_busy) == (False, True)
    assert raised.value.location == str(folder / "keyturn.db")


def test_g8_while_the_log_is_locked_tokens_are_created_and_verified(
    impatient: Service, locker: SecondProcess
) -> None:
    with pytest.raises(LogUnavailableError):
        impatient.reset_key()

    assert impatient.verify_token(impatient.create_token())


def test_g8_once_the_lock_is_released_resets_work_again(
    impatient: Service, locker: SecondProcess, folder: Path
) -> None:
    token = impatient.create_token()
    for _ in range(3):
        with pytest.raises(LogUnavailableError):
            impatient.reset_key()
    locker.sql("ROLLBACK")

    impatient.reset_key()

    assert not impatient.verify_token(token)
    assert [change.generation for change in impatient.history()] == [1, 2]


def test_g8_a_locked_log_that_is_opened_for_the_first_time_is_a_clear_error(
    folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    settings = Settings(path=folder, lock_timeout=0.2)
    with SecondProcess(folder, service=False) as locker:
        locker.sql("BEGIN EXCLUSIVE")

        with pytest.raises(LogUnavailableError, match="locked") as raised:
            keyturn.open(settings, password=None)

        assert raised.value.is_busy
        locker.sql("ROLLBACK")
    keyturn.open(settings, password=None).close()


def test_g8_a_checkpoint_of_others_that_is_going_on_is_no_error(
    impatient: Service, folder: Path
) -> None:
    with SecondProcess(folder, service=False) as other:
        for _ in range(20):
            impatient.reset_key()
            other.sql("PRAGMA wal_checkpoint(TRUNCATE)")

    assert impatient.verify_token(impatient.create_token())


# --- full --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "keyturn-test", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


def reset_until_full(service: Service) -> tuple[int, LogUnavailableError]:
    """Reset until it fails; return how many resets were acknowledged, and the error."""
    for acknowledged in range(1000):
        try:
            service.reset_key()
        except LogUnavailableError as error:
            return acknowledged, error
    raise AssertionError("the disk never was full")


def test_g8_a_full_disk_is_a_clear_error_that_says_what_became_of_the_change(
    small_disk: Path,
) -> None:
    with keyturn.open(path=small_disk / "data", password=None) as service:
        fill(small_disk)
        _, error = reset_until_full(service)

    assert "the disk is full; make room and try again" in str(error)
    assert (error.location, error.recorded, error.is_busy) == (
        str(small_disk / "data/keyturn.db"),
        False,
        False,
    )


def test_g8_on_a_full_disk_tokens_are_still_created_and_verified(small_disk: Path) -> None:
    with keyturn.open(path=small_disk / "data", password=None) as service:
        fill(small_disk)
        reset_until_full(service)

        assert service.verify_token(service.create_token())


def test_g8_once_there_is_room_again_resets_work_and_nothing_acknowledged_is_lost(
    small_disk: Path,
) -> None:
    with keyturn.open(path=small_disk / "data", password=None) as service:
        ballast = fill(small_disk)
        acknowledged, _ = reset_until_full(service)
        reset_until_full(service)
        ballast.unlink()
        token = service.create_token()

        service.reset_key()

        assert not service.verify_token(token)
    assert generations(small_disk / "data") == list(range(1, acknowledged + 3))


# --- read-only ---------------------------------------------------------------------------------


def test_g8_a_read_only_file_system_is_read_and_written_once_it_is_writable(
    small_disk: Path,
) -> None:
    folder, remount = small_disk / "data", ["mount", "-o"]
    with keyturn.open(path=folder, password=None) as service:
        token = service.create_token()
    subprocess.run([*remount, "remount,ro", str(small_disk)], check=True)

    with keyturn.open(path=folder, password=None) as service:
        assert service.verify_token(token)
        with pytest.raises(LogUnavailableError, match="read-only here") as caught:
            service.reset_key()
        assert caught.value.recorded is False
        assert [change.kind for change in service.history()] == ["generated"]
    with pytest.raises(LogUnavailableError, match=r"other\.db cannot be opened: Read-only"):
        keyturn.open_event_log(f"sqlite:///{small_disk}/other.db")
    subprocess.run([*remount, "remount,rw", str(small_disk)], check=True)

    with keyturn.open(path=folder, password=None) as service:
        assert service.verify_token(token)


# --- another application's ---------------------------------------------------------------------

WITHOUT_TABLE = ["DROP TABLE stored_events"]
WITH_ANOTHER_TABLE = [*WITHOUT_TABLE, "CREATE TABLE stored_events (stored, events)"]


@pytest.mark.parametrize("statements", [WITHOUT_TABLE, WITH_ANOTHER_TABLE])
def test_g8_a_table_of_another_application_is_a_clear_error_at_every_use(
    service: Service, folder: Path, statements: list[str]
) -> None:
    token = service.create_token()
    with SecondProcess(folder, service=False) as other:
        for statement in statements:
            other.sql(statement)

    for use in (
        lambda: service.verify_token(token),
        service.reset_key,
        lambda: list(service.history()),
        service.audit,
        lambda: keyturn.open(path=folder, password=None),
    ):
        with pytest.raises(NotAKeyturnLogError, match="is another application's") as raised:
            use()
        assert raised.value.location == str(folder / "keyturn.db")


# --- gone --------------------------------------------------------------------------------------


def test_g1_a_reset_is_not_acknowledged_when_the_folder_was_removed(
    service: Service, folder: Path
) -> None:
    shutil.rmtree(folder)

    with pytest.raises(LogUnavailableError, match="removed or replaced") as raised:
        service.reset_key()

    assert raised.value.recorded is False
    assert raised.value.location == str(folder / "keyturn.db")


def test_g2_once_the_folder_is_known_to_be_gone_no_old_key_is_trusted(
    service: Service, folder: Path
) -> None:
    token = service.create_token()
    shutil.rmtree(folder)
    with pytest.raises(LogUnavailableError):
        service.reset_key()

    with pytest.raises(LogUnavailableError):
        service.verify_token(token)


def test_g2_a_log_that_was_removed_is_noticed_by_verification_alone(
    service: Service, folder: Path
) -> None:
    token = service.create_token()
    never = time.monotonic() + 30

    def verify_until_it_is_noticed() -> None:
        while time.monotonic() < never:
            service.verify_token(token)

    shutil.rmtree(folder)

    with pytest.raises(LogUnavailableError, match="removed or replaced"):
        verify_until_it_is_noticed()


def test_g8_a_service_whose_folder_is_put_back_goes_on(service: Service, folder: Path) -> None:
    token = service.create_token()
    away = folder.with_name("away")
    folder.rename(away)
    for _ in range(20):
        with pytest.raises(LogUnavailableError):
            service.reset_key()
        shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)

    is_good = service.verify_token(token)
    service.reset_key()

    assert is_good
    assert not service.verify_token(token)
    assert generations(folder) == [1, 2]


def test_g5_an_old_copy_put_in_place_of_the_log_while_it_is_open_is_refused(
    service: Service, folder: Path
) -> None:
    with SecondProcess(folder, service=False) as other:
        other.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "keyturn.db", folder / "copy")
    service.reset_key()
    service.create_token()
    for name in ("keyturn.db-wal", "keyturn.db-shm"):
        (folder / name).unlink()
    (folder / "copy").replace(folder / "keyturn.db")

    with pytest.raises(LogUnavailableError, match="removed or replaced"):
        service.reset_key()
    with pytest.raises(keyturn.KeyturnError, match="an old copy was put back"):
        service.create_token()
