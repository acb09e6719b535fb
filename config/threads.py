"""A call in a thread of its own: for what no signal may interrupt, or what may hang."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LONGEST_FORK = 0.05  # seconds that a fork waits for threads to end

_ended: deque[int] = deque(maxlen=64)
"""The system's numbers of threads that have returned, and may not have ended yet."""


class NotReturnedError(TimeoutError):
    """The call has not returned in time. A `TimeoutError` of another class is the call's own."""


def in_thread(call: Callable[[], T], *, timeout: float | None = None) -> T:
    """Return what `call` returns, or raise what it raises.

    Signal handlers run in the main thread only. If one raises, the call is not waited for any
    longer, and goes on to its end. In any other thread, and without a timeout, it is called
    right here.

    Args:
        call: what to call.
        timeout: seconds to wait; None: for ever. Then the thread is left behind.

    Raises:
        NotReturnedError: it did not return in time.
    """
    if timeout is None and threading.current_thread() is not threading.main_thread():
        return call()
    returned: list[T] = []
    raised: list[BaseException] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            returned.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            raised.append(error)
        finally:
            about_to_end()

    thread = threading.Thread(target=run, name="keyturn-call", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system has no room for a thread
        return call()
    thread.join(timeout)
    if not returned and not raised:
        raise NotReturnedError
    if raised:
        raise raised.pop()  # so that no frame holds what holds the frame
    return returned[0]


def about_to_end() -> None:
    """Note that this thread is about to end: the next fork waits for that."""
    _ended.append(threading.get_native_id())


def _let_threads_end() -> None:
    """Wait until no thread of ours is about to end: it holds a lock of OpenSSL for a moment.

    In a child forked just then that lock would be held for ever. Without Linux's /proc a fork
    is not held up.
    """
    deadline = time.monotonic() + _LONGEST_FORK
    while _ended and time.monotonic() < deadline:
        if Path(f"/proc/self/task/{_ended[0]}").exists():
            time.sleep(0.0001)
        else:
            _ended.popleft()
    _ended.clear()


os.register_at_fork(before=_let_threads_end)
