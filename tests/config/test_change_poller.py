"""The thread that watches a store goes on after any error, and begins again if it could not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from keyturn.config.change_poller import ChangePoller, Watchers
from keyturn.config.memory import MemoryStore
from keyturn.domain.errors import LogUnavailableError


def poller_of(changes: Callable[[], object]) -> ChangePoller:
    return ChangePoller(changes, Watchers(MemoryStore()))


@pytest.mark.parametrize("error", [OSError, LogUnavailableError, ZeroDivisionError])
def test_g8_the_thread_goes_on_after_any_error(error: type[Exception]) -> None:
    values: list[object] = [1, error("for once"), 2]
    told, gone_on = [], threading.Event()

    def changes() -> object:
        value = values[0] if len(values) == 1 else values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    def on_change() -> None:
        told.append(threading.current_thread())
        if len(told) == 2:
            gone_on.set()

    stop = poller_of(changes).watch(on_change)

    assert gone_on.wait(10)
    assert len(set(told)) == 1
    stop()


def test_g8_a_thread_that_cannot_be_started_leaves_nobody_untold_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    first, second = threading.Event(), threading.Event()
    poller = poller_of(lambda: 1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot)
        poller.watch(first.set)

    poller.watch(second.set)

    assert first.wait(10)
    assert second.wait(10)


def test_g8_the_next_read_starts_a_thread_that_could_not_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = threading.Event()
    poller = poller_of(lambda: 1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError()))
        poller.watch(told.set)
    assert not told.is_set()

    poller.make_sure_it_runs()

    assert told.wait(10)


def test_the_thread_ends_with_the_last_who_watches_and_begins_anew_with_the_next() -> None:
    poller = poller_of(lambda: 1)
    threads: list[threading.Thread] = []
    for _ in range(2):
        told = threading.Event()

        def on_change(told: threading.Event = told) -> None:
            threads.append(threading.current_thread())
            told.set()

        stop = poller.watch(on_change)
        assert told.wait(10)
        stop()
        threads[-1].join(10)
        assert not threads[-1].is_alive()
