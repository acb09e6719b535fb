"""A writer that was too late once keeps the others out while it decides anew [G8]."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from eventsourcing.domain import Aggregate

import keyturn
from keyturn import EventLog, KeyRing, Service, SessionKeys, Settings
from keyturn.domain.errors import LogUnavailableError
from keyturn.domain.mark import Mark
from keyturn.projections.head_reader import HeadReader
from tests.heads import keys_at_head

from .making import new_keys, reset
from .second_process import SecondProcess


@pytest.fixture
def log(shared_url: str) -> Iterator[EventLog]:
    log = keyturn.open_event_log(shared_url)
    yield log
    log.close()


@pytest.fixture
def other(shared_url: str, log: EventLog) -> Iterator[EventLog]:
    """Another opener of the same log, who waits for nobody for long."""
    other = keyturn.open_event_log(shared_url, lock_timeout=0.05)
    yield other
    other.close()


def test_while_one_writes_alone_others_are_told_that_the_log_is_locked(
    log: EventLog, other: EventLog, key_ring: KeyRing
) -> None:
    with log.exclusive():
        with pytest.raises(LogUnavailableError) as raised:
            other.append(new_keys(key_ring))
        with pytest.raises(LogUnavailableError), other.exclusive():
            pass

        assert (raised.value.is_busy, raised.value.recorded) == (True, False)


def test_what_one_appends_alone_is_committed_at_once(
    log: EventLog, other: EventLog, key_ring: KeyRing
) -> None:
    with log.exclusive():
        appended = log.append(new_keys(key_ring))
        loaded = keys_at_head(other, "default")

    assert appended
    assert loaded is not None
    assert other.append(new_keys(key_ring, manager="other"))


def test_what_one_reads_alone_waits_for_no_thread_that_wants_to_write(
    log: EventLog, key_ring: KeyRing
) -> None:
    reading = threading.Event()

    def write(number: int) -> bool:
        reading.wait(timeout=30)
        return log.append(new_keys(key_ring, manager=f"writer {number}"))

    with ThreadPoolExecutor(4) as pool:
        with log.exclusive():
            waiting = [pool.submit(write, number) for number in range(4)]
            reading.set()
            threading.Event().wait(0.1)  # they wait for the writers' lock by now
            found = keys_at_head(log, "default")
            appended = log.append(new_keys(key_ring))

        assert (found, appended) == (None, True)
        assert [writer.result(timeout=30) for writer in waiting] == [True] * 4


def test_after_one_wrote_alone_or_nothing_at_all_others_write_again(
    log: EventLog, other: EventLog, key_ring: KeyRing
) -> None:
    with log.exclusive():
        pass
    with pytest.raises(ZeroDivisionError), log.exclusive():
        _ = 1 / 0
    keys = new_keys(key_ring)
    assert other.append(keys)

    with log.exclusive():
        conflict = log.append(new_keys(key_ring))

    assert conflict is False
    reset(keys, key_ring)
    assert other.append(keys)
    assert log.append(new_keys(key_ring, manager="another"))


def test_g8_a_reset_succeeds_although_somebody_else_is_faster_each_time(
    tmp_path: Path, shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(path=tmp_path, store=shared_url, lock_timeout=0.05)
    with (
        keyturn.open(settings, password=None) as service,
        keyturn.open(settings, password=None) as rival,
    ):
        let_the_rival_win_each_race(service, rival, monkeypatch)
        rival.reset_key("so that the first try is too late")

        service.reset_key("in the end")

        assert [change.reason for change in service.history()][-2:] == ["faster", "in the end"]


def let_the_rival_win_each_race(
    service: Service, rival: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have the rival reset, if it is let, between a look at the log and what follows from it."""
    append = service.log.append

    def append_too_late(*aggregates: Aggregate) -> bool:
        with contextlib.suppress(LogUnavailableError):  # it is locked
            rival.reset_key("faster")
        return append(*aggregates)

    monkeypatch.setattr(service.log, "append", append_too_late)


def test_g8_one_who_cannot_write_alone_in_time_is_told_that_nothing_was_written(
    log: EventLog, other: EventLog
) -> None:
    too_late = pytest.raises(LogUnavailableError, match="locked")

    with log.exclusive(), too_late as raised, other.exclusive():
        raise AssertionError("two were alone")

    assert (raised.value.recorded, raised.value.location) == (False, log.location)


class RacingAnchor:
    """An anchor that has moved on, with the log, whenever somebody looks at it."""

    def __init__(self, log: EventLog, keys: SessionKeys, key_ring: KeyRing) -> None:
        self._log, self._keys, self._key_ring = log, keys, key_ring

    def peek(self, manager: str) -> int:
        return self.read(manager).position

    def read(self, manager: str) -> Mark:
        reset(self._keys, self._key_ring)
        assert self._log.append(self._keys)
        return Mark(self._keys.version, self._keys.digest, self._keys.signature)


def test_a_log_that_others_write_faster_than_it_is_read_was_not_rolled_back(
    log: EventLog, key_ring: KeyRing
) -> None:
    keys = new_keys(key_ring)
    log.append(keys)
    anchor = RacingAnchor(log, keys, key_ring)
    reader = HeadReader(log, "default", key_ring.node_id, anchor=anchor)

    heads = [reader.get().position for _ in range(5)]

    assert heads == sorted(heads)
    assert heads[-1] > 5


@pytest.mark.usefixtures("each_shared_store")
def test_g1_two_processes_that_reset_without_a_pause_are_never_told_that_others_were_faster(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    with SecondProcess(folder) as first, SecondProcess(folder) as second:
        replies = [process.reset_often(seconds=0.4) for process in (first, second)]

        counts = [reply() for reply in replies]

    with keyturn.open(path=folder, password=None) as service:
        assert len(list(service.history())) == 1 + sum(counts)
    assert min(counts) > 0
