"""The same names, awaited; and the event loop never waits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyturn import AsyncService, Service
from keyturn.aio import AsyncClientSession
from keyturn.domain.errors import (
    Refusal,
    SessionManagerDestroyedError,
    SessionManagerNotRunningError,
    SessionNotRunningError,
    TokenRefusedError,
    TransactionConflictError,
)
from keyturn.token_file import ClientSession
from tests.api.awaiting import with_service

# --- the same names ----------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("each_shared_store")


@pytest.mark.parametrize(
    ("plain", "awaited"), [(Service, AsyncService), (ClientSession, AsyncClientSession)]
)
def test_everything_that_is_called_plainly_can_be_awaited(
    plain: type[Any], awaited: type[Any]
) -> None:
    names = {name for name, _ in inspect.getmembers(plain, inspect.isfunction)}
    public = {name for name in names if not name.startswith("_")} - {"close"}

    assert public <= set(dir(awaited))


def test_tokens_are_created_verified_refreshed_and_inspected(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> tuple[Any, ...]:
        token = await service.create_token(subject="alice")
        refreshed = await service.refresh_token(token)
        report = await service.inspect_token(refreshed)
        return await service.verify_token(token), (report.claims or {})["sub"], report.valid

    assert with_service(body, tmp_path) == (True, "alice", True)


def test_g2_a_reset_refuses_every_earlier_token(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> bool:
        token = await service.create_token()
        await service.reset_key("stolen", "alice")
        return await service.verify_token(token)

    assert with_service(body, tmp_path) is False


def test_g2_a_reset_by_another_process_refuses_every_earlier_token(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    async def body(service: AsyncService) -> list[bool]:
        token = await service.create_token()
        before = await service.verify_token(token)
        run_python(
            "import sys, keyturn\n"
            "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
            "    service.reset_key()\n",
            tmp_path,
        )
        return [before, await service.verify_token(token)]

    assert with_service(body, tmp_path) == [True, False]


@pytest.mark.parametrize("nonsense", ["", None, 5, b"a.b.c", "ä" * 9000])
def test_g3_anything_can_be_verified(tmp_path: Path, nonsense: object) -> None:
    assert with_service(lambda service: service.verify_token(nonsense), tmp_path) is False


def test_a_refused_refresh_says_why(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> Refusal:
        with pytest.raises(TokenRefusedError) as caught:
            await service.refresh_token("a.b.c")
        return caught.value.reason

    assert with_service(body, tmp_path) is Refusal.MALFORMED


def test_the_history_is_read_asynchronously_in_both_directions(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> tuple[list[Any], list[Any]]:
        for number in range(3):
            await service.reset_key(f"{number}")
        return (
            [change.reason async for change in service.history()],
            [change.reason async for change in service.history(newest_first=True)],
        )

    oldest, newest = with_service(body, tmp_path)

    assert (oldest, newest) == ([None, "0", "1", "2"], ["2", "1", "0", None])


def test_stop_start_and_destroy_are_awaited(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> list[str]:
        await service.stop()
        with pytest.raises(SessionManagerNotRunningError):
            await service.create_token()
        await service.start(fresh=True)
        await service.stop()
        await service.destroy()
        with pytest.raises(SessionManagerDestroyedError):
            await service.start()
        return [change.kind async for change in service.history()]

    assert with_service(body, tmp_path) == ["generated", "reset", "destroyed"]


def test_a_clients_session_is_awaited(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> list[Any]:
        session = await service.session(tmp_path / "token", "a.b.c")
        seen: list[Any] = [await session.read_token()]
        seen.append(await session.write_token("d.e.f", replacing="x.y.z"))
        await session.clear_token()
        seen.append(await session.read_token())
        await session.stop()
        with pytest.raises(SessionNotRunningError):
            await session.read_token()
        await session.start("g.h.i")
        seen.append(await session.read_token())
        await session.stop()
        await session.destroy()
        return seen

    assert with_service(body, tmp_path / "data") == ["a.b.c", False, None, "g.h.i"]
    assert not (tmp_path / "token").exists()


# --- transactions ------------------------------------------------------------------------------


def test_a_transaction_takes_effect_at_its_end(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> list[bool]:
        older = await service.create_token()
        async with service.transaction() as tran:
            await service.reset_key(tran=tran)
            newer = await service.create_token(tran=tran)
            newer = await service.refresh_token(newer, tran=tran)
            inside = [
                await service.verify_token(older),
                await service.verify_token(newer),
                await service.verify_token(newer, tran),
            ]
        return [*inside, await service.verify_token(older), await service.verify_token(newer)]

    assert with_service(body, tmp_path) == [True, False, True, False, True]


def test_an_exception_discards_a_transaction(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> list[str]:
        with pytest.raises(ZeroDivisionError):
            async with service.transaction() as tran:
                await service.reset_key(tran=tran)
                raise ZeroDivisionError
        return [change.kind async for change in service.history()]

    assert with_service(body, tmp_path) == ["generated"]


def test_a_reset_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> list[Any]:
        with pytest.raises(TransactionConflictError):
            async with service.transaction() as tran:
                await service.reset_key("collected", tran=tran)
                await service.reset_key("meanwhile")
        return [change.reason async for change in service.history()]

    assert with_service(body, tmp_path) == [None, "meanwhile"]
