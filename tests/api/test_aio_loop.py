"""The event loop never waits: not for an opening, and not for a slow message."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import AskTimeoutError, AsyncService
from keyturn.domain.errors import (
    MessageFailedError,
    SessionManagerNotRunningError,
    WrongPasswordError,
)
from tests.actors.host_rings import Gate, HostKeyRing, raises
from tests.api.awaiting import R, run, with_service


def test_an_opening_can_be_awaited(tmp_path: Path) -> None:
    async def opened() -> bool:
        service = await keyturn.open_async(path=tmp_path, password=None)
        try:
            return await service.verify_token(await service.create_token())
        finally:
            await service.close()

    assert run(opened()) is True


def test_the_block_closes_what_it_opened(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> AsyncService:
        return service

    service = with_service(body, tmp_path)

    with pytest.raises(SessionManagerNotRunningError, match="closed"):
        assert service.manager


def test_an_opening_that_fails_says_why(tmp_path: Path) -> None:
    keyturn.open(path=tmp_path, password="right").close()

    async def opened() -> None:
        async with keyturn.open_async(path=tmp_path, password="wrong"):
            pytest.fail("it opened")

    with pytest.raises(WrongPasswordError):
        run(opened())


def test_the_handles_of_many_managers_share_few_threads_and_close_ends_them(
    tmp_path: Path,
) -> None:
    async def body(service: AsyncService) -> AsyncService:
        for number in range(8):
            tenant = await service.named(f"tenant-{number}")
            assert await tenant.verify_tokens(await tenant.create_tokens(1)) == [True]
        started = set(threading.enumerate()) - before
        busy.extend(thread for thread in started if thread.name.startswith("keyturn-async"))
        return service

    busy: list[threading.Thread] = []
    before = set(threading.enumerate())
    service = with_service(body, tmp_path)

    assert 1 <= len(busy) <= 4
    for thread in busy:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in busy)
    with pytest.raises(SessionManagerNotRunningError, match="closed"):
        run(service.create_tokens(1))


@pytest.mark.parametrize("use", ["create", "verify"])
def test_the_loop_reads_no_log_that_went_stale_the_moment_after_it_looked(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []

    async def body(service: AsyncService) -> object:
        token = await service.create_token()
        log = service.plain.log
        looks = iter([log.changes()])  # as before at the first look, and never again
        monkeypatch.setattr(log._store, "changes", lambda: next(looks, object()))
        stored = log.stored

        def noted(*args: Any, **kwargs: Any) -> Any:
            readers.append(threading.current_thread())
            return stored(*args, **kwargs)

        monkeypatch.setattr(log, "stored", noted)
        return await (service.create_token() if use == "create" else service.verify_token(token))

    assert with_service(body, tmp_path)
    assert threading.main_thread() not in readers


@pytest.fixture
def slow_opening(tmp_path: Path) -> tuple[HostKeyRing, Gate, Callable[[], Any]]:
    """An opening that stands still where it signs its first event."""
    key_ring, gate = HostKeyRing(), Gate()
    key_ring.before_sign = gate
    return key_ring, gate, lambda: keyturn.open_async(path=tmp_path / "data", key_ring=key_ring)


@pytest.mark.parametrize("loop_goes_on", [True, False], ids=["loop goes on", "loop ends"])
def test_cancelling_an_opening_closes_what_it_opened(
    slow_opening: tuple[HostKeyRing, Gate, Callable[[], Any]], loop_goes_on: bool
) -> None:
    _, gate, open_service = slow_opening
    before = set(threading.enumerate())

    async def cancelled() -> None:
        opening = asyncio.ensure_future(_await(open_service()))
        await asyncio.to_thread(gate.wait_until_reached)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        gate.open()
        if loop_goes_on:
            await asyncio.to_thread(wait_for_the_end)

    def wait_for_the_end() -> None:
        deadline = time.monotonic() + 30
        while _ours(before) and time.monotonic() < deadline:
            time.sleep(0.005)

    run(cancelled())  # an unclosed service would warn, and a warning is an error here

    wait_for_the_end()
    assert _ours(before) == []


def _ours(before: set[threading.Thread]) -> list[threading.Thread]:
    """Return the threads of openings and of what they opened."""
    return [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith(("SessionManager", "keyturn-async"))
    ]


async def _await(awaitable: Awaitable[R]) -> R:
    return await awaitable


# --- the event loop never waits ----------------------------------------------------------------


async def count_turns_while(awaitable: Awaitable[Any]) -> int:
    """Return how often the loop turned until this was done."""
    waiting = asyncio.ensure_future(_await(awaitable))
    turns = 0
    while not waiting.done():
        turns += 1
        await asyncio.sleep(0.001)
    waiting.result()
    return turns


@pytest.mark.parametrize(
    "do",
    [
        lambda service, path: service.reset_key(),
        lambda service, path: keyturn.ask_async(service.manager, keyturn.ResetKey()),
        lambda service, path: keyturn.open_async(path=path, key_ring=service.slow_ring),
    ],
    ids=["a method", "a message", "an opening"],
)
def test_the_loop_turns_on_while_a_signature_takes_its_time(
    tmp_path: Path, do: Callable[[Any, Path], Awaitable[Any]]
) -> None:
    key_ring = HostKeyRing()

    async def turns() -> int:
        async with keyturn.open_async(path=tmp_path / "one", key_ring=key_ring) as service:
            service.slow_ring = key_ring  # type: ignore[attr-defined]
            key_ring.before_sign = lambda: time.sleep(0.2)
            count = await count_turns_while(_keep(do(service, tmp_path / "two"), opened))
            key_ring.before_sign = lambda: None
            for other in opened:
                await other.close()
            return count

    opened: list[AsyncService] = []

    assert run(turns()) > 20


async def _keep(awaitable: Awaitable[Any], opened: list[AsyncService]) -> None:
    result = await awaitable
    if isinstance(result, AsyncService):
        opened.append(result)


@pytest.mark.usefixtures("each_shared_store")
def test_tokens_are_made_and_checked_while_the_actor_is_busy(tmp_path: Path) -> None:
    key_ring, gate = HostKeyRing(), Gate()

    async def body() -> list[bool]:
        async with keyturn.open_async(path=tmp_path, key_ring=key_ring) as service:
            token = await service.create_token()
            key_ring.before_sign = gate
            resetting = asyncio.ensure_future(service.reset_key())
            await asyncio.to_thread(gate.wait_until_reached)

            verdict = await service.verify_token(token)
            other = await service.create_token()
            refreshed = await service.refresh_token(other)
            report = await service.inspect_token(refreshed)
            batch = await service.verify_tokens(await service.create_tokens(2))

            gate.open()
            await resetting
            return [verdict, report.valid, *batch]

    assert run(body()) == [True] * 4


def test_an_ask_that_takes_too_long_is_a_timeout_and_the_actor_goes_on(tmp_path: Path) -> None:
    key_ring, gate = HostKeyRing(), Gate()

    async def body() -> float:
        async with keyturn.open_async(path=tmp_path, key_ring=key_ring) as service:
            key_ring.before_sign = gate
            with pytest.raises(AskTimeoutError) as caught:
                await keyturn.ask_async(service.manager, keyturn.ResetKey(), timeout=0.01)
            gate.open()
            key = await keyturn.ask_async(service.manager, keyturn.SetupKey())
            assert key.generation == 2  # it was carried out all the same
            return caught.value.timeout

    assert run(body()) == 0.01


def test_a_timeout_of_the_hosts_key_ring_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    key_ring = HostKeyRing()

    async def body() -> BaseException | None:
        async with keyturn.open_async(path=tmp_path, key_ring=key_ring) as service:
            key_ring.before_sign = raises(TimeoutError("the key service is slow"))
            with pytest.raises(MessageFailedError) as caught:
                await service.reset_key()
            return caught.value.__cause__

    assert type(run(body())) is TimeoutError


def test_cancelling_one_who_waits_leaves_the_actor_alone(tmp_path: Path) -> None:
    key_ring, gate = HostKeyRing(), Gate()

    async def body() -> list[Any]:
        async with keyturn.open_async(path=tmp_path, key_ring=key_ring) as service:
            key_ring.before_sign = gate
            resetting = asyncio.ensure_future(service.reset_key("slow"))
            await asyncio.to_thread(gate.wait_until_reached)
            resetting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await resetting
            gate.open()
            await service.reset_key("next")
            return [change.reason async for change in service.history()]

    assert run(body()) == [None, "slow", "next"]


def test_many_asks_at_once_are_all_answered(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> int:
        tokens = await asyncio.gather(
            *(keyturn.ask_async(service.manager, keyturn.CreateToken()) for _ in range(500))
        )
        return len(set(tokens))

    assert with_service(body, tmp_path) == 500


def test_a_service_that_waits_for_its_log_leaves_the_threads_of_the_loop_alone(
    tmp_path: Path,
) -> None:
    key_ring, gate = HostKeyRing(), Gate()

    async def body() -> bool:
        async with keyturn.open_async(path=tmp_path, key_ring=key_ring) as service:
            with keyturn.open(path=tmp_path, key_ring=key_ring) as other:
                other.reset_key()
            key_ring.before_unseal = gate
            waiting = [asyncio.ensure_future(service.verify_token("")) for _ in range(100)]
            await asyncio.to_thread(gate.wait_until_reached)

            turned = await asyncio.to_thread(lambda: True)

            gate.open()
            await asyncio.gather(*waiting)
            return turned

    assert run(body())
