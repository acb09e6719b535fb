"""The clock: wall time that never runs backwards."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from keyturn.config.clock import Clock, steady_clock, steady_time

seconds = st.floats(0, 4e9)


def clock_of(walls: list[float], elapsed: list[float]) -> Clock:
    """A clock over readings that stand in lists."""
    return steady_clock(iter(walls).__next__, iter(elapsed).__next__)


@given(st.lists(st.tuples(seconds, seconds), min_size=1))
def test_it_never_runs_backwards_whatever_the_system_says(
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


@given(st.integers(1, 1_000_000), st.integers(0, 10_000))
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
