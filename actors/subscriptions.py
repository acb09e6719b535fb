"""Who is told of events, and the thread in which functions are called."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pykka

from keyturn.config.logging import Logger
from keyturn.domain.errors import UnknownMessageError

SLOW = 1.0
"""Seconds after which a function that was called is named in the log: the others wait for it."""


class Subscriptions:
    """The subscribers of one manager, told in the order in which they subscribed.

    They outlive an actor that is started again. Safe to use from any thread: an actor is told at
    once, and functions are called one after the other in a thread of their own, so that a slow
    one holds up nobody but other functions.

    Attributes:
        news: what was not told yet, in order. The thread that reads events puts them here,
            and an actor or a thread that watches the log tells them: no signal interrupts those.
        overlaps: the keys whose end is to be told, by key id: generation, and when (seconds
            since the epoch). Used in the actor's thread.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._subscribers: tuple[Any, ...] = ()
        self._lock = threading.Lock()
        self._publishing = threading.RLock()
        self.news: deque[Sequence[object]] = deque()
        self.overlaps: dict[str, tuple[int, float]] = {}
        self._calls: queue.SimpleQueue[tuple[Callable[[object], object], object] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self.on_news: Callable[[], None] = lambda: None
        """Called after each reading of newer events: it has the manager's actor tell them."""

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, subscriber: object) -> None:
        """Tell this actor, or call this function, from now on."""
        is_function = callable(subscriber) and not isinstance(subscriber, type)
        if not is_function and not isinstance(subscriber, pykka.ActorRef):
            raise UnknownMessageError(
                f"a subscriber is an ActorRef or a function, not a {type(subscriber).__name__}"
            )
        with self._lock:
            if subscriber not in self._subscribers:
                self._subscribers += (subscriber,)

    def remove(self, subscriber: object) -> None:
        """Tell this one no more."""
        with self._lock:
            self._subscribers = tuple(each for each in self._subscribers if each != subscriber)

    def notify(self) -> None:
        """Say that there is news. Never waits, and never raises."""
        self.on_news()

    def publish(self, event: object) -> None:
        """Tell everybody of one event, after all that came before."""
        self.news.append((event,))
        self.publish_news()

    def publish_news(self) -> None:
        """Tell everybody what nobody was told yet. Never waits, and never raises."""
        with self._publishing:  # one thread at a time, or else the order is lost
            while self.news:
                for event in self.news.popleft():
                    self._tell(event)
        if not self._calls.empty():
            self._make_sure_of_thread()

    def _tell(self, event: object) -> None:
        """Tell everybody of one event. A ref that cannot be told is dropped."""
        for subscriber in self._subscribers:
            if not isinstance(subscriber, pykka.ActorRef):
                self._calls.put((subscriber, event))
                continue
            try:
                subscriber.tell(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs
                self.remove(subscriber)
                self._logger.warning(
                    "dropped a subscriber", subscriber=str(subscriber), error=type(error).__name__
                )

    def close(self) -> None:
        """Let the thread end once it has made its calls."""
        if self._thread is not None:
            self._calls.put(None)

    def _make_sure_of_thread(self) -> None:
        """Start the thread, or start it anew if it could not be started or has ended."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            thread = threading.Thread(target=self._run, name="keyturn-subscribers", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had: tried again with the next look
                self._logger.error("subscribers cannot be called now", error=str(error))
            else:
                self._thread = thread

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, event = call
            began = time.monotonic()
            try:
                function(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs
                self._logger.error(
                    "a subscriber failed", subscriber=repr(function), error=type(error).__name__
                )
            if time.monotonic() - began > SLOW:
                self._logger.warning("a subscriber is slow", subscriber=repr(function))
