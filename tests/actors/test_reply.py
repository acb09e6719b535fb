"""The reply: it comes in time or an error does, and no event loop waits."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from keyturn.actors import asking
from keyturn.actors.asking import AskTimeoutError, Reply
from keyturn.actors.supervision import SupervisedActor
from tests.actors.host_rings import raises


class Echo(SupervisedActor):
    """Replies with what it gets."""

    def handle(self, message: Any) -> Any:
        return message


# --- replies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AskTimeoutError, pykka.Timeout, TimeoutError])
def test_a_reply_that_does_not_come_in_time_is_a_timeout_of_every_kind(
    kind: type[Exception],
) -> None:
    reply: Reply[str] = Reply()

    with pytest.raises(kind) as caught:
        reply.get(timeout=0.01)

    assert getattr(caught.value, "timeout", None) == 0.01


def test_a_get_without_a_timeout_has_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "DEFAULT_TIMEOUT", 0.01)
    reply: Reply[str] = Reply()

    with pytest.raises(AskTimeoutError, match=r"0\.01 s"):
        reply.get()


def test_a_negative_timeout_does_not_wait() -> None:
    reply: Reply[str] = Reply()

    with pytest.raises(AskTimeoutError):
        reply.get(timeout=-5)


def test_a_reply_that_came_after_a_timeout_can_still_be_had() -> None:
    reply: Reply[str] = Reply()
    with pytest.raises(AskTimeoutError):
        reply.get(timeout=0)

    reply.set("late")

    assert reply.get(timeout=0) == "late"


def test_asking_again_and_again_for_a_reply_that_does_not_come_keeps_nothing() -> None:
    reply: Reply[str] = Reply()

    def ask_often() -> int:
        for _ in range(2000):
            with pytest.raises(AskTimeoutError):
                reply.get(timeout=0)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first, second = ask_often(), ask_often()
    finally:
        tracemalloc.stop()

    assert second - first < 50_000


@pytest.mark.usefixtures("quick_switches")
def test_a_reply_that_comes_while_somebody_begins_to_wait_is_not_missed() -> None:
    replies: list[Reply[str]] = [Reply() for _ in range(5000)]
    together = threading.Barrier(2, timeout=30)

    def answer() -> None:
        for reply in replies:
            together.wait()
            reply.set("there")

    threading.Thread(target=answer, daemon=True).start()
    for reply in replies:
        together.wait()
        assert reply.get(timeout=5) == "there"


def test_a_reply_can_be_had_by_many_threads_and_many_times() -> None:
    reply: Reply[str] = Reply()
    got: queue.Queue[str] = queue.Queue()
    threads = [
        threading.Thread(target=lambda: [got.put(reply.get(timeout=30)) for _ in range(2)])
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    reply.set("there")

    assert [got.get(timeout=30) for _ in range(16)] == ["there"] * 16


def test_an_exception_is_raised_to_whoever_gets_it() -> None:
    reply: Reply[str] = Reply()

    reply.set_exception((ValueError, ValueError("no"), None))

    with pytest.raises(ValueError, match="no"):
        reply.get(timeout=0)


def test_set_exception_takes_the_one_that_is_being_handled() -> None:
    reply: Reply[str] = Reply()

    try:
        raise KeyError("here")
    except KeyError:
        reply.set_exception()

    with pytest.raises(KeyError, match="here"):
        reply.get(timeout=0)


ANSWERS: dict[str, Callable[[Reply[Any], str], None]] = {
    "set": lambda reply, value: reply.set(value),
    "set_exception": lambda reply, value: reply.set_exception(
        (ValueError, ValueError(value), None)
    ),
}


@pytest.mark.parametrize("first", ANSWERS)
@pytest.mark.parametrize("second", ANSWERS)
def test_a_second_answer_changes_nothing_and_disturbs_nobody(first: str, second: str) -> None:
    reply: Reply[Any] = Reply()

    ANSWERS[first](reply, "first")
    ANSWERS[second](reply, "second")

    assert outcome_of(reply) == "first"


def outcome_of(reply: Reply[Any]) -> str:
    try:
        return str(reply.get(timeout=0))
    except ValueError as error:
        return str(error)


def test_getting_an_error_again_and_again_does_not_lengthen_its_traceback() -> None:
    reply: Reply[str] = Reply()
    reply.set_exception((ValueError, ValueError("no"), None))

    def length() -> int:
        with pytest.raises(ValueError, match="no") as caught:
            reply.get(timeout=0)
        return len(caught.traceback)

    assert length() == length() == length()


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit()])
def test_a_callback_that_raises_disturbs_neither_who_answers_nor_the_other_callbacks(
    error: BaseException,
) -> None:
    reply: Reply[str] = Reply()
    called: list[str] = []
    reply.then(lambda: called.append("one"))
    reply.then(raises(error))
    reply.then(lambda: called.append("two"))

    reply.set("there")

    assert sorted(called) == ["one", "two"]


# --- what pykka's futures can do ---------------------------------------------------------------


def test_map_join_filter_and_reduce_work_as_with_any_future_of_pykka() -> None:
    numbers, one = Reply[list[int]](), Reply[int]()
    numbers.set([1, 2, 3])
    one.set(1)

    results = [
        numbers.map(len).get(timeout=0),
        one.join(one, numbers).get(timeout=0),
        numbers.filter(lambda n: n > 1).get(timeout=0),
        numbers.reduce(lambda a, b: a + b).get(timeout=0),
    ]

    assert results == [3, [1, 1, [1, 2, 3]], [2, 3], 6]


def test_a_get_hook_is_called_once_with_the_timeout() -> None:
    asked: list[float | None] = []
    reply: Reply[str] = Reply()
    reply.set_get_hook(lambda timeout: asked.append(timeout) or "hooked")  # type: ignore[func-returns-value]

    results = [reply.get(timeout=3), reply.get(timeout=4)]

    assert (results, asked) == (["hooked", "hooked"], [3])


def test_get_all_collects_replies() -> None:
    ref = Echo.start(None)

    replies = pykka.get_all([ref.ask(n, block=False) for n in range(5)], timeout=30)

    assert list(replies) == [0, 1, 2, 3, 4]


# --- awaiting ----------------------------------------------------------------------------------


def test_awaiting_a_reply_lets_the_event_loop_run() -> None:
    async def count_until_answered() -> tuple[int, str]:
        reply: Reply[str] = Reply()
        loop = asyncio.get_running_loop()
        waiting = asyncio.ensure_future(_await(reply))
        turns = 0
        while not waiting.done():
            turns += 1
            if turns == 1000:
                loop.run_in_executor(None, reply.set, "there")
            await asyncio.sleep(0)
        return turns, waiting.result()

    turns, value = asyncio.run(asyncio.wait_for(count_until_answered(), 30))

    assert (turns >= 1000, value) == (True, "there")


async def _await(reply: Any) -> Any:
    return await reply


def test_a_reply_that_is_there_already_can_be_awaited_more_than_once() -> None:
    async def twice(reply: Reply[str]) -> list[str]:
        return [await reply, await reply]

    reply: Reply[str] = Reply()
    reply.set("there")

    assert asyncio.run(asyncio.wait_for(twice(reply), 30)) == ["there", "there"]


def test_awaiting_raises_what_the_actor_raised() -> None:
    reply: Reply[str] = Reply()
    reply.set_exception((ValueError, ValueError("no"), None))

    with pytest.raises(ValueError, match="no"):
        asyncio.run(_await(reply))


def test_a_mapped_reply_can_be_awaited() -> None:
    async def mapped() -> str:
        return await asyncio.wait_for(
            _await(Echo.start(None).ask("a", block=False).map(str.upper)), 30
        )

    assert asyncio.run(mapped()) == "A"


def test_a_stop_can_be_awaited() -> None:
    async def stop() -> bool:
        return await asyncio.wait_for(_await(Echo.start(None).stop(block=False)), 30)

    assert asyncio.run(stop()) is True


def test_a_joined_reply_can_be_awaited_while_the_event_loop_runs() -> None:
    async def joined() -> list[str]:
        one, two = Reply[str](), Reply[str]()
        waiting = asyncio.ensure_future(_await(one.join(two)))
        await asyncio.sleep(0)
        one.set("a")
        two.set("b")
        return list(await waiting)

    assert asyncio.run(asyncio.wait_for(joined(), 30)) == ["a", "b"]


def test_a_reply_can_be_awaited_by_loops_and_had_by_threads_at_once() -> None:
    reply: Reply[str] = Reply()
    got: queue.Queue[str] = queue.Queue()
    waiting = threading.Barrier(9, timeout=30)

    async def await_twice() -> None:
        waits = [asyncio.ensure_future(_await(reply)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting.wait()
        for wait in waits:
            got.put(await wait)

    def wait_for_it() -> None:
        waiting.wait()
        got.put(reply.get(timeout=30))

    threads = [threading.Thread(target=asyncio.run, args=(await_twice(),)) for _ in range(4)]
    threads += [threading.Thread(target=wait_for_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    waiting.wait()
    reply.set("there")
    for thread in threads:
        thread.join(30)

    assert [got.get(timeout=30) for _ in range(12)] == ["there"] * 12


def test_a_reply_for_an_event_loop_that_was_closed_disturbs_nobody() -> None:
    reply: Reply[str] = Reply()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_await(reply), 0.01)

    asyncio.run(give_up())
    reply.set("too late")

    assert reply.get(timeout=0) == "too late"


@pytest.mark.usefixtures("quick_switches")
def test_callbacks_added_by_many_threads_while_the_reply_comes_are_each_called_once() -> None:
    rounds, threads = 3000, 4
    called: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    replies: list[Reply[None]] = [Reply() for _ in range(rounds)]
    together = threading.Barrier(threads + 1, timeout=30)

    def add(number: int) -> None:
        together.wait()
        for i, reply in enumerate(replies):
            reply.then(lambda i=i: called.put((i, number)))  # type: ignore[misc]

    adding = [threading.Thread(target=add, args=(number,)) for number in range(threads)]
    for thread in adding:
        thread.start()
    together.wait()
    for reply in replies:
        reply.set(None)
    for thread in adding:
        thread.join(30)

    calls = [called.get_nowait() for _ in range(called.qsize())]
    assert sorted(calls) == [(i, number) for i in range(rounds) for number in range(threads)]
