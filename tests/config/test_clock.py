"""The clock: wall time that never runs backwards."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keyturn
from keyturn.config.clock import MAX_AHEAD, Clock, steady_clock, steady_time

seconds = st.floats(0, 4e9)


def clock_of(walls: list[float], elapsed: list[float]) -> Clock:
    """A clock over readings that stand in lists."""
    return steady_clock(iter(walls).__next__, iter(elapsed).__next__, lambda: 0.0)[0]


@given(st.lists(st.tuples(st.floats(1e9, 1e9 + MAX_AHEAD / 2), st.floats(0, 3600)), min_size=1))
def test_it_never_runs_backwards_while_the_system_is_set_back_by_up_to_two_hours(
    readings: list[tuple[float, float]],
) -> None:
    walls = [wall for wall, _ in readings]
    now = clock_of(walls, sorted(elapsed for _, elapsed in readings))

    times = [now() for _ in readings]

    assert times == sorted(times)


@given(st.lists(st.integers(0, 10_000), min_size=1), st.integers(0, 10_000))
def test_it_is_the_wall_time_while_nobody_sets_the_clock(steps: list[int], boot: int) -> None:
    elapsed = [float(boot + passed) for passed in itertools.accumulate(steps)]
    walls = [1_000_000.0 + passed for passed in elapsed]
    now = clock_of(walls, elapsed)

    times = [now() for _ in steps]

    assert times == walls


@given(st.integers(1, int(MAX_AHEAD)), st.integers(0, 10_000))
def test_it_goes_on_at_its_pace_after_the_clock_was_set_back(back: int, passed: int) -> None:
    now = clock_of([2e6, 2e6 + passed - back], [500.0, 500.0 + passed])
    before = now()

    after = now()

    assert after - before == passed


@given(st.integers(1, 1_000_000))
def test_it_follows_a_clock_that_was_set_forward(jump: int) -> None:
    now = clock_of([2e6, 2e6 + jump], [500.0, 500.0])
    now()

    assert now() == 2e6 + jump


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_a_clock_set_back_and_right_again_is_the_wall_time_again(back: int, passed: int) -> None:
    walls = [2e6, 2e6 - back, 2e6 + passed]
    now = clock_of(walls, [500.0, 500.0, 500.0 + passed])
    now()
    now()

    assert now() == 2e6 + passed


def test_two_clocks_do_not_know_of_each_other() -> None:
    ahead = clock_of([5e6], [1.0])
    ahead()
    other = clock_of([2e6], [1.0])

    assert other() == 2e6


def test_the_clock_of_this_process_does_not_run_backwards() -> None:
    times = [steady_time() for _ in range(10_000)]

    assert times == sorted(times)


# --- a clock that is far off for a moment ------------------------------------------------------

TEN_YEARS = 10 * 365 * 86400.0


class Surroundings:
    """A machine whose clock is set, and which may sleep."""

    def __init__(self) -> None:
        self.wall, self.elapsed, self.slept = 2e9, 500.0, 0.0
        self.now, _ = steady_clock(
            lambda: self.wall, lambda: self.elapsed, lambda: self.elapsed + self.slept
        )
        self.now()

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds


@given(st.floats(MAX_AHEAD + 1, 4e9), st.integers(0, 1000))
def test_what_a_moment_far_ahead_did_ends_with_it(ahead: float, passed: int) -> None:
    machine = Surroundings()
    machine.wall += ahead
    machine.now()
    machine.wall -= ahead
    machine.pass_(passed)

    assert machine.now() == pytest.approx(machine.wall)


STEPS = st.lists(st.tuples(st.floats(0, 4e9), st.floats(0, 100)), min_size=1)
"""To what the wall clock is set, and how many seconds pass then."""


@given(STEPS)
def test_it_is_never_behind_the_system_and_never_far_ahead_of_it(
    steps: list[tuple[float, float]],
) -> None:
    machine = Surroundings()

    for wall, passed in steps:
        machine.wall, machine.elapsed = wall, machine.elapsed + passed

        since_the_start = 2e9 + machine.elapsed - 500
        assert machine.wall - 1e-3 <= machine.now()
        assert machine.now() <= max(machine.wall, since_the_start) + MAX_AHEAD + 1e-3


@given(STEPS)
def test_what_has_expired_since_the_process_began_stays_so_however_the_clock_is_set(
    steps: list[tuple[float, float]],
) -> None:
    machine = Surroundings()

    for wall, passed in steps:
        machine.wall, machine.elapsed = wall, machine.elapsed + passed

        assert machine.now() >= 2e9 + machine.elapsed - 500 - 1e-3


def test_a_clock_that_was_set_back_to_before_the_process_began_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Surroundings()
    machine.wall -= TEN_YEARS
    machine.now()
    machine.now()

    [record] = caplog.records
    assert "start the process anew" in record.getMessage()


def test_a_leap_of_the_clock_is_logged_both_ways(caplog: pytest.LogCaptureFixture) -> None:
    machine = Surroundings()
    machine.wall += TEN_YEARS
    machine.now()
    machine.wall -= TEN_YEARS
    machine.now()

    assert [record.getMessage() for record in caplog.records] == [
        f"event='the clock went forward' seconds={TEN_YEARS:.0f}",
        f"event='the clock was set back' seconds={TEN_YEARS:.0f}",
    ]


def test_a_machine_that_slept_for_a_week_is_not_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Surroundings()
    machine.wall += 604800
    machine.slept += 604800

    assert machine.now() == machine.wall
    assert caplog.records == []


def test_a_thread_that_was_held_up_between_two_readings_sets_nothing_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    walls = iter([2e9, 2e9, 2e9 + 10_000])
    elapsed = iter([500.0, 10_500.0, 10_500.0])
    now, _ = steady_clock(walls.__next__, elapsed.__next__, lambda: 0.0)
    now()

    assert now() == 2e9 + 10_000
    assert caplog.records == []


def test_tokens_of_others_are_good_again_after_a_moment_ten_years_ahead(tmp_path: Path) -> None:
    machine = Surroundings()
    with (
        keyturn.open(path=tmp_path, password=None, clock=lambda: machine.wall) as other,
        keyturn.open(path=tmp_path, password=None, clock=machine.now) as service,
    ):
        token = other.create_token(expiry=3600)
        machine.wall += TEN_YEARS
        far_ahead = service.verify_token(token)
        machine.wall -= TEN_YEARS

        assert (far_ahead, service.verify_token(token)) == (False, True)
        assert service.inspect_token(service.create_token(expiry=60)).valid


TRAVELS = """
import time, keyturn, pytest, time_machine
from keyturn.config.clock import steady_time

@pytest.mark.parametrize("hours", [1, 1, 100_000])
def test_travel(hours):
    with keyturn.open(store="memory:", password=None) as service:
        token = service.create_token(expiry=60)
        assert service.verify_token(token)
        with time_machine.travel(time.time() + 3600 * hours):
            assert not service.verify_token(token)

def test_later():
    assert abs(steady_time() - time.time()) < 1
"""


def test_a_test_that_travels_in_time_does_not_spoil_later_ones(tmp_path: Path) -> None:
    pytest.importorskip("time_machine")
    (tmp_path / "test_travels.py").write_text(TRAVELS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "keyturn.testing.plugin", "-c", "/dev/null"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "4 passed" in done.stdout, done.stdout
