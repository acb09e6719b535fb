"""What every log promises (`KeyLog`), whatever store it lies in."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Iterator
from copy import copy

import pytest
from eventsourcing.domain import Aggregate, event

import keyturn
from keyturn import EventLog, KeyRing, SessionKeys
from keyturn.domain.errors import ForeignLogError, LogClosedError
from tests.heads import keys_at_head
from tests.settled import settled

from .making import by, new_keys, reset


class Ledger(Aggregate):
    """An aggregate of a host."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    @event("Noted")
    def note(self, entry: str) -> None:
        self.entries.append(entry)


@pytest.fixture
def log(store_url: str) -> Iterator[EventLog]:
    log = keyturn.open_event_log(store_url, aggregates=[Ledger])
    yield log
    log.close()


@pytest.fixture(scope="module", params=["sqlite", "memory", "postgres"])
def long_log(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EventLog]:
    """A log to be read, with 1,203 events of the default manager and 2 of another."""
    url = "memory:"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").url()
    elif request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('long')}/log.db"
    key_ring = KeyRing.ephemeral()
    log = keyturn.open_event_log(url)
    log.append(new_keys(key_ring, resets=1, manager="other"))
    log.append(new_keys(key_ring, resets=1202))
    yield log
    log.close()


@pytest.fixture
def two_managers(log: EventLog, key_ring: KeyRing) -> EventLog:
    """A log with 3 events of the default manager and 2 of another."""
    log.append(new_keys(key_ring, resets=1, manager="other"))
    log.append(new_keys(key_ring, resets=2))
    return log


def test_an_empty_log_has_no_keys(log: EventLog) -> None:
    assert keys_at_head(log, "default") is None


def test_what_was_appended_is_loaded(log: EventLog, key_ring: KeyRing) -> None:
    keys = new_keys(key_ring, resets=3)

    appended = log.append(keys)

    loaded = keys_at_head(log, "default")
    assert appended
    assert loaded is not None
    assert (loaded.version, loaded.generation, loaded.key_id, loaded.digest) == (
        4,
        4,
        keys.key_id,
        keys.digest,
    )
    assert loaded.unseal(key_ring) == keys.unseal(key_ring)


def test_managers_do_not_see_each_other(long_log: EventLog) -> None:
    other = keys_at_head(long_log, "other")

    assert other is not None
    assert (other.manager, other.generation) == ("other", 2)


def test_events_are_read_oldest_first_over_many_pages(long_log: EventLog) -> None:
    positions = [event.originator_version for event in long_log.key_events("default")]

    assert positions == list(range(1, 1204))


def test_events_are_read_newest_first_over_many_pages(long_log: EventLog) -> None:
    events = long_log.key_events("default", newest_first=True)

    assert [event.originator_version for event in events] == list(range(1203, 0, -1))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("after", [1, 203, 703, 1202, 1203])
def test_events_behind_a_position_are_read_in_both_directions(
    long_log: EventLog, after: int, newest_first: bool
) -> None:
    events = long_log.key_events("default", after=after, newest_first=newest_first)

    positions = [event.originator_version for event in events]
    assert positions == sorted(range(after + 1, 1204), reverse=newest_first)


def test_the_row_of_one_position_is_found(long_log: EventLog) -> None:
    def found(position: int) -> list[int]:
        rows = long_log.stored("default", after=position - 1, before=position + 1)
        return [row.originator_version for row in rows]

    assert [found(position) for position in (1, 600, 1203)] == [[1], [600], [1203]]
    assert [found(position) for position in (-1, 0, 1204)] == [[], [], []]


def test_the_newest_row_of_a_manager_is_found(long_log: EventLog) -> None:
    newest = long_log.newest("default")

    assert newest is not None
    assert newest.originator_version == 1203
    assert long_log.newest("nobody") is None


def test_of_two_writers_of_one_position_the_second_is_told_and_writes_nothing(
    log: EventLog, key_ring: KeyRing
) -> None:
    log.append(new_keys(key_ring))
    first, second = keys_at_head(log, "default"), keys_at_head(log, "default")
    assert first is not None
    assert second is not None
    reset(first, key_ring)
    reset(second, key_ring)
    reset(second, key_ring)

    appended = log.append(first), log.append(second)

    assert appended == (True, False)
    assert [e.key_id for e in log.key_events("default")][1:] == [first.key_id]


def test_a_conflict_of_one_aggregate_keeps_the_others_from_being_written(
    log: EventLog, key_ring: KeyRing
) -> None:
    log.append(new_keys(key_ring))
    late, ledger = new_keys(key_ring), Ledger()
    ledger.note("with the reset")

    appended = log.append(ledger, new_keys(key_ring, manager="other"), late)

    assert not appended
    assert keys_at_head(log, "other") is None
    assert ledger.id not in log.repository


def test_keys_and_a_hosts_aggregates_are_written_together(
    log: EventLog, key_ring: KeyRing
) -> None:
    ledger = Ledger()
    ledger.note("with the first key")

    appended = log.append(new_keys(key_ring), ledger)

    found: Ledger = log.repository.get(ledger.id)
    assert appended
    assert keys_at_head(log, "default") is not None
    assert found.entries == ["with the first key"]


