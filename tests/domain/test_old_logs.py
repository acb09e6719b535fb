"""G7: Replaying a log gives the same state, whatever version of this software wrote it.

`tests/old_logs` holds one exported log for each version of the schema that was ever released.
Never make one anew: a test that fails on it has found a broken promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import keyturn
from keyturn import EventLog, KeyRing, SessionKeys
from keyturn.domain.key_ring import unseal_key
from keyturn.domain.session_keys import KINDS, Origin, manager_id
from keyturn.projections.export import lines_of, read_lines

FOLDER = Path(__file__).parent.parent / "old_logs"
FILES = sorted(path.name for path in FOLDER.iterdir())
KEY_RING = KeyRing(bytes(32), bytes(range(32)))
WITH_KEY = (SessionKeys.KeyGenerated, SessionKeys.KeyReset, SessionKeys.KeyRotated)


@dataclass(frozen=True)
class Expected:
    """What a log must say: a row a change (kind, generation, key id, reason), and its end."""

    changes: list[tuple[str, int, str, str | None]]
    secrets: dict[int, bytes]
    retiring: dict[int, list[int]]
    digest: str


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
        secrets={number: bytes([number]) * 32 for number in range(1, 6)},
        retiring={3: [2], 4: [3, 2]},
        digest="2841a66c71729f47ca0e1f0f555484cd522236570cfb78be12054943767c1182",
    ),
}


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(name: str, store_url: str) -> Iterator[EventLog]:
    """The old log, imported by this version, on each kind of store."""
    log = keyturn.open_event_log(store_url)
    with (FOLDER / name).open("rb") as file:
        log.restore(read_lines(lines_of(file), KEY_RING.node_id))
    yield log
    log.close()


def state_of(keys: SessionKeys | None) -> dict[str, object]:
    assert keys is not None
    state = dict(vars(keys))
    assert state.pop("_pending_events") == []
    return state


def test_every_old_log_has_expectations_and_the_other_way_round() -> None:
    assert sorted(EXPECTED) == FILES


def test_the_changes_are_what_they_were(log: EventLog, name: str) -> None:
    events = list(log.key_events("default"))

    found = [(event.kind, event.generation, event.key_id, event.reason) for event in events]
    assert found == EXPECTED[name].changes


def test_an_old_log_has_all_kinds_of_events_of_its_time(log: EventLog) -> None:
    kinds = {event.kind for event in log.key_events("default")}

    assert kinds == set(KINDS.values())


def test_a_full_replay_gives_the_state_that_the_tail_gives(log: EventLog) -> None:
    replayed: SessionKeys = log.repository.get(manager_id("default"))

    assert state_of(replayed) == {
        **state_of(log.load("default")),
        "_created_on": replayed.created_on,  # the tail does not know when it all began
    }


def test_the_state_at_the_end_is_what_it_was(log: EventLog, name: str) -> None:
    keys = log.load("default")

    assert keys is not None
    assert keys.version == len(EXPECTED[name].changes)
    assert ("generated", keys.generation, keys.key_id, "back again") == EXPECTED[name].changes[-1]
    assert keys.node_id == KEY_RING.node_id
    assert keys.digest == EXPECTED[name].digest


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
    keys = log.load("default")
    assert keys is not None
    before = keys.generation

    keys.reset(bytes(32), KEY_RING, by_now())
    appended = log.append(keys)

    reloaded = log.load("default")
    assert appended
    assert reloaded is not None
    assert reloaded.generation == before + 1


def by_now() -> Origin:
    return Origin.now("tester@here", "a newer version")
