"""The key ring: what it seals and signs, who may open it, and what it never shows."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain.errors import (
    KeyRingExistsError,
    KeyRingNotFoundError,
    SealError,
)
from keyturn.domain.key_ring import KeyRingLike, is_signed_by
from tests.domain import golden

RING = KeyRing.ephemeral()
OTHER = KeyRing.ephemeral()
SEED, SEALING = bytes(range(100, 132)), bytes(range(200, 232))

RACE = """
import sys, time
from pathlib import Path
from keyturn import KeyRing
from keyturn.domain.errors import KeyRingExistsError
folder = Path(sys.argv[1])
(folder / f"ready-{sys.argv[2]}").touch()
while not (folder / "go").exists():
    pass
for number in range(20):
    try:
        print(KeyRing.create(folder / f"ring-{number}", None).node_id)
    except KeyRingExistsError as error:
        print("exists")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of known secrets under the password "secret"."""
    path = tmp_path_factory.mktemp("rings") / "keyring.json"
    KeyRing(SEED, SEALING).save(path, "secret")
    return path


# --- sealing and signing -----------------------------------------------------------------------


@given(st.binary(), st.binary())
def test_what_was_sealed_is_unsealed(plaintext: bytes, context: bytes) -> None:
    sealed = RING.seal(plaintext, context)

    assert RING.unseal(sealed, context) == plaintext


def test_the_same_text_is_sealed_differently_each_time() -> None:
    assert len({RING.seal(b"plain", b"context") for _ in range(100)}) == 100


@given(st.binary(), st.binary(), st.binary())
def test_what_was_sealed_for_one_place_is_not_unsealed_at_another(
    plaintext: bytes, context: bytes, other: bytes
) -> None:
    sealed = RING.seal(plaintext, context + b".")

    with pytest.raises(SealError):
        RING.unseal(sealed, other)


def test_another_key_ring_does_not_unseal_it() -> None:
    with pytest.raises(SealError):
        OTHER.unseal(RING.seal(b"plain", b""), b"")


@given(st.data())
def test_an_altered_sealed_text_is_not_unsealed(data: st.DataObject) -> None:
    sealed = bytearray(RING.seal(b"p" * 32, b"context"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SealError):
        RING.unseal(bytes(sealed), b"context")


@given(st.binary(max_size=100))
def test_what_was_never_sealed_is_not_unsealed(sealed: bytes) -> None:
    with pytest.raises(SealError):
        RING.unseal(sealed, b"context")


@given(st.binary())
def test_anybody_can_check_a_signature_by_the_node_id(message: bytes) -> None:
    assert is_signed_by(RING.node_id, RING.sign(message), message)


@given(st.binary(), st.binary())
def test_a_signature_is_good_for_its_message_only(message: bytes, other: bytes) -> None:
    signature = RING.sign(message + b".")

    assert not is_signed_by(RING.node_id, signature, other + b"!")


@given(st.binary())
def test_a_signature_is_good_for_its_node_only(message: bytes) -> None:
    assert not is_signed_by(OTHER.node_id, RING.sign(message), message)


@given(st.binary(max_size=100))
def test_other_bytes_are_no_signature(signature: bytes) -> None:
    assert not is_signed_by(RING.node_id, signature, b"message")


def test_who_has_no_node_id_has_signed_nothing() -> None:
    assert not is_signed_by("v123", RING.sign(b""), b"")


def test_it_is_what_the_rest_of_the_code_asks_for() -> None:
    assert isinstance(RING, KeyRingLike)


# --- what it never shows -----------------------------------------------------------------------


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda ring: f"{ring!r:s}"])
def test_it_shows_its_node_id_and_nothing_else(show: Callable[[object], str]) -> None:
    assert show(golden.KEY_RING) == f"<KeyRing of {golden.NODE_ID}>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(RING, protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_it_cannot_be_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        duplicate(RING)


def test_it_has_no_dict_of_its_secrets() -> None:
    with pytest.raises(TypeError):
        vars(RING)


@pytest.mark.parametrize("secret", [SEED, SEALING, SEED + SEALING])
def test_g6_without_the_password_no_key_can_be_had_from_the_file(
    protected: Path, secret: bytes
) -> None:
    content = protected.read_bytes()

    spellings = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):  # base64 of the secret as it would stand amid other bytes
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spellings.append(encode(bytes(shift) + secret)[4 if shift else 0 : -4])
    assert not [spelling for spelling in spellings if spelling in content]


# --- making one --------------------------------------------------------------------------------


def test_there_is_no_key_ring_where_none_was_made(path: Path) -> None:
    with pytest.raises(KeyRingNotFoundError, match="keyturn init"):
        KeyRing.open(path, None)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("x")])
def test_nothing_is_ever_overwritten_by_a_new_key_ring(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    before = path.lstat()

    with pytest.raises(KeyRingExistsError):
        KeyRing.create(path, None)

    assert path.lstat() == before


def test_its_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "a" / "keyring.json", None)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_of_two_processes_that_make_one_at_once_exactly_one_wins(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), name], stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    while len(list(tmp_path.glob("ready-*"))) < 2:
        time.sleep(0.01)
    (tmp_path / "go").touch()

    outcomes = [process.communicate(timeout=30)[0].split() for process in processes]

    winners = [KeyRing.open(tmp_path / f"ring-{number}", None).node_id for number in range(20)]
    assert [sorted(pair) for pair in zip(*outcomes, strict=True)] == [
        sorted(("exists", winner)) for winner in winners
    ]


def test_a_killed_writers_temp_file_is_swept_by_the_next(path: Path) -> None:
    left_behind = path.with_name(f".{path.name}.0123.tmp")
    left_behind.write_bytes(b"half")

    KeyRing.create(path, None)

    assert sorted(os.listdir(path.parent)) == [f".{path.name}.lock", path.name]


# --- kept promises -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "password"), [(golden.OPEN_KEY_RING, None), (golden.LOCKED_KEY_RING, "golden")]
)
def test_g7_the_key_rings_of_version_0_1_are_opened(
    path: Path, content: bytes, password: str | None
) -> None:
    path.write_bytes(content)
    path.chmod(0o600)

    opened = KeyRing.open(path, password)

    assert opened.node_id == golden.NODE_ID
    assert opened.unseal(golden.KEY_RING.seal(b"plain", b""), b"") == b"plain"
