"""Whether a password is the one of the key ring, asked by path and by the handle."""

from __future__ import annotations

from pathlib import Path

import pytest

import keyturn
from keyturn import KeyRing
from keyturn.domain.errors import KeyRingError, KeyRingNotFoundError, KeyRingPermissionError
from tests.api.awaiting import run

PASSWORD = "correct horse battery staple"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keyturn.open(path=tmp_path, password=PASSWORD).close()
    return tmp_path


@pytest.mark.parametrize(
    ("password", "verdict"), [(PASSWORD, True), ("another", False), ("", False), (None, False)]
)
def test_only_the_password_is_the_password(
    folder: Path, password: str | None, verdict: bool
) -> None:
    with keyturn.open(path=folder, password=PASSWORD) as service:
        assert service.check_password(password) is verdict
    assert KeyRing.check_password(folder / "keyring.json", password) is verdict


def test_a_key_ring_without_a_password_has_none(tmp_path: Path) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        assert service.check_password(None)
        assert not service.check_password(PASSWORD)


def test_a_key_ring_that_its_group_may_read_is_tried_where_that_is_said(folder: Path) -> None:
    (folder / "keyring.json").chmod(0o440)

    assert KeyRing.check_password(folder / "keyring.json", PASSWORD, group_readable=True)
    with pytest.raises(KeyRingError, match="mode 0440"):
        KeyRing.check_password(folder / "keyring.json", PASSWORD)


def test_a_changed_password_counts_at_once(folder: Path) -> None:
    with keyturn.open(path=folder, password=PASSWORD) as service:
        KeyRing.change_password(folder / "keyring.json", PASSWORD, "new")

        assert not service.check_password(PASSWORD)
        assert service.named("tenant-7").check_password("new")


def test_the_password_of_a_key_ring_that_its_group_may_read_is_checked(folder: Path) -> None:
    ring = folder / "keyring.json"
    ring.chmod(0o640)
    settings = keyturn.Settings(path=folder, group_readable=True)

    with keyturn.open(settings=settings, password=PASSWORD) as service:
        assert service.check_password(PASSWORD)
    assert KeyRing.check_password(ring, PASSWORD, group_readable=True)
    with pytest.raises(KeyRingPermissionError, match="mode 0640"):
        KeyRing.check_password(ring, PASSWORD)


def test_the_password_of_another_key_ring_in_its_place_is_none(folder: Path) -> None:
    with keyturn.open(path=folder, password=PASSWORD) as service:
        (folder / "keyring.json").unlink()
        KeyRing.create(folder / "keyring.json", "of the thief")

        with pytest.raises(KeyRingError, match="another key ring"):
            service.check_password("of the thief")


def test_a_key_ring_in_no_file_has_no_password_to_check() -> None:
    with (
        keyturn.open(store="memory:") as service,
        pytest.raises(KeyRingNotFoundError, match="in no file"),
    ):
        service.check_password(PASSWORD)


def test_no_key_ring_at_all_is_an_error_and_no_verdict(folder: Path) -> None:
    with pytest.raises(KeyRingNotFoundError):
        KeyRing.check_password(folder / "nowhere.json", PASSWORD)


def test_it_is_awaited_too(folder: Path) -> None:
    async def main() -> list[bool]:
        async with keyturn.open_async(path=folder, password=PASSWORD, create=False) as service:
            assert [state.name for state in await service.managers()] == ["default"]
            return [await service.check_password(p) for p in (PASSWORD, "another")]

    assert run(main()) == [True, False]
