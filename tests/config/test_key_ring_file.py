"""The key ring's file: whatever was done to it, it is refused, with the right error."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.config import key_ring_file
from keyturn.domain.errors import (
    KeyRingDamagedError,
    KeyRingError,
    KeyRingPermissionError,
    KeyRingVersionError,
    WrongPasswordError,
)
from tests.domain import golden

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]
same_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

AS_NOBODY = """
import os, sys
from keyturn import KeyRing
from keyturn.domain.errors import KeyRingError
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    KeyRing.open("keyring.json", None)
except KeyRingError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def put(path: Path, content: bytes) -> Path:
    if not path.exists():
        path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def with_right_checksum(content: bytes, **changes: Any) -> bytes:
    """The file with other members, and the checksum that then belongs there."""
    members = {**json.loads(content), **changes}
    record = msgspec.convert(members, key_ring_file._Record)
    return msgspec.json.encode(msgspec.structs.replace(record, checksum=record.right_checksum()))


def with_kdf(**changes: Any) -> bytes:
    kdf = {**json.loads(golden.LOCKED_KEY_RING)["kdf"], **changes}
    return with_right_checksum(golden.LOCKED_KEY_RING, kdf=kdf)


# --- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "password"), [(golden.OPEN_KEY_RING, None), (golden.LOCKED_KEY_RING, "golden")]
)
def test_a_file_with_any_bit_flipped_is_refused(
    path: Path, content: bytes, password: str | None
) -> None:
    put(path, content)

    for position in range(len(content)):
        for bit in range(8):
            flipped = content[position] ^ (1 << bit)
            altered = content[:position] + bytes([flipped]) + content[position + 1 :]
            path.write_bytes(altered)
            with pytest.raises((KeyRingDamagedError, KeyRingVersionError)):
                KeyRing.open(path, password)


@pytest.mark.parametrize("content", [golden.OPEN_KEY_RING, golden.LOCKED_KEY_RING])
def test_a_file_cut_short_anywhere_is_refused(path: Path, content: bytes) -> None:
    put(path, content)

    for length in range(len(content) - 1):  # all but the line feed at the end
        os.truncate(path, 0)
        path.write_bytes(content[:length])
        with pytest.raises(KeyRingDamagedError):
            key_ring_file.read(path)


@same_path
@given(content=st.binary(max_size=200))
def test_a_file_of_other_bytes_is_refused(path: Path, content: bytes) -> None:
    put(path, content)

    with pytest.raises(KeyRingDamagedError):
        KeyRing.open(path, None)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@same_path
@given(member=st.sampled_from(sorted(json.loads(golden.OPEN_KEY_RING))), value=values)
def test_a_file_with_any_other_value_in_it_is_refused(
    path: Path, member: str, value: object
) -> None:
    members = json.loads(golden.OPEN_KEY_RING)
    if members[member] == value and type(members[member]) is type(value):
        return
    put(path, json.dumps({**members, member: value}).encode())

    with pytest.raises((KeyRingDamagedError, KeyRingVersionError)):
        KeyRing.open(path, None)


@pytest.mark.parametrize("member", sorted(json.loads(golden.OPEN_KEY_RING)))
def test_a_file_that_lacks_a_member_is_refused(path: Path, member: str) -> None:
    members = json.loads(golden.OPEN_KEY_RING)
    del members[member]
    put(path, json.dumps(members).encode())

    with pytest.raises(KeyRingDamagedError):
        KeyRing.open(path, None)