def test_an_append_whose_events_are_there_already_counts_as_written(
    log: EventLog, key_ring: KeyRing
) -> None:
    keys = new_keys(key_ring)
    again = copy(keys)
    again.__dict__["_pending_events"] = list(keys.pending_events)
    log.append(keys)

    assert log.append(again)


def purge(log: EventLog, key_ring: KeyRing, manager: str) -> SessionKeys:
    """Remove the history of a manager but for the event that says so."""
    keys = keys_at_head(log, manager)
    assert keys is not None
    keys.destroy(key_ring, by(), purge=True)
    assert log.purge(keys)
    return keys


def test_purge_leaves_one_event_of_one_manager_and_all_of_others(
    two_managers: EventLog, key_ring: KeyRing
) -> None:
    purge(two_managers, key_ring, "default")

    (left,) = two_managers.key_events("default")
    assert (left.kind, left.originator_version, left.is_purge) == ("destroyed", 4, True)
    assert len(list(two_managers.key_events("other"))) == 2


def test_a_purged_manager_goes_on_from_there(two_managers: EventLog, key_ring: KeyRing) -> None:
    keys = purge(two_managers, key_ring, "default")

    keys.regenerate(bytes(32), key_ring, by())

    assert two_managers.append(keys)
    assert [e.originator_version for e in two_managers.key_events("default")] == [4, 5]
    assert keys_at_head(two_managers, "default") is not None


def test_a_purge_that_comes_too_late_removes_nothing(
    two_managers: EventLog, key_ring: KeyRing
) -> None:
    late, first = keys_at_head(two_managers, "other"), keys_at_head(two_managers, "other")
    assert late is not None
    assert first is not None
    reset(first, key_ring)
    two_managers.append(first)
    late.destroy(key_ring, by(), purge=True)

    assert not two_managers.purge(late)
    assert len(list(two_managers.key_events("other"))) == 3


def test_anybody_may_own_an_empty_log(log: EventLog, key_ring: KeyRing) -> None:
    log.check_owner(key_ring.node_id)


def test_the_owner_of_a_log_is_the_node_of_its_key_events(
    log: EventLog, key_ring: KeyRing
) -> None:
    ledger = Ledger()
    log.append(ledger)
    log.append(new_keys(key_ring))
    stranger = KeyRing.ephemeral()

    log.check_owner(key_ring.node_id)
    with pytest.raises(ForeignLogError) as raised:
        log.check_owner(stranger.node_id)

    assert (raised.value.expected, raised.value.found) == (stranger.node_id, key_ring.node_id)
    assert raised.value.location == log.location


def test_changes_differs_after_each_append(log: EventLog, key_ring: KeyRing) -> None:
    keys, values = new_keys(key_ring), [log.changes()]

    for _ in range(20):
        log.append(keys)
        values.append(log.changes())
        reset(keys, key_ring)

    assert len(set(values)) == 21


def test_changes_differs_after_a_purge(two_managers: EventLog, key_ring: KeyRing) -> None:
    before = two_managers.changes()

    purge(two_managers, key_ring, "other")

    assert two_managers.changes() != before


def test_changes_stays_when_nothing_was_written(
    two_managers: EventLog, key_ring: KeyRing
) -> None:
    before = settled(two_managers)

    keys_at_head(two_managers, "default")
    list(two_managers.key_events("default"))
    two_managers.append(new_keys(key_ring))  # a conflict
    two_managers.append()

    assert settled(two_managers) == before


def test_whoever_watches_is_told_in_another_thread_whatever_others_make_of_it(
    log: EventLog, key_ring: KeyRing
) -> None:
    told: queue.Queue[int] = queue.Queue()

    def fail() -> None:
        raise ZeroDivisionError

    ends = [log.watch(fail), log.watch(lambda: told.put(threading.get_ident()))]
    settled(log)
    while not told.empty():
        told.get()

    for _ in range(3):
        log.append(new_keys(key_ring, manager=secrets.token_hex(4)))
        assert told.get(timeout=30) != threading.get_ident()

    for end in ends * 2:  # a second time nothing happens
        end()


def test_a_closed_log_says_so(shared_url: str, key_ring: KeyRing) -> None:
    log = keyturn.open_event_log(shared_url)
    log.close()

    uses = (
        lambda: keys_at_head(log, "default"),
        log.changes,
        lambda: log.append(new_keys(key_ring)),
        lambda: log.purge(new_keys(key_ring)),
    )
    for use in uses:
        with pytest.raises(LogClosedError, match="closed"):
            use()


def test_no_environment_variable_of_eventsourcing_changes_anything(
    store_url: str, key_ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (
        "PERSISTENCE_MODULE",
        "CIPHER_TOPIC",
        "CIPHER_KEY",
        "COMPRESSOR_TOPIC",
        "MAPPER_TOPIC",
        "TRANSCODER_TOPIC",
        "IS_SNAPSHOTTING_ENABLED",
        "SQLITE_DBNAME",
        "KEYTURN_SQLITE_DBNAME",
        "FACTORY_TOPIC",
    ):
        monkeypatch.setenv(variable, "nowhere.to_be:found")
    log = keyturn.open_event_log(store_url)

    log.append(new_keys(key_ring))

    assert keys_at_head(log, "default") is not None
    assert log.snapshots is None
    log.close()
