"""Passwords of a key ring: without the right one nothing opens, with it nothing is lost."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from keyturn import KeyRing
from keyturn.domain.errors import (
    PasswordRequiredError,
    WrongPasswordError,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file under the password "secret"."""
    path = tmp_path_factory.mktemp("rings") / "keyring.json"
    KeyRing.create(path, "secret")
    return path


@pytest.mark.parametrize("password", [None, "correct horse battery staple", "\0\n ", "пароль🔑"])
def test_a_new_key_ring_is_opened_again(path: Path, password: str | None) -> None:
    created = KeyRing.create(path, password)

    opened = KeyRing.open(str(path), password)

    assert opened.node_id == created.node_id
    assert opened.unseal(created.seal(b"plain", b"context"), b"context") == b"plain"


def test_two_new_key_rings_are_of_two_nodes(tmp_path: Path) -> None:
    one, other = (KeyRing.create(tmp_path / name, None) for name in ("one", "other"))

    assert one.node_id != other.node_id


def test_g6_a_wrong_password_opens_nothing(protected: Path) -> None:
    with pytest.raises(WrongPasswordError) as caught:
        KeyRing.open(protected, "Secret")

    assert caught.value.path == str(protected)


def test_g6_no_password_opens_nothing_that_has_one(protected: Path) -> None:
    with pytest.raises(PasswordRequiredError):
        KeyRing.open(protected, None)


def test_a_password_does_not_open_what_has_none(path: Path) -> None:
    KeyRing.create(path, None)

    with pytest.raises(WrongPasswordError, match="has no password"):
        KeyRing.open(path, "secret")


@pytest.mark.parametrize("password", ["", "\ud800", b"secret", 7])
def test_what_cannot_be_a_password_makes_no_key_ring(path: Path, password: str) -> None:
    with pytest.raises(WrongPasswordError):
        KeyRing.create(path, password)

    assert not path.exists()


@pytest.mark.parametrize("password", ["", "\ud800", b"secret", 7])
def test_what_cannot_be_a_password_opens_no_key_ring(protected: Path, password: str) -> None:
    with pytest.raises(WrongPasswordError):
        KeyRing.open(protected, password)


def test_a_password_is_the_same_however_its_accents_are_typed(path: Path) -> None:
    KeyRing.create(path, "caf\u00e9")

    opened = KeyRing.open(path, "cafe\u0301")

    assert opened.node_id


@pytest.mark.parametrize(("old", "new"), [(None, "new"), ("old", None), ("old", "new")])
def test_g6_changing_the_password_loses_nothing(
    path: Path, old: str | None, new: str | None
) -> None:
    before = KeyRing.create(path, old)
    sealed = before.seal(b"plain", b"context")

    KeyRing.change_password(path, old, new)

    after = KeyRing.open(path, new)
    assert (after.node_id, after.unseal(sealed, b"context")) == (before.node_id, b"plain")


def test_g6_the_old_password_opens_nothing_after_a_change(path: Path) -> None:
    KeyRing.create(path, "old")

    KeyRing.change_password(path, "old", "new")

    with pytest.raises(WrongPasswordError):
        KeyRing.open(path, "old")


@pytest.mark.parametrize(("old", "new"), [("wrong", "new"), ("secret", ""), (None, "new")])
def test_a_change_that_is_refused_leaves_the_file_alone(
    protected: Path, old: str | None, new: str
) -> None:
    before = protected.read_bytes()

    with pytest.raises(WrongPasswordError):
        KeyRing.change_password(protected, old, new)

    assert protected.read_bytes() == before


def test_a_changed_file_still_has_mode_0600(path: Path) -> None:
    KeyRing.create(path, None)

    KeyRing.change_password(path, None, None)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