def test_a_file_with_one_member_more_is_refused(path: Path) -> None:
    put(path, json.dumps({**json.loads(golden.OPEN_KEY_RING), "more": 1}).encode())

    with pytest.raises(KeyRingDamagedError):
        KeyRing.open(path, None)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"format":[', b'{"kdf":{"x":'])
def test_a_file_nested_very_deeply_is_refused(path: Path, opening: bytes) -> None:
    put(path, (opening * 16_000)[:16_000])

    with pytest.raises(KeyRingDamagedError):
        KeyRing.open(path, None)


def test_a_huge_file_is_refused_without_being_read(path: Path) -> None:
    put(path, b"")
    os.truncate(path, 1 << 40)

    with pytest.raises(KeyRingDamagedError, match="larger"):
        KeyRing.open(path, None)


def test_a_file_whose_secrets_are_of_another_node_is_refused(path: Path) -> None:
    other = KeyRing.ephemeral().node_id
    put(path, with_right_checksum(golden.OPEN_KEY_RING, node_id=other))

    with pytest.raises(KeyRingDamagedError, match="not those of its node id"):
        KeyRing.open(path, None)


@pytest.mark.parametrize("secrets", ["", "AAAA", "A" * 88, "=", "A", "é"])
def test_secrets_that_are_none_are_refused(path: Path, secrets: str) -> None:
    put(path, with_right_checksum(golden.OPEN_KEY_RING, secrets=secrets))

    with pytest.raises(KeyRingDamagedError):
        KeyRing.open(path, None)


@pytest.mark.parametrize(
    "content",
    [
        with_right_checksum(golden.LOCKED_KEY_RING, node_id=KeyRing.ephemeral().node_id),
        with_right_checksum(golden.LOCKED_KEY_RING, secrets="AAAA"),
        with_right_checksum(golden.LOCKED_KEY_RING, secrets=""),
        with_kdf(iterations=4),
        with_kdf(lanes=1),
        with_kdf(memory_kib=1024),
        with_kdf(salt="A" * 22),
    ],
)
def test_g6_nothing_in_a_protected_file_can_be_exchanged(path: Path, content: bytes) -> None:
    put(path, content)

    with pytest.raises(WrongPasswordError):
        KeyRing.open(path, "golden")


@pytest.mark.parametrize("version", [2, 3, 1000, 2**63])
def test_a_file_of_a_newer_version_says_so(path: Path, version: int) -> None:
    put(path, json.dumps({"format": key_ring_file.FORMAT, "version": version}).encode())

    with pytest.raises(KeyRingVersionError, match="install a newer Keyturn") as caught:
        KeyRing.open(path, None)

    assert caught.value.path == str(path)


# --- key derivation ----------------------------------------------------------------------------


def test_the_password_is_stretched_as_rfc_9106_recommends(
    path: Path, run_new_python: RunPython
) -> None:
    # In a new interpreter: in this one key rings are cheap.
    run_new_python(
        "import sys, keyturn; keyturn.KeyRing.create(sys.argv[1], password='secret')", path
    )

    kdf = json.loads(path.read_bytes())["kdf"]

    assert len(kdf.pop("salt")) == 22  # 128 bits
    assert kdf == {"name": "argon2id", "memory_kib": 65536, "iterations": 3, "lanes": 4}


def test_each_file_has_a_salt_of_its_own() -> None:
    assert len({key_ring_file.Kdf.new().salt for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_kib": 2 * 1024**3},  # 2 TiB
        {"memory_kib": 1024**2 + 1},
        {"memory_kib": 2**70},
        {"memory_kib": 31},
        {"memory_kib": 0},
        {"memory_kib": -1},
        {"iterations": 0},
        {"iterations": 33},
        {"iterations": 2**32},
        {"iterations": -3},
        {"lanes": 0},
        {"lanes": 33},
        {"lanes": -1},
        {"salt": ""},
        {"salt": "AAAA"},
        {"salt": "A" * 100},
        {"salt": "é" * 22},
        {"name": "scrypt"},
        {"name": "argon2i"},
        {"name": ""},
    ],
    ids=str,
)
def test_a_derivation_that_no_file_of_ours_asks_for_is_refused_before_it_starts(
    path: Path, changes: dict[str, object]
) -> None:
    put(path, with_kdf(**changes))

    with pytest.raises(KeyRingDamagedError):
        key_ring_file.read(path)


# --- who may read it ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    put(path, golden.OPEN_KEY_RING).chmod(mode)

    with pytest.raises(KeyRingPermissionError, match="run chmod 600 on it") as caught:
        KeyRing.open(path, None)

    assert f"mode {mode:04o}" in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_only_its_owner_can_read_is_opened(path: Path, mode: int) -> None:
    put(path, golden.OPEN_KEY_RING).chmod(mode)

    assert KeyRing.open(path, None).node_id == golden.NODE_ID


def test_a_file_that_this_user_cannot_read_is_refused(path: Path, run_python: RunPython) -> None:
    put(path, golden.OPEN_KEY_RING).chmod(0o600 if os.getuid() == 0 else 0o000)
    path.parent.chmod(0o755)

    assert run_python(AS_NOBODY, path.parent).stdout == "KeyRingPermissionError\n"


def test_a_symlink_that_others_could_lead_elsewhere_is_not_followed(path: Path) -> None:
    folder = path.with_name("folder")
    folder.mkdir()
    path.symlink_to(put(folder / "target", golden.OPEN_KEY_RING))
    folder.chmod(0o777)

    with pytest.raises(KeyRingPermissionError, match=rf"{folder} \(mode 0777\): run chmod o-w"):
        KeyRing.open(path, None)


def test_changing_the_password_does_not_replace_a_symlink(path: Path) -> None:
    path.symlink_to(put(path.with_name("target"), golden.OPEN_KEY_RING))

    with pytest.raises(KeyRingPermissionError, match="is a link"):
        KeyRing.change_password(path, None, "new")

    assert path.is_symlink()


def test_a_symlink_in_a_circle_is_an_error(path: Path) -> None:
    path.symlink_to(path.name)

    with pytest.raises(KeyRingError):
        KeyRing.open(path, None)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_not_a_regular_file_is_refused(path: Path, make: Callable[[Path], None]) -> None:
    make(path)

    with pytest.raises(KeyRingError, match="not a regular file"):
        KeyRing.open(path, None)


def test_a_file_of_a_version_that_never_was_is_damaged_and_not_newer(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    KeyRing.create(path, None)
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 0'))

    with pytest.raises(KeyRingDamagedError):
        KeyRing.open(path, None)
