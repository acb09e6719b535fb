"""Where the password of the key ring comes from, and that no setting holds it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import keyturn
from keyturn import Settings
from keyturn.config import settings as of_settings
from keyturn.domain.errors import SettingsError
from keyturn.domain.secret import Secret


def find_password(*args: Any, **kwargs: Any) -> object:
    found = of_settings.find_password(*args, **kwargs)
    return found.reveal() if isinstance(found, Secret) else found


def password_file(path: Path, content: bytes = b"from file\n") -> Settings:
    path.touch(0o600)
    path.write_bytes(content)
    return Settings(password_file=path)


def test_the_password_is_no_setting() -> None:
    assert "password" not in repr(Settings()).replace("password_file", "")
    assert "password" not in {field.name for field in dataclasses.fields(Settings)}


def test_a_password_in_an_argument_goes_before_all_others(tmp_path: Path) -> None:
    settings = password_file(tmp_path / "secret")

    found = find_password(settings, "argument", {"KEYTURN_PASSWORD": "variable"})

    assert found == "argument"


def test_an_explicit_none_goes_before_all_others(tmp_path: Path) -> None:
    settings = password_file(tmp_path / "secret")

    assert find_password(settings, None, {"KEYTURN_PASSWORD": "variable"}) is None


def test_a_password_in_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    settings = password_file(tmp_path / "secret")

    assert find_password(settings, environ={"KEYTURN_PASSWORD": "variable"}) == "variable"


def test_nobody_saying_anything_is_not_the_same_as_no_password() -> None:
    assert find_password(Settings(), environ={}) is msgspec.UNSET


def test_an_empty_variable_says_nothing_of_the_password(tmp_path: Path) -> None:
    settings = password_file(tmp_path / "secret")

    assert find_password(Settings(), environ={"KEYTURN_PASSWORD": ""}) is msgspec.UNSET
    assert find_password(settings, environ={"KEYTURN_PASSWORD": ""}) == "from file"


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b" se cret \n\n", " se cret \n"),
        ("pässwort\n".encode(), "pässwort"),
        (b"\xef\xbb\xbfsecret\r\n", "secret"),
        ("pass\ufeffwort".encode(), "pass\ufeffwort"),
    ],
)
def test_a_byte_order_mark_and_one_line_end_of_a_password_file_are_not_of_the_password(
    content: bytes, password: str, tmp_path: Path
) -> None:
    settings = password_file(tmp_path / "secret", content)

    assert find_password(settings, environ={}) == password


def test_a_password_file_may_be_a_link_as_container_secrets_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password_file(tmp_path / "secret")
    (tmp_path / "link").symlink_to("secret")
    monkeypatch.setenv("KEYTURN_PASSWORD_FILE", str(tmp_path / "link"))

    with keyturn.open(path=tmp_path / "data"):
        pass

    with pytest.raises(keyturn.KeyturnError):
        keyturn.KeyRing.open(tmp_path / "data/keyring.json", "not from file")
    keyturn.KeyRing.open(tmp_path / "data/keyring.json", "from file")


def test_a_group_may_read_a_password_file_as_container_secrets_have_it(tmp_path: Path) -> None:
    settings = password_file(tmp_path / "secret")
    os.chmod(tmp_path / "secret", 0o440)

    assert find_password(settings, environ={}) == "from file"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf\r\n"])
def test_an_empty_password_file_is_named(tmp_path: Path, content: bytes) -> None:
    settings = password_file(tmp_path / "secret")
    (tmp_path / "secret").write_bytes(content)

    with pytest.raises(SettingsError, match=r"secret is empty"):
        find_password(settings, environ={})


@pytest.mark.parametrize("mode", [0o644, 0o444, 0o604, 0o602])
def test_a_password_file_that_everybody_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    settings = password_file(tmp_path / "secret")
    os.chmod(tmp_path / "secret", mode)

    with pytest.raises(SettingsError, match=r"can be read by others .* run chmod 600 on it"):
        find_password(settings, environ={})


WHY_NOT = {
    "absent": "does not exist|No such file",
    "folder": "not a regular file|directory",
    "pipe": "not a regular file",
    "circle": "symbolic link",
    "binary": "is not UTF-8",
    "utf-16": "is not UTF-8",
    "huge": "is larger than",
}


@pytest.mark.parametrize("kind", WHY_NOT)
def test_a_password_file_that_cannot_be_used_is_an_error_that_names_it_and_shows_nothing_of_it(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "circle":
            path.symlink_to(path)
        case "binary":
            path.write_bytes(b"hunter2\xff")
        case "utf-16":
            path.write_bytes("hunter2".encode("utf-16"))
        case "huge":
            path.write_bytes(b"hunter2" * 1000)

    if kind in ("binary", "utf-16", "huge"):
        path.chmod(0o600)

    with pytest.raises(SettingsError, match=WHY_NOT[kind]) as raised:
        find_password(Settings(password_file=path), environ={})

    assert (raised.value.key, raised.value.source) == ("password_file", str(path))
    assert "hunter2" not in f"{raised.value!r} {raised.value.__cause__!r}"
