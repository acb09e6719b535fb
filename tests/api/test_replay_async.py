"""A host that awaits, under a replay and with the awaited service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from keyturn import ResetKey
from keyturn.domain.errors import ExpiryError, StaleKeyError
from keyturn.testing import (
    ClockedAsyncService,
    Replay,
    Reset,
    SessionEnded,
    open_async_service,
)

Test = Callable[[Replay], Coroutine[Any, Any, object]]


def run(test: Test) -> None:
    """Run an async test with a replay."""
    with Replay() as replay:
        asyncio.run(test(replay))


class App:
    """A host that awaits."""

    def __init__(self, service: ClockedAsyncService) -> None:
        self.service = service

    async def report_theft(self) -> str:
        await self.service.reset_key(reason="laptop stolen", initiator="alice")
        return "all sessions are over"

    async def log_in(self, expiry: float) -> str:
        return await self.service.create_token(expiry, subject="alice")


def test_an_async_function_is_awaited() -> None:
    async def test(replay: Replay) -> None:
        app = App(replay.async_service)

        await replay.when(app.report_theft)

        replay.then(Reset(reason="laptop stolen", initiator="alice"))
        replay.then_reply("all sessions are over")

    run(test)


@pytest.mark.parametrize("style", ["method", "service", "coroutine", "message"])
def test_there_are_more_ways_to_say_what_is_awaited(style: str) -> None:
    async def reset(service: ClockedAsyncService) -> None:
        await service.reset_key()

    async def test(replay: Replay) -> None:
        app = App(replay.async_service)
        ways: dict[str, Callable[[], Any]] = {
            "method": lambda: app.report_theft,
            "service": lambda: reset,
            "coroutine": app.report_theft,
            "message": ResetKey,
        }

        (await replay.when(ways[style]())).then(Reset())

    run(test)


def test_an_error_that_is_awaited_is_one_of_when() -> None:
    async def test(replay: Replay) -> None:
        app = App(replay.async_service)

        await replay.when(lambda: app.log_in(-1))

        replay.then(ExpiryError)

    run(test)


def test_an_error_that_is_awaited_and_that_no_then_looked_at_is_raised_in_the_end() -> None:
    async def test(replay: Replay) -> None:
        app = App(replay.async_service)
        await replay.when(lambda: app.log_in(-1))

    with pytest.raises(ExpiryError):
        run(test)


FORGOTTEN: dict[str, Callable[[Replay], object]] = {
    "then": lambda replay: replay.then(),
    "then_reply": lambda replay: replay.then_reply(None),
    "reply": lambda replay: replay.reply,
    "given": lambda replay: replay.given(Reset()),
    "when": lambda replay: replay.when(lambda: None),
    "the end": lambda replay: None,
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_nobody_awaited_is_an_error_of_what_follows(what: str) -> None:
    async def test(replay: Replay) -> None:
        app = App(replay.async_service)
        replay.when(app.report_theft)
        FORGOTTEN[what](replay)

    with pytest.raises(TypeError, match="report_theft is async, and was not awaited"):
        run(test)


def test_the_moved_clock_expires_tokens_of_an_awaited_service() -> None:
    async def test() -> tuple[bool, bool]:
        async with open_async_service(expiry=60) as service:
            token = await service.create_token()
            before = await service.verify_token(token)
            service.clock.advance(61)
            return before, await service.verify_token(token)

    assert asyncio.run(test()) == (True, False)


def test_an_awaited_service_belongs_to_no_event_loop() -> None:
    service = open_async_service()
    app = App(service)

    token = asyncio.run(app.log_in(60))
    asyncio.run(app.report_theft())

    assert not asyncio.run(service.verify_token(token))
    service.plain.close()


def test_an_awaited_service_can_be_broken() -> None:
    async def test() -> None:
        async with open_async_service() as service:
            token = await service.create_token(subject="alice")
            who = await service.authenticate(token)
            service.faults.before("create_token", Reset())
            service.elsewhere(SessionEnded(sid=who.sid))
            assert not await service.verify_token(token)
            assert await service.verify_token(await service.create_token())
            with service.faults.down(), pytest.raises(StaleKeyError):
                await service.create_token()

    asyncio.run(test())
