"""Several processes on one log: no fork, no loss, nothing stale [G1, G2]."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import keyturn
from keyturn import Service, SessionKeys
from keyturn.domain.chain import NO_DIGEST

from . import warm_processes
from .second_process import SecondProcess
from .warm_processes import WarmProcess


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns more often than every 5 ms."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def folder(tmp_path: Path, service: Service) -> Path:
    """The data folder of `service`."""
    return tmp_path / "data"


def events_of(service: Service) -> list[SessionKeys.Event]:
    return list(service.log.key_events("default"))


def reset_from_everywhere(service: Service, folder: Path) -> list[str]:
    """Reset from 3 processes and from 3 threads at once; return the reasons acknowledged."""
    acknowledged: list[str] = []

    def in_a_process(number: int) -> None:
        with SecondProcess(folder) as other:
            for count in range(8):
                other.reset(f"process {number} reset {count}")
                acknowledged.append(f"process {number} reset {count}")

    def in_a_thread(number: int) -> None:
        for count in range(12):
            service.reset_key(f"thread {number} reset {count}")
            acknowledged.append(f"thread {number} reset {count}")

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(in_a_process, n) for n in range(3)]
        done += [pool.submit(in_a_thread, n) for n in range(3)]
        for future in done:
            future.result(timeout=60)
    return acknowledged


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def contended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], list[SessionKeys.Event]]:
    """What was acknowledged while all wrote at once, and the history of it."""
    folder = tmp_path_factory.mktemp("contended") / "data"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgres":
            patch.setenv("KEYTURN_STORE", request.getfixturevalue("postgres").url())
        with keyturn.open(path=folder, password=None) as service:
            return reset_from_everywhere(service, folder), events_of(service)


@pytest.fixture
def history(contended: tuple[list[str], list[SessionKeys.Event]]) -> list[SessionKeys.Event]:
    return contended[1]


def test_g1_every_reset_that_was_acknowledged_to_any_writer_is_in_the_history_once(
    contended: tuple[list[str], list[SessionKeys.Event]], history: list[SessionKeys.Event]
) -> None:
    acknowledged, _ = contended

    recorded = [event.reason for event in history if event.kind == "reset"]

    assert len(acknowledged) == 60
    assert sorted(recorded) == sorted(acknowledged)  # type: ignore[type-var]


def test_g5_writers_that_race_leave_no_gap_in_the_positions(
    history: list[SessionKeys.Event],
) -> None:
    assert [event.originator_version for event in history] == list(range(1, 62))


def test_writers_that_race_leave_no_trace_of_a_clock_that_was_set_back(
    history: list[SessionKeys.Event],
) -> None:
    times = [event.timestamp for event in history]

    assert times == sorted(times)


def test_g5_writers_that_race_never_fork_the_chain_of_digests(
    history: list[SessionKeys.Event],
) -> None:
    digests = [NO_DIGEST, *(event.digest for event in history)]

    assert [event.previous_digest for event in history] == digests[:-1]


def test_g2_writers_that_race_never_make_one_generation_twice(
    history: list[SessionKeys.Event],
) -> None:
    assert [event.generation for event in history] == list(range(1, 62))


@pytest.mark.usefixtures("each_shared_store")
def test_g2_a_token_is_refused_at_once_when_another_process_reset_the_key(
    service: Service, folder: Path
) -> None:
    wrong = 0
    with SecondProcess(folder) as other:
        for _ in range(50):
            token = service.create_token()
            wrong += not service.verify_token(token)
            other.reset()
            wrong += service.verify_token(token)

    assert wrong == 0


@pytest.mark.usefixtures("each_shared_store")
def test_g2_a_token_of_another_process_is_good_at_once_after_its_reset(
    service: Service, folder: Path
) -> None:
    with SecondProcess(folder) as other:
        verdicts = set()
        for _ in range(30):
            other.reset()
            verdicts.add(service.verify_token(other.create()))

    assert verdicts == {True}


@pytest.mark.usefixtures("each_shared_store")
def test_g2_eight_threads_that_verify_while_another_process_resets_accept_nothing_stale(
    service: Service, folder: Path, quick_switches: None
) -> None:
    stale, errors, checks, stop = [], [], [0] * 8, threading.Event()
    revoked: list[str] = [service.create_token()]

    def verify(number: int) -> None:
        try:
            while not stop.is_set():
                token = revoked[-1]
                if service.verify_token(token):
                    stale.append(token)
                checks[number] += 1
        except Exception as error:
            errors.append(error)

    service.reset_key()
    threads = [threading.Thread(target=verify, args=(number,)) for number in range(8)]
    with SecondProcess(folder) as other:
        for thread in threads:
            thread.start()
        for _ in range(20):
            token = service.create_token()
            other.reset()
            revoked.append(token)
        stop.set()
    for thread in threads:
        thread.join(timeout=30)

    assert (stale, errors) == ([], [])
    assert min(checks) > 0


@pytest.mark.usefixtures("each_shared_store")
def test_g2_a_destroy_by_another_process_ends_every_token_here(
    service: Service, folder: Path
) -> None:
    token = service.create_token()
    code = (
        "import sys, keyturn\n"
        "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
        "    service.stop(); service.destroy()\n"
    )

    warm_processes.run(code, folder)

    assert not service.verify_token(token)


RESET_FOR_EVER = """
import sys, keyturn
service = keyturn.open(path=sys.argv[1], password=None)
while True:
    service.reset_key()
    print(next(service.history(newest_first=True)).generation, flush=True)
"""


def acknowledged_before_a_kill(folder: Path, resets: int) -> int:
    """Have another process reset; kill it as soon as so many are acknowledged."""
    process = WarmProcess(RESET_FOR_EVER, folder)
    generation = 0
    for _ in range(resets):
        generation = int(process.stdout.readline())
    process.kill()
    return generation


@pytest.mark.usefixtures("each_shared_store")
def test_g1_kill_9_straight_after_a_reset_was_acknowledged_loses_nothing(tmp_path: Path) -> None:
    folder, lost = tmp_path / "data", []

    for kill in range(6):
        generation = acknowledged_before_a_kill(folder, resets=1 + kill % 3)
        with keyturn.open(path=folder, password=None) as service:
            found = next(service.history(newest_first=True)).generation
        if found < generation:
            lost.append((kill, generation, found))

    assert lost == []


@pytest.mark.usefixtures("each_shared_store")
def test_g1_kill_9_of_one_process_costs_those_that_go_on_nothing(
    service: Service, folder: Path
) -> None:
    found = []
    for _ in range(4):
        generation = acknowledged_before_a_kill(folder, resets=2)
        service.reset_key()
        events = events_of(service)
        found.append(generation in {event.generation for event in events[:-1]})

    assert found == [True] * 4
    assert [event.generation for event in events] == list(range(1, len(events) + 1))


@pytest.mark.usefixtures("each_shared_store")
def test_g1_kill_9_of_all_processes_at_once_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with ExitStack() as stack:
        processes = [stack.enter_context(SecondProcess(folder)) for _ in range(3)]
        generations = [process.reset() for process in processes]
        for process in processes:
            process.kill()

    with keyturn.open(path=folder, password=None) as service:
        generation = next(service.history(newest_first=True)).generation

    assert generation == max(generations) == 4
