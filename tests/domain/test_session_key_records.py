"""What an event records: sealed keys, who and why; and what cannot be recorded."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import KeyRing
from keyturn.domain.errors import (
    AuditTextError,
    SealError,
)
from keyturn.domain.key_ring import key_id_of, unseal_key
from keyturn.domain.limits import MAX_INITIATOR, MAX_NAME, MAX_REASON, check_name
from keyturn.domain.session_keys import Origin, manager_id
from tests.domain import golden
from tests.domain.builders import NOON, history, mapper, new_keys, origin, secret

RING = KeyRing.ephemeral()
MAPPER = mapper()


# --- sealed keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"key_ring": KeyRing.ephemeral()},
        {"manager": "other"},
        {"generation": 2},
        {"key_id": key_id_of(secret(2))},
    ],
    ids=["key ring", "manager", "generation", "key id"],
)
def test_a_sealed_key_cannot_be_unsealed_elsewhere(elsewhere: dict[str, Any]) -> None:
    keys = new_keys(RING)
    place = {"manager": "default", "generation": 1, "key_id": keys.key_id, "key_ring": RING}

    with pytest.raises(SealError):
        unseal_key(**{"sealed_key": keys.sealed_key, **place, **elsewhere})


@given(st.text(max_size=60))
def test_other_text_is_no_sealed_key(text: str) -> None:
    with pytest.raises(SealError):
        unseal_key(RING, text, "default", 1, key_id_of(secret(1)))


def test_a_key_is_sealed_under_its_own_key_id_only() -> None:
    context = b'["keyturn sealed key v1","default",1,"' + key_id_of(secret(1)).encode() + b'"]'
    sealed = base64.urlsafe_b64encode(RING.seal(secret(2), context)).decode()

    with pytest.raises(SealError, match="not the one that its key id names"):
        unseal_key(RING, sealed, "default", 1, key_id_of(secret(1)))


def test_no_event_shows_a_key() -> None:
    shown = repr(history(RING)) + repr([vars(event) for event in history(RING)])

    assert secret(1).hex() not in shown
    assert repr(secret(1)) not in shown


def test_key_ids_are_96_bits_of_base64url_and_what_they_have_always_been() -> None:
    assert key_id_of(golden.SECRETS[0]) == "hx8dT_SPR9shY9eN"


def test_the_id_of_a_manager_is_what_it_has_always_been() -> None:
    assert manager_id("default") == golden.MANAGER_ID
    assert manager_id("other") != golden.MANAGER_ID


# --- what is recorded --------------------------------------------------------------------------


def test_who_did_it_when_and_why_is_recorded() -> None:
    keys = new_keys(RING)

    keys.reset(secret(2), RING, Origin("alice", "laptop stolen", NOON))

    event: Any = keys.pending_events[-1]
    assert (event.initiator, event.reason, event.timestamp) == ("alice", "laptop stolen", NOON)
    assert (event.node_id, event.recorded_by) == (RING.node_id, None)


def test_the_user_of_the_operating_system_is_recorded_beside_whoever_says_it_was_them() -> None:
    keys = new_keys(RING)

    keys.reset(secret(2), RING, Origin("alice", None, NOON, recorded_by="deploy@web-1"))

    event: Any = MAPPER.to_domain_event(MAPPER.to_stored_event(keys.pending_events[-1]))
    assert (event.initiator, event.recorded_by) == ("alice", "deploy@web-1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reason", "x" * (MAX_REASON + 1)),
        ("reason", "lone \ud800 surrogate"),
        ("reason", 7),
        ("initiator", "x" * (MAX_INITIATOR + 1)),
        ("initiator", "\udfff"),
        ("initiator", None),
        ("initiator", b"alice"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_text_that_cannot_be_recorded_is_refused(field: str, value: Any) -> None:
    keys = new_keys(RING)

    with pytest.raises(AuditTextError) as caught:
        keys.reset(secret(2), RING, dataclasses.replace(origin(1), **{field: value}))

    assert (caught.value.field, keys.generation) == (field, 1)


def test_a_text_of_just_the_right_length_is_recorded_whole() -> None:
    keys = new_keys(RING)

    keys.reset(secret(2), RING, Origin("i" * MAX_INITIATOR, "r" * MAX_REASON, NOON))

    event: Any = keys.pending_events[-1]
    assert (len(event.initiator), len(event.reason)) == (255, 1000)


@given(st.text(max_size=30), st.none() | st.text(max_size=30))
def test_any_text_is_recorded_as_it_is(initiator: str, reason: str | None) -> None:
    keys = new_keys(RING, by=Origin(initiator, reason, NOON))

    mapped: Any = MAPPER.to_domain_event(MAPPER.to_stored_event(keys.pending_events[0]))

    assert (mapped.initiator, mapped.reason) == (initiator, reason)


BAD_NAMES = ["", " ", "\t", "a\nb", "\0", "x" * (MAX_NAME + 1), "\ud800", None, 7, b"default"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:12])
def test_what_is_no_name_names_no_manager(name: Any) -> None:
    with pytest.raises(AuditTextError) as caught:
        new_keys(RING, name)

    assert caught.value.field == "name"


@pytest.mark.parametrize("name", ["default", "x" * MAX_NAME, "büro 7", "管理"])
def test_printable_text_names_a_manager(name: str) -> None:
    assert check_name(name) == name
    assert new_keys(RING, name).manager == name
