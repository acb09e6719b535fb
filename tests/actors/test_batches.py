"""Batches: the same as one after the other, at one moment, and never too large."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import AsyncService, Service
from keyturn.domain.batches import MAX_BATCH
from keyturn.domain.errors import (
    BatchError,
    ClaimError,
    ExpiryError,
    SessionManagerNotRunningError,
)
from keyturn.testing import ManualClock, open_service
from tests.actors.in_memory import call_style, store_url  # noqa: F401 - fixtures
from tests.actors.ways import Way
from tests.api.awaiting import with_service


def claims_of(manager: Way, token: str) -> dict[str, Any]:
    claims = manager.inspect_token(token).claims
    assert claims is not None
    return claims


# --- checking ----------------------------------------------------------------------------------


def test_each_token_of_a_batch_is_judged_in_its_place(manager: Way) -> None:
    old = manager.create_token()
    manager.reset_key()
    first, second = manager.create_token(), manager.create_token()

    verdicts = manager.verify_tokens([first, old, "a.b.c", second])

    assert verdicts == [True, False, False, True]


def test_g3_a_batch_may_hold_anything_and_nothing_is_raised(manager: Way) -> None:
    token = manager.create_token()
    anything = [None, 5, b"a.b.c", "", [token], object(), float("nan"), "\ud800", token, {}]

    verdicts = manager.verify_tokens(anything)

    assert verdicts == [value is token for value in anything]


def test_a_batch_may_be_any_iterable(manager: Way) -> None:
    tokens = [manager.create_token(), "no token"]

    for batch in (tokens, tuple(tokens), iter(tokens)):
        assert manager.verify_tokens(batch) == [True, False]


def test_an_empty_batch_has_no_verdicts(manager: Way) -> None:
    assert manager.verify_tokens([]) == []


def test_a_single_token_is_no_batch(manager: Way) -> None:
    """Or else each of its characters would be judged, and none be good."""
    token = manager.create_token()

    for single in (token, token.encode(), bytearray(token.encode())):
        with pytest.raises(BatchError, match="put it into a list") as caught:
            manager.verify_tokens(single)
        assert token not in str(caught.value)


def test_what_holds_nothing_is_no_batch(manager: Way) -> None:
    nothings: list[Any] = [None, 5, object()]

    for nothing in nothings:
        with pytest.raises(BatchError, match=f"not a {type(nothing).__name__}"):
            manager.verify_tokens(nothing)


def test_a_batch_of_10_000_is_judged_and_a_larger_one_refused(manager: Way) -> None:
    token = manager.create_token()

    verdicts = manager.verify_tokens([token] * MAX_BATCH)

    assert verdicts == [True] * 10_000
    with pytest.raises(BatchError, match="at most 10000 tokens"):
        manager.verify_tokens([token] * (MAX_BATCH + 1))


def test_a_batch_without_end_is_refused(stored_service: Service) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a.b.c"

    with pytest.raises(BatchError):
        stored_service.verify_tokens(endless())


def test_a_batch_is_judged_by_the_keys_and_the_time_of_one_moment() -> None:
    clock = ManualClock(1_750_000_000)
    with open_service(clock=clock) as service:
        token = service.create_token(expiry=60)

        def hurried() -> float:
            """A clock that goes on by a minute whenever it is looked at."""
            clock.advance(60)
            return ManualClock.__call__(clock)

        service._tokens._clock = hurried
        verdicts = service.verify_tokens([token] * 3)

    assert verdicts == [True] * 3


def test_g2_a_batch_after_a_reset_by_another_process_knows_of_it(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        tokens = service.create_tokens(3)
        assert service.verify_tokens(tokens) == [True] * 3

        run_python(f"""
import keyturn
with keyturn.open(path={str(tmp_path)!r}, password=None) as service:
    service.reset_key()
""")

        assert service.verify_tokens(tokens) == [False] * 3


# --- making ------------------------------------------------------------------------------------


def test_as_many_tokens_are_made_as_were_asked_for_and_all_are_good(manager: Way) -> None:
    tokens = manager.create_tokens(5)

    assert manager.verify_tokens(tokens) == [True] * 5


def test_each_token_of_a_batch_is_of_a_session_of_its_own(manager: Way) -> None:
    claims = [claims_of(manager, token) for token in manager.create_tokens(5)]

    assert len({found[name] for found in claims for name in ("jti", "sid")}) == 10


def test_the_tokens_of_a_batch_have_the_expiry_subject_and_claims_that_were_given(
    manager: Way,
) -> None:
    tokens = manager.create_tokens(2, expiry=60, subject="alice", claims={"role": "admin"})

    for claims in (claims_of(manager, token) for token in tokens):
        assert (claims["sub"], claims["role"]) == ("alice", "admin")
        assert claims["exp"] - claims["iat"] in (60, 61)


def test_a_batch_of_none_is_empty(manager: Way) -> None:
    assert manager.create_tokens(0) == []


def test_what_is_no_number_of_tokens_is_refused(manager: Way) -> None:
    counts: list[Any] = [-1, MAX_BATCH + 1, 10**100, True, 2.0, "2", None, float("nan")]

    for count in counts:
        with pytest.raises(BatchError):
            manager.create_tokens(count)


def test_a_batch_is_refused_for_what_a_token_would_be_refused_for(manager: Way) -> None:
    with pytest.raises(ExpiryError):
        manager.create_tokens(2, expiry=-1)
    with pytest.raises(ClaimError):
        manager.create_tokens(2, claims={"iss": "me"})


# --- both --------------------------------------------------------------------------------------


def test_with_a_transaction_a_batch_sees_its_new_key(manager: Way) -> None:
    old = manager.create_token()

    with manager.transaction() as tran:
        manager.reset_key(tran=tran)
        tokens = manager.create_tokens(2, tran=tran)
        within = manager.verify_tokens([old, *tokens], tran=tran)
        without = manager.verify_tokens([old, *tokens])

    assert within == [False, True, True]
    assert without == [True, False, False]
    assert manager.verify_tokens([old, *tokens]) == [False, True, True]


def test_a_stopped_manager_takes_no_batch(manager: Way) -> None:
    manager.stop()

    with pytest.raises(SessionManagerNotRunningError):
        manager.create_tokens(2)
    with pytest.raises(SessionManagerNotRunningError):
        manager.verify_tokens([])


def test_g8_a_bad_batch_leaves_the_manager_at_work(manager: Way) -> None:
    with pytest.raises(BatchError):
        manager.verify_tokens(5)  # type: ignore[arg-type]

    assert manager.verify_tokens([manager.create_token()]) == [True]


def test_a_message_with_a_batch_shows_no_token() -> None:
    assert "a.b.c" not in repr(keyturn.VerifyTokens(["a.b.c"]))


def test_batches_can_be_awaited(tmp_path: Path) -> None:
    async def body(service: AsyncService) -> list[bool]:
        tokens = await service.create_tokens(2, subject="alice")
        return await service.verify_tokens(iter([*tokens, "no token"]))

    assert with_service(body, tmp_path) == [True, True, False]


def test_an_awaited_batch_is_work_for_the_actors_thread(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    async def body(service: AsyncService) -> None:
        issuer = service.plain._tokens
        verify_many = issuer.verify_many

        def noticed(*args: Any) -> list[bool]:
            threads.append(threading.current_thread())
            return verify_many(*args)

        issuer.verify_many = noticed  # type: ignore[assignment,method-assign]
        await service.verify_tokens(["no token"])

    with_service(body, tmp_path)

    assert len(threads) == 1
    assert threads != [threading.main_thread()]
