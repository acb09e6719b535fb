"""A call in a thread of its own: for what no signal may interrupt, or what may hang."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T], *, timeout: float | None = None) -> T:
    """Return what `call` returns, or raise what it raises.

    Signal handlers run in the main thread only. If one raises, the call is not waited for any
    longer, and goes on to its end. In any other thread, and without a timeout, it is called
    right here.

    Args:
        call: what to call.
        timeout: seconds to wait; None: for ever. Then the thread is left behind.

    Raises:
        TimeoutError: it did not return in time.
    """
    if timeout is None and threading.current_thread() is not threading.main_thread():
        return call()
    returned: list[T] = []
    raised: list[BaseException] = []
    is_over = threading.Lock()
    is_over.acquire()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            returned.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            raised.append(error)
        finally:
            is_over.release()

    try:
        threading.Thread(target=run, name="keyturn-call", daemon=True).start()
    except RuntimeError:  # the system has no room for a thread
        return call()
    if not is_over.acquire(timeout=-1 if timeout is None else timeout):
        raise TimeoutError
    if raised:
        raise raised.pop()  # so that no frame holds what holds the frame
    return returned[0]
