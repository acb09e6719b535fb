"""G7: Replaying a log gives the same state, whatever version of this software wrote it.

`tests/old_logs` holds one exported log for each version of the schema that was ever released.
Never make one anew: a test that fails on it has found a broken promise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from eventsourcing.persistence import StoredEvent

import keyturn
from keyturn import EventLog, KeyRing, Service, SessionKeys
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_ring import unseal_key
from keyturn.domain.session_keys import KINDS, Origin, manager_id
from keyturn.projections.audit import audit
from keyturn.projections.export import lines_of, read_lines
from keyturn.projections.head_reader import HeadReader
from tests.domain.builders import OLD_LOGS, old_rows

FILES = sorted(path.name for path in OLD_LOGS.iterdir())
KEY_RING = KeyRing(bytes(32), bytes(range(32)))
WITH_KEY = (SessionKeys.KeyGenerated, SessionKeys.KeyReset, SessionKeys.KeyRotated)


@dataclass(frozen=True)
class Expected:
    """What a log must say of its manager `default`, and what it says of others.

    Attributes:
        changes: a row an event: kind, generation, key id, reason.
        since: from where on the log must be read for the state after each.
        secrets: of each generation.
        retiring: generations that were in overlap after a rotation, by its generation.
        kinds: that there were.
        digest: of the newest event.
        ended: whether sessions (sid, subject, position when it began) are ended at the end.
        others: the positions of the events of other managers.
    """

    changes: list[tuple[str, int, str, str | None]]
    since: list[int]
    secrets: dict[int, bytes]
    retiring: dict[int, list[int]]
    kinds: set[str]
    digest: str
    ended: dict[tuple[str, str, int], bool]
    others: dict[str, list[int]]


EXPECTED = {
    "v1.jsonl": Expected(
        changes=[
            ("generated", 1, "hx8dT_SPR9shY9eN", None),
            ("reset", 2, "E2UWn_a2HLKEC190", "laptop stolen – «naïve» 密钥"),
            ("rotated", 3, "B_kAUuYoGkkDZ2YW", "monthly"),
            ("rotated", 4, "DJV-WLJJECsajISj", "again"),
            ("destroyed", 4, "DJV-WLJJECsajISj", "\u202eend\0\n"),
            ("generated", 5, "KHRInOB6CQIJ-qKU", "back again"),
        ],
        since=[1, 2, 3, 4, 5, 6],
        secrets={number: bytes([number]) * 32 for number in range(1, 6)},
        retiring={3: [2], 4: [3, 2]},
        kinds={"generated", "reset", "rotated", "destroyed"},
        digest="2841a66c71729f47ca0e1f0f555484cd522236570cfb78be12054943767c1182",
        ended={("sid-one", "alice", 0): False},
        others={},
    ),
    "v2.jsonl": Expected(
        changes=[
            ("generated", 1, "hx8dT_SPR9shY9eN", None),
            ("session ended", 1, "hx8dT_SPR9shY9eN", "logout"),
            ("sessions ended", 1, "hx8dT_SPR9shY9eN", "password changed – «naïve» 密钥"),
            ("rotated", 2, "E2UWn_a2HLKEC190", "monthly"),
            ("sessions ended", 2, "E2UWn_a2HLKEC190", None),
            ("session ended", 2, "E2UWn_a2HLKEC190", "\u202eend\0\n"),
            ("rotated", 3, "B_kAUuYoGkkDZ2YW", "again"),
            ("reset", 4, "DJV-WLJJECsajISj", "rollback accepted"),
            ("session ended", 4, "DJV-WLJJECsajISj", None),
            ("destroyed", 4, "DJV-WLJJECsajISj", "the end"),
            ("generated", 5, "KHRInOB6CQIJ-qKU", "back again"),
            ("session ended", 5, "KHRInOB6CQIJ-qKU", "logout"),
            ("rotated", 6, "veagYtjPmV9dKKIj", None),
            ("sessions ended", 6, "veagYtjPmV9dKKIj", None),
        ],
        since=[1, 1, 1, 2, 2, 2, 2, 8, 8, 10, 11, 11, 12, 12],
        secrets={number: bytes([number]) * 32 for number in range(1, 7)},
        retiring={2: [1], 3: [1], 6: [5]},
        kinds=set(KINDS),
        digest="3672074bd064dcfc667ec72ee409bafb1d405e44706f499b67225588e601aeff",
        ended={
            ("sid-one", "alice", 0): False,  # by keys that are gone
            ("sid-four", "alice", 11): True,
            ("sid-x", "carol", 13): True,
            ("sid-x", "carol", 14): False,
            ("sid-kept", "carol", 13): False,
        },
        others={"purged": [2, 3]},
    ),
}


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(name: str, store_url: str) -> Iterator[EventLog]:
    """The old log, imported by this version, on each kind of store."""
    log = keyturn.open_event_log(store_url)
    restore(log, name)
    yield log
    log.close()


def state_of(keys: SessionKeys, events: list[KeyEvent]) -> dict[str, object]:
    """The state, and what it says of every session that these events could mean."""
    state = dict(vars(keys))
    assert state.pop("_pending_events") == []
    del state["_created_on"]  # who begins in the middle does not know when it all began
    ended = state.pop("ended")
    sids = {getattr(e, "sid", None) or getattr(e, "keep", None) or "another" for e in events}
    subjects = {getattr(event, "subject", None) or "another" for event in events}
    return state | {
        "ended": {
            (sid, subject, began)
            for sid, subject, began in product(sids, subjects, range(len(events) + 1))
            if ended.covers(sid, subject, began)
        },
        "number of ends": len(ended),
        "oldest end": ended.oldest,
    }


def test_every_old_log_has_expectations_and_the_other_way_round() -> None:
    assert sorted(EXPECTED) == FILES


def test_the_changes_are_what_they_were(log: EventLog, name: str) -> None:
    events = list(log.key_events("default"))

    found = [(event.kind, event.generation, event.key_id, event.reason) for event in events]
    assert found == EXPECTED[name].changes


def test_an_old_log_has_all_kinds_of_events_of_its_time(log: EventLog, name: str) -> None:
    kinds = {event.kind for event in log.key_events("default")}

    assert kinds == EXPECTED[name].kinds


def test_histories_of_other_managers_are_what_they_were(log: EventLog, name: str) -> None:
    for manager, positions in EXPECTED[name].others.items():
        events = list(log.key_events(manager))

        assert [event.originator_version for event in events] == positions


def test_the_record_holds(log: EventLog) -> None:
    report = audit(log, node_id=KEY_RING.node_id)

    assert (report.holds, report.findings) == (True, ())


def test_a_full_replay_gives_the_state_that_reading_from_since_on_gives(log: EventLog) -> None:
    events = list(log.key_events("default"))

    replayed: SessionKeys = log.repository.get(manager_id("default"))

    assert state_of(replayed, events) == state_of(keys_at_the_end(log), events)


def test_from_where_on_it_must_be_read_is_what_it_was(log: EventLog, name: str) -> None:
    events = list(log.key_events("default"))

    states = [SessionKeys.fold(events[: number + 1]) for number in range(len(events))]

    assert [event.since for event in events] == EXPECTED[name].since
    assert [keys.since for keys in states] == EXPECTED[name].since


def test_the_state_at_the_end_is_what_it_was(log: EventLog, name: str) -> None:
    keys, expected = keys_at_the_end(log), EXPECTED[name]

    _, generation, key_id, _ = expected.changes[-1]
    assert (keys.version, keys.generation, keys.key_id) == (
        len(expected.changes),
        generation,
        key_id,
    )
    assert (keys.node_id, keys.digest) == (KEY_RING.node_id, expected.digest)
    assert {session: keys.ended.covers(*session) for session in expected.ended} == expected.ended


def test_the_state_at_every_position_replays(log: EventLog, name: str) -> None:
    for position, (kind, generation, key_id, _) in enumerate(EXPECTED[name].changes, 1):
        keys: SessionKeys = log.repository.get(manager_id("default"), version=position)

        assert (keys.generation, keys.key_id) == (generation, key_id)
        assert keys.is_destroyed == (kind == "destroyed")


def test_every_sealed_key_unseals(log: EventLog, name: str) -> None:
    opened = {
        event.generation: unseal_key(
            KEY_RING, event.sealed_key, "default", event.generation, event.key_id
        )
        for event in log.key_events("default")
        if isinstance(event, WITH_KEY)
    }

    assert opened == EXPECTED[name].secrets


def test_keys_in_their_overlap_unseal_too(log: EventLog, name: str) -> None:
    rotations = [e for e in log.key_events("default") if isinstance(e, SessionKeys.KeyRotated)]

    opened = [
        unseal_key(KEY_RING, key.sealed_key, "default", key.generation, key.key_id)
        for event in rotations
        for key in event.retiring
    ]

    assert {e.generation: [k.generation for k in e.retiring] for e in rotations} == (
        EXPECTED[name].retiring
    )
    assert opened == [
        EXPECTED[name].secrets[generation]
        for generations in EXPECTED[name].retiring.values()
        for generation in generations
    ]


def test_an_old_log_goes_on(log: EventLog) -> None:
    keys = keys_at_the_end(log).draft()
    before = keys.generation

    keys.reset(bytes(32), KEY_RING, by_now())
    appended = log.append(keys)

    assert appended
    assert keys_at_the_end(log).generation == before + 1


def test_the_rows_of_an_old_log_stay_as_they_are(log: EventLog, name: str) -> None:
    written = old_rows(name)
    keys = keys_at_the_end(log).draft()
    keys.end_sessions("alice", KEY_RING, by_now())

    log.append(keys)

    stored = log.stored("default")
    assert [(row.topic, row.state) for row in stored[:-1]] == [
        (row.topic, row.state) for row in written
    ]


def test_each_digest_is_that_of_the_bytes_as_they_are_stored(log: EventLog) -> None:
    expected = [digest_of(row) for row in log.stored("default")]

    assert [event.digest for event in log.key_events("default")] == expected


def digest_of(row: StoredEvent) -> str:
    """The digest of a row as version 0.1 documents it, by nothing of ours."""
    state = {name: value for name, value in json.loads(row.state).items() if name != "signature"}
    members = {
        "originator_id": manager_id("default").hex,
        "originator_version": row.originator_version,
        "state": state,
        "topic": row.topic,
    }
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"keyturn event digest v1\0" + text.encode()).hexdigest()


@pytest.mark.parametrize("name", FILES)
def test_a_service_goes_on_with_an_old_log_and_opens_it_again(
    tmp_path: Path, shared_url: str, name: str
) -> None:
    log = keyturn.open_event_log(shared_url)
    restore(log, name)
    log.close()
    kinds = [kind for kind, *_ in EXPECTED[name].changes]
    with open_service(tmp_path, shared_url, trust_log=True) as service:
        kept, ended = service.create_token(subject="alice"), service.create_token(subject="bob")
        service.end_session(ended)
        service.rotate_key(overlap=60)
        service.end_sessions("alice", keep=kept)
        is_good = [service.verify_token(token) for token in (kept, ended)]

    with open_service(tmp_path, shared_url) as again:
        assert [again.verify_token(token) for token in (kept, ended)] == is_good == [True, False]
        assert [change.kind for change in again.history()] == [
            *kinds,
            "session ended",
            "rotated",
            "sessions ended",
        ]
        assert again.audit().findings == ()
        again.reset_key()
        assert not again.verify_token(kept)
        assert again.audit().holds


def restore(log: EventLog, name: str) -> None:
    with (OLD_LOGS / name).open("rb") as file:
        log.restore(read_lines(lines_of(file), KEY_RING.node_id))


def open_service(folder: Path, url: str, *, trust_log: bool = False) -> Service:
    return keyturn.open(path=folder, store=url, key_ring=KEY_RING, trust_log=trust_log)


def keys_at_the_end(log: EventLog) -> SessionKeys:
    return HeadReader(log, "default", KEY_RING.node_id).get().keys


def by_now() -> Origin:
    return Origin.now("tester@here", "a newer version")
