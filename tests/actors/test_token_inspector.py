"""What is known of a token is found in any history, and a forged one costs a bounded reading."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from keyturn import EventLog, KeyRing, Refusal
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.token_inspector import TokenInspector
from keyturn.config.memory import MemoryStore
from keyturn.domain import chain, tokens
from keyturn.domain.errors import LogDamagedError, LogRolledBackError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_ring import key_id_of
from keyturn.domain.mark import Mark
from keyturn.domain.options import ManagerOptions
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.domain.tokens import SessionKey, SigningKey
from keyturn.projections.key_lifetimes import NEARBY, NEWEST
from tests.actors.reading import claims_of
from tests.domain.builders import new_keys, secret

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


class CountingStore(MemoryStore):
    """Counts the rows that were read of streams."""

    rows_read = 0

    def select_events(self, *args: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        found = super().select_events(*args, **kwargs)
        type(self).rows_read += len(found)
        return found


@pytest.fixture
def log() -> EventLog:
    return EventLog(CountingStore, "memory:")


@pytest.fixture
def keys(log: EventLog, key_ring: KeyRing) -> SessionKeys:
    """The keys of a manager whose first key is secret number 1."""
    keys = new_keys(key_ring, by=at(0))
    assert log.append(keys)
    return keys


@pytest.fixture
def inspector(log: EventLog, key_ring: KeyRing) -> TokenInspector:
    return inspector_of(log, key_ring)


def inspector_of(log: EventLog, key_ring: KeyRing, anchor: Any = None) -> TokenInspector:
    options = ManagerOptions()
    return ManagerParts(log, key_ring, options, anchor=anchor).inspector


def at(minutes: float, reason: str | None = None) -> Origin:
    return Origin("alice", reason, START + timedelta(minutes=minutes))


def moment(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def token_of(
    number: int, generation: int, minutes: float = 0, began: Any = "absent", key: str = ""
) -> str:
    """A token of alice, signed with the secret of a number; `began` is its `keyturn_pos`."""
    signing_key = SigningKey(
        SessionKey(generation, key or key_id_of(secret(number)), secret(number))
    )
    token = tokens.mint(signing_key, "vnode", "alice", 0, moment(minutes).timestamp(), None)
    claims = claims_of(token)
    del claims["keyturn_pos"]
    if began != "absent":
        claims["keyturn_pos"] = began
    header = signing_key.encoded_header
    payload = urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
    return b".".join((header, payload, signing_key.signature(payload))).decode()


def sid_of(inspector: TokenInspector, token: str) -> str:
    claims = inspector.inspect(token).claims
    assert claims is not None
    return str(claims["sid"])


# --- ended sessions ----------------------------------------------------------------------------


def test_a_token_of_an_ended_session_says_who_ended_it_when_and_why(
    inspector: TokenInspector, log: EventLog, keys: SessionKeys, key_ring: KeyRing
) -> None:
    token = token_of(1, 1)
    keys.end_session("another", key_ring, at(1))
    keys.end_session(sid_of(inspector, token), key_ring, at(2, "logout"), subject="alice")
    log.append(keys)

    report = inspector.inspect(token)

    assert (report.valid, report.refusal) == (False, Refusal.SESSION_ENDED)
    assert (report.revoked_at, report.revoked_by, report.revoked_because) == (
        moment(2),
        "alice",
        "logout",
    )


def test_a_token_was_good_until_its_session_was_ended(
    inspector: TokenInspector, log: EventLog, keys: SessionKeys, key_ring: KeyRing
) -> None:
    token = token_of(1, 1)
    keys.end_session(sid_of(inspector, token), key_ring, at(10))
    keys.reset(secret(2), key_ring, at(20))
    log.append(keys)

    refusals = [inspector.inspect(token, moment(minutes)).refusal for minutes in (5, 10, 30)]

    assert refusals == [None, Refusal.SESSION_ENDED, Refusal.SESSION_ENDED]
    assert inspector.inspect(token).refusal is Refusal.SESSION_ENDED


@pytest.mark.parametrize(
    ("began", "refusal"),
    [(1, Refusal.SESSION_ENDED), (2, None), ("absent", Refusal.SESSION_ENDED)],
)
def test_the_end_of_all_sessions_of_a_subject_counts_for_those_that_had_begun(
    inspector: TokenInspector,
    log: EventLog,
    keys: SessionKeys,
    key_ring: KeyRing,
    began: Any,
    refusal: Refusal | None,
) -> None:
    keys.end_sessions("alice", key_ring, at(1, "password changed"))
    log.append(keys)

    report = inspector.inspect(token_of(1, 1, began=began))

    assert report.refusal is refusal
    assert report.revoked_because == (None if refusal is None else "password changed")


@pytest.mark.parametrize("began", [-1, 10**6, True, "1", 1.0, None])
def test_a_position_that_is_none_counts_as_the_beginning(
    inspector: TokenInspector, log: EventLog, keys: SessionKeys, key_ring: KeyRing, began: Any
) -> None:
    keys.end_sessions("alice", key_ring, at(1))
    log.append(keys)

    assert inspector.inspect(token_of(1, 1, began=began)).refusal is Refusal.SESSION_ENDED


def test_a_reset_after_which_the_session_would_have_ended_is_what_ended_it(
    inspector: TokenInspector, log: EventLog, keys: SessionKeys, key_ring: KeyRing
) -> None:
    token = token_of(1, 1)
    sid = sid_of(inspector, token)
    keys.reset(secret(2), key_ring, at(1, "laptop stolen"))
    keys.end_session(sid, key_ring, at(2, "too late"))
    log.append(keys)

    report = inspector.inspect(token)

    assert (report.refusal, report.revoked_because) == (Refusal.REVOKED, "laptop stolen")


def test_a_forged_end_of_a_session_is_not_told(
    inspector: TokenInspector, log: EventLog, keys: SessionKeys, key_ring: KeyRing
) -> None:
    token = token_of(1, 1)
    keys.end_session(sid_of(inspector, token), key_ring, at(1, "honest"))
    keys.reset(secret(2), key_ring, at(2))
    log.append(keys)
    store = log.recorder
    assert isinstance(store, MemoryStore)
    [row] = store.select_events(keys.id, gt=1, lte=2)
    forged = StoredEvent(
        row.originator_id,
        2,
        row.topic,
        chain.encode_state({**chain.decode_state(row), "reason": "forged"}),
    )
    store._streams[keys.id][2] = forged

    with pytest.raises(LogDamagedError) as caught:
        inspector_of(log, key_ring).inspect(token)

    assert caught.value.position == 2
    assert "forged" not in str(caught.value)


# --- a long history ----------------------------------------------------------------------------


@pytest.fixture
def long_history(log: EventLog, keys: SessionKeys, key_ring: KeyRing) -> list[KeyEvent]:
    """3,000 ends of sessions with a reset every 1,000, half a second apart."""
    for number in range(2, 3_000):
        by = at(number / 120)
        if number % 1000:
            keys.end_session(f"s{number}", key_ring, by)
        else:
            keys.reset(secret(number), key_ring, by)
    log.append(keys)
    return [event for event in log.key_events("default") if event.makes_a_key]


def test_a_token_of_any_key_is_found_though_ends_of_sessions_stand_between(
    inspector: TokenInspector, long_history: list[KeyEvent]
) -> None:
    numbers = [1, *range(1000, 3_000, 1000)]

    reports = [
        inspector.inspect(token_of(number, event.generation, number / 120 + 4))
        for number, event in zip(numbers, long_history, strict=True)
    ]

    assert [report.generation for report in reports] == [1, 2, 3]
    assert [report.refusal for report in reports] == [Refusal.REVOKED] * 2 + [None]
    ended = [event.timestamp for event in long_history[1:]]
    assert [report.revoked_at for report in reports] == [*ended, None]


def test_a_forged_kid_is_of_an_unknown_key_and_little_is_read_for_it(
    inspector: TokenInspector, long_history: list[KeyEvent]
) -> None:
    token = token_of(1, 1, 10, key="AAAAAAAAAAAAAAAA")
    inspector.inspect(token)
    CountingStore.rows_read = 0

    report = inspector.inspect(token)

    assert report.refusal is Refusal.UNKNOWN_KEY
    assert CountingStore.rows_read < NEWEST + NEARBY + 100


def test_an_inspection_refuses_a_log_that_ends_before_the_anchor(
    log: EventLog, keys: SessionKeys, key_ring: KeyRing
) -> None:
    class Ahead:
        def peek(self, manager: str) -> int:
            return 2

        def read(self, manager: str) -> Mark:
            return Mark(2, "f" * 64, "")

    inspector = inspector_of(log, key_ring, anchor=Ahead())

    with pytest.raises(LogRolledBackError):
        inspector.inspect(token_of(1, 1))
