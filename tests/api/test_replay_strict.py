"""What a replay refuses: tests that would be green by mistake."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyturn import CreateToken, EndSession, ResetKey, VerifyToken
from keyturn.testing import (
    ClockedService,
    Generated,
    Replay,
    Reset,
    Rotated,
    SessionEnded,
    SessionsEnded,
    Token,
)


@pytest.fixture
def replay() -> Iterator[Replay]:
    with Replay() as replay:
        yield replay


def failure(replay: Replay, *expected: Any) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        replay.then(*expected)
    return str(caught.value).splitlines()[1:]


# --- nothing escapes then() --------------------------------------------------------------------


def test_a_change_of_another_manager_does_not_escape(replay: Replay) -> None:
    replay.given(Generated(manager="t7")).when(lambda s: s.named("t7").reset_key(initiator="x"))

    assert failure(replay) == [
        "  + Reset(manager='t7', initiator='x', reason=None, generation=2)"
    ]
    replay.then(Reset(manager="t7", generation=2))


def test_the_key_that_a_new_manager_makes_does_not_escape(replay: Replay) -> None:
    replay.when(lambda s: s.named("t8").create_token())

    assert failure(replay)[0].startswith("  + Generated(manager='t8'")


def test_an_event_that_names_no_manager_is_none_of_another_manager(replay: Replay) -> None:
    replay.given(Generated(manager="t7")).when(lambda s: s.named("t7").reset_key())

    assert "  ?   manager: expected the one under test, was 't7'" in failure(replay, Reset())


def test_an_event_of_the_manager_under_test_may_name_it(replay: Replay) -> None:
    replay.given(Generated(manager="default")).when(ResetKey()).then(Reset(manager="default"))


def test_an_ended_session_does_not_escape(replay: Replay) -> None:
    token = replay.service.create_token(subject="alice")

    replay.when(EndSession(token))

    assert failure(replay)[0].startswith("  + SessionEnded(")
    sid = replay.service.inspect_token(token).claims["sid"]  # type: ignore[index]
    replay.then(SessionEnded(sid=sid, subject="alice"))


def test_the_end_of_sessions_of_another_manager_does_not_escape(replay: Replay) -> None:
    replay.given(Generated(manager="t7"))
    replay.when(lambda s: s.named("t7").end_sessions(subject="alice"))

    assert failure(replay)[0].startswith("  + SessionsEnded(manager='t7'")
    replay.then(SessionsEnded(manager="t7", subject="alice"))


def test_what_is_given_to_another_manager_happened_to_it(replay: Replay) -> None:
    replay.given(Generated(manager="t7", age=60), Reset(manager="t7", age=30), Reset())

    service = replay.service
    assert [change.kind for change in service.history()] == ["generated", "reset"]
    assert [change.generation for change in service.named("t7").history()] == [1, 2]
    replay.when(lambda s: s.named("t7").create_token()).then()


# --- times, expiry, overlap --------------------------------------------------------------------


def test_the_time_of_an_event_is_compared_if_it_is_named(replay: Replay) -> None:
    replay.when(ResetKey())
    replay.clock.advance(5)

    replay.then(Reset(age=5)).then(Reset())
    lines = failure(replay, Reset(age=4))

    assert lines[0] == "  - Reset(age=4)"
    assert lines[2].startswith("  ?   at: expected ")


def test_the_overlap_of_a_rotation_is_compared(replay: Replay) -> None:
    replay.when(lambda s: s.rotate_key(60))

    assert "  ?   overlap: expected 61, was 60" in failure(replay, Rotated(overlap=61))


def test_a_token_is_compared_by_what_is_named(replay: Replay) -> None:
    replay.when(CreateToken(expiry=1800, subject="alice", claims={"role": "admin"}))

    replay.then(Token()).then(Token(expiry=1800, subject="alice", claims={"role": "admin"}))
    replay.then_reply(Token(generation=1))
    assert "  ?   expiry: expected 3600, was 1800" in failure(replay, Token(expiry=3600))
    assert "  ?   claims: expected {}, was {'role': 'admin'}" in failure(replay, Token(claims={}))


def test_a_token_for_ever_has_no_expiry() -> None:
    with Replay(expiry=None) as replay:
        replay.when(CreateToken()).then(Token(expiry=None))
        assert "  ?   expiry: expected 60, was None" in failure(replay, Token(expiry=60))


@pytest.mark.parametrize("reply", ["no token", None])
def test_a_token_is_expected_to_be_good(replay: Replay, reply: object) -> None:
    replay.when(lambda: reply)

    assert failure(replay, Token())[1] == "  + replies what is no good token: malformed"


# --- when refuses what cannot be run -----------------------------------------------------------


async def theft() -> None:
    """Await me."""


def later() -> Iterator[int]:
    yield 1


def with_other_arguments(service: ClockedService, user: str) -> None:
    """Call me with both."""


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (ResetKey, r"ResetKey is a class: write ResetKey\("),
        (Reset, "Reset is a class: given"),
        (Reset(), r"Reset\(\) is an event: given"),
        ("reset", "not 'reset'"),
        (None, "not None"),
        (with_other_arguments, r"with_other_arguments\(.*needs others: write lambda"),
        (lambda a, b: None, "needs others"),
        (theft, "theft is async, and was not awaited"),
        (functools.partial(theft), "theft is async, and was not awaited"),
        (lambda s: theft(), "is async, and was not awaited"),
        (lambda s: s.manager.ask(ResetKey(), block=False), "was not awaited"),
        (lambda s: ResetKey(), "returned the message ResetKey, which nobody sent"),
        (lambda: ResetKey, "returned the message ResetKey, which nobody sent"),
        (functools.partial(int, "7"), "what int takes cannot be told: write lambda"),
        (later, "returned a generator, and nothing of it has run"),
    ],
)
def test_when_refuses_what_cannot_have_been_meant(replay: Replay, action: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        replay.when(action)


@pytest.mark.parametrize(
    "function",
    [lambda: 7, lambda s: 7, lambda s=None: 7, lambda *a: 7, functools.partial(lambda n: n, 7)],
)
def test_a_function_takes_nothing_or_the_service(
    replay: Replay, function: Callable[..., object]
) -> None:
    replay.when(function).then_reply(7)


def test_a_function_whose_arguments_have_defaults_is_called_without_any(replay: Replay) -> None:
    def theft(user: str = "alice") -> str:
        return user

    replay.when(theft).then_reply("alice")


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Reset, r"Reset is a class of them: write Reset\(\)"),
        (ResetKey, "ResetKey is a message, which when"),
        (ResetKey(), "ResetKey is a message, which when"),
        ("reset", "'reset' is none"),
    ],
)
def test_given_refuses_what_is_no_event(replay: Replay, event: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        replay.given(event)

    replay.when(VerifyToken("")).then()
