"""docs/spec says what Keyturn reads: it accepts every good vector, and refuses every bad one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from keyturn.config.anchor import Anchor, folder_of
from keyturn.config.local_key_ring import KeyRing
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.ended_sessions import EndedSessions
from keyturn.domain.errors import KeyturnError, TokenRefusedError
from keyturn.domain.key_ring import is_signed_by, key_id_of, unseal_key
from keyturn.domain.limits import check_name
from keyturn.domain.node import decode_node_id, encode_node_id
from keyturn.domain.session_keys import manager_id
from keyturn.domain.stored_events import read_genuine
from keyturn.domain.tokens import KeySet, SessionKey, SigningKey, verify
from keyturn.projections.export import read_lines
from tests.spec.make_vectors import FILES, FOLDER

Vector = dict[str, Any]


def vectors(name: str) -> list[Any]:
    found = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["vectors"]
    return [pytest.param(vector, id=vector["why"]) for vector in found]


def refusal_of(vector: Vector) -> AbstractContextManager[object]:
    """Expects an error of a bad vector, and none of a good one."""
    return contextlib.nullcontext() if vector["good"] else pytest.raises(KeyturnError)


@pytest.mark.parametrize("vector", vectors("node_ids"))
def test_node_ids(vector: Vector) -> None:
    with refusal_of(vector):
        public_key = decode_node_id(vector["node_id"])

        assert public_key.hex() == vector["public_key"]
        assert encode_node_id(public_key) == vector["node_id"]


@pytest.mark.parametrize("vector", vectors("streams"))
def test_streams(vector: Vector) -> None:
    with refusal_of(vector):
        assert manager_id(check_name(vector["manager"])).hex == vector["stream"]


@pytest.mark.parametrize("vector", vectors("sealed_keys"))
def test_sealed_keys(vector: Vector) -> None:
    ring = KeyRing(bytes(32), bytes.fromhex(vector["sealing_key"]))
    place = vector["manager"], vector["generation"], vector["key_id"]
    with refusal_of(vector):
        assert unseal_key(ring, vector["sealed_key"], *place).hex() == vector["key"]


@pytest.mark.parametrize("vector", vectors("events"))
def test_events(vector: Vector) -> None:
    row = vector["row"]
    id_, state = UUID(row["originator_id"]), row["state"].encode()
    with refusal_of(vector):
        stored = StoredEvent(id_, row["originator_version"], row["topic"], state)
        assert read_genuine(stored, vector["node_id"]).digest == vector["digest"]


@pytest.mark.parametrize("vector", vectors("exports"))
def test_exports(vector: Vector) -> None:
    lines = [line.encode() for line in vector["lines"]]
    with refusal_of(vector):
        events = list(read_lines(lines, vector["node_id"]))

        assert len(events) == len(lines) - 2


@pytest.mark.parametrize("vector", vectors("checkpoints"))
def test_checkpoints(vector: Vector) -> None:
    with refusal_of(vector):
        found = Checkpoint.parse(vector["line"])

        assert (found.manager, found.position) == (vector["manager"], vector["position"])


@pytest.mark.parametrize("vector", vectors("anchors"))
def test_anchors(vector: Vector, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor", vector["node_id"])
    anchor.create()
    file = folder_of(anchor.path) / vector["file"]
    file.touch(0o600)
    file.write_bytes(vector["content"].encode())
    with refusal_of(vector):
        mark = anchor.read(vector["manager"])

        assert mark is not None
        assert mark.position == vector["position"]


@pytest.mark.parametrize("vector", vectors("key_rings"))
def test_key_rings(vector: Vector, tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    path.touch(0o600)
    path.write_text(vector["file"], "utf-8")
    with refusal_of(vector):
        ring = KeyRing.open(path, vector["password"])

        expected = KeyRing(*(bytes.fromhex(vector[name]) for name in ("seed", "sealing_key")))
        assert ring.node_id == expected.node_id
        assert expected.unseal(ring.seal(b"a", b"b"), b"b") == b"a"


@pytest.mark.parametrize("vector", vectors("tokens"))
def test_tokens(vector: Vector) -> None:
    secret = bytes.fromhex(vector["key"])
    key = SigningKey(SessionKey(1, key_id_of(secret), secret))
    keys = KeySet(key, {key.header: (key, None)}, EndedSessions(), 1)
    with refusal_of(vector) as refused:
        verify(vector["token"], keys, vector["now"])

    if isinstance(refused, pytest.ExceptionInfo):
        assert isinstance(refused.value, TokenRefusedError)
        assert refused.value.reason.value == vector["reason"]


def test_every_file_of_vectors_is_tested_and_can_be_made_again() -> None:
    made = {
        f"{name}.json": json.dumps(
            {"about": about, "vectors": make()}, indent=1, ensure_ascii=False
        )
        for name, (about, make) in FILES.items()
    }

    found = {path.name: path.read_text("utf-8").rstrip("\n") for path in FOLDER.iterdir()}

    assert found == made


# --- the worked examples ----------------------------------------------------------------------


def examples(page: str) -> dict[str, str]:
    """The titled code blocks of a page."""
    text = (FOLDER.parent / page).read_text("utf-8")
    return dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)\n```$', text, re.M | re.S))


def test_the_worked_example_of_an_event_is_right_to_the_byte() -> None:
    shown = examples("event.md")
    state, row = json.loads(shown["state"]), shown["row"].encode()
    signed = bytes.fromhex(shown["signed bytes"].replace("\n", ""))
    signature = bytes.fromhex(shown["signature"].replace("\n", ""))
    without = {name: value for name, value in state.items() if name != "signature"}

    assert json.loads(row)["state"] == without
    digest = hashlib.sha256(b"keyturn event digest v1\0" + row).hexdigest()
    assert (len(row), digest) == (508, shown["digest"])
    statement = f'["03bcfb47ef625ed9b4b77744c38f82b3",2,"{digest}"]'
    assert signed == b"keyturn event at position v1\0" + statement.encode()
    assert len(signed) == 134
    assert base64url(signature) == state["signature"]
    assert is_signed_by(state["node_id"], signature, signed)


def test_the_example_of_a_token_is_the_first_vector() -> None:
    shown = examples("token.md")
    first = json.loads((FOLDER / "tokens.json").read_text("utf-8"))["vectors"][0]

    payload = shown["token"].split(".")[1]

    assert shown["token"] == first["token"]
    assert payload == base64url(shown["payload"].encode())


def test_the_example_of_a_checkpoint_is_the_first_vector() -> None:
    first = json.loads((FOLDER / "checkpoints.json").read_text("utf-8"))["vectors"][0]

    assert examples("anchor.md")["checkpoint"] == first["line"]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
