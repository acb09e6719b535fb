"""One thread calls all that wants to be called now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from keyturn.actors.ticker import Ticker

LONG = 1e9


class Calls:
    """A tick that counts, and says what the test told it to."""

    def __init__(self, seconds: float = LONG, fails: bool = False) -> None:
        self._seconds = seconds
        self._fails = fails
        self._called = threading.Semaphore(0)
        self.threads: set[str] = set()
        self.times = 0

    def __call__(self) -> float:
        self.times += 1
        self.threads.add(threading.current_thread().name)
        self._called.release()
        if self._fails:
            raise ValueError("a clock that does not go")
        return self._seconds

    def wait(self, times: int) -> None:
        for _ in range(times):
            assert self._called.acquire(timeout=30)

    def come(self, seconds: float) -> bool:
        """Whether it is called within so many seconds."""
        return self._called.acquire(timeout=seconds)


def end(ticker: Ticker, *ticks: Callable[[], float]) -> None:
    thread = ticker._thread
    for tick in ticks:
        ticker.remove(tick)
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()


def test_each_is_called_at_once_and_then_when_it_asked_for_it() -> None:
    ticker, often, seldom = Ticker(), Calls(0.02), Calls()

    ticker.add(often)
    ticker.add(seldom)

    often.wait(3)
    seldom.wait(1)
    end(ticker, often, seldom)
    assert not seldom.come(0)


def test_nothing_is_waited_for_longer_than_a_slice_for_a_machine_may_sleep() -> None:
    ticker, tick = Ticker(slice_seconds=0.02), Calls(LONG)

    ticker.add(tick)

    tick.wait(3)
    end(ticker, tick)


def test_all_are_called_by_one_thread() -> None:
    ticker = Ticker(slice_seconds=0.02)
    ticks = [Calls() for _ in range(2000)]
    before = threading.active_count()

    for tick in ticks:
        ticker.add(tick)
    for tick in ticks:
        tick.wait(2)

    assert threading.active_count() <= before + 1
    assert {name for tick in ticks for name in tick.threads} == {"keyturn-ticker"}
    end(ticker, *ticks)


def test_with_nothing_to_call_there_is_no_thread_and_with_something_there_is_again() -> None:
    ticker, tick = Ticker(), Calls()
    ticker.add(tick)
    tick.wait(1)
    end(ticker, tick)

    ticker.add(tick)

    tick.wait(1)
    end(ticker, tick)


def test_one_that_fails_is_called_again_and_harms_no_other() -> None:
    ticker, bad, good = Ticker(slice_seconds=0.02), Calls(fails=True), Calls()

    ticker.add(bad)
    ticker.add(good)

    bad.wait(2)
    good.wait(2)
    end(ticker, bad, good)


@pytest.mark.parametrize("seconds", [0.0, -5.0, float("-inf")])
def test_one_that_is_always_due_does_not_keep_the_machine_busy(seconds: float) -> None:
    ticker, eager, other = Ticker(), Calls(seconds), Calls(0.05)
    ticker.add(eager)
    ticker.add(other)

    other.wait(3)

    end(ticker, eager, other)
    assert eager.times < 10_000


def test_removing_what_was_never_added_does_nothing() -> None:
    Ticker().remove(Calls())


def test_one_that_is_added_again_while_it_is_called_has_one_turn_and_not_two() -> None:
    ticker, calls = Ticker(), Calls()

    def tick() -> float:
        if calls.times < 4:
            ticker.remove(tick)
            ticker.add(tick)
        return calls()

    ticker.add(tick)
    calls.wait(5)

    end(ticker, tick)
    assert calls.times == 5
