"""Given a history, when a message comes, then these events: and what a failure shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from keyturn import (
    CreateToken,
    Destroy,
    ResetKey,
    RotateKey,
    Stop,
    VerifyToken,
)
from keyturn.domain.errors import (
    ExpiryError,
    SessionManagerDestroyedError,
    SessionManagerRunningError,
)
from keyturn.testing import (
    ClockedService,
    Destroyed,
    EventSpec,
    Generated,
    ManualClock,
    Replay,
    Reset,
    Rotated,
)

YEAR = 365 * 86400


def failure(replay: Replay, *expected: EventSpec | type[Exception]) -> list[str]:
    """Return the lines of the failure of `then`."""
    with pytest.raises(AssertionError) as caught:
        replay.then(*expected)
    return str(caught.value).splitlines()


# --- given, when, then -------------------------------------------------------------------------


def test_a_reset_comes_of_a_reset() -> None:
    with Replay() as replay:
        (
            replay.given(Generated(initiator="ops"))
            .when(ResetKey(reason="laptop stolen", initiator="alice"))
            .then(Reset(reason="laptop stolen", initiator="alice", generation=2))
            .then_reply(None)
        )


def test_a_rotation_comes_of_a_rotation() -> None:
    with Replay() as replay:
        old = replay.token()

        replay.when(RotateKey(60, initiator="alice")).then(Rotated(overlap=60, initiator="alice"))

        assert replay.service.verify_token(old)
        replay.clock.advance(61)
        assert not replay.service.verify_token(old)


def test_only_what_an_expectation_names_is_compared() -> None:
    with Replay() as replay:
        replay.when(ResetKey(reason="laptop stolen", initiator="alice"))

        replay.then(Reset()).then(Reset(reason="laptop stolen")).then(Reset(generation=2))


def test_no_reason_can_be_expected_too() -> None:
    with Replay() as replay:
        replay.when(ResetKey(reason="new policy"))

        assert "  ?   reason: expected None, was 'new policy'" in failure(
            replay, Reset(reason=None)
        )


def test_a_history_may_be_given_when_the_service_runs_already() -> None:
    with Replay() as replay:
        service = replay.service

        replay.given(Generated(initiator="ops"), Reset(generation=2))

        assert next(service.history()).initiator == "ops"
        replay.when(VerifyToken(replay.token(2))).then().then_reply(True)


def test_a_given_change_ends_the_tokens_of_a_service_that_runs_already() -> None:
    with Replay() as replay:
        token = replay.service.create_token()

        replay.given(Reset())

        replay.when(VerifyToken(token)).then_reply(False)


def test_nothing_comes_of_a_message_that_changes_nothing() -> None:
    with Replay() as replay:
        replay.given(Reset()).when(VerifyToken("no token")).then().then_reply(False)


def test_what_was_given_is_no_part_of_what_came_of_a_message() -> None:
    with Replay() as replay:
        replay.when(VerifyToken("")).given(Reset(), Rotated(overlap=60)).then()


def test_what_came_of_a_message_is_not_forgotten_when_more_is_given() -> None:
    with Replay() as replay:
        replay.when(ResetKey(reason="theft")).given(Reset(), Rotated(overlap=60))

        replay.then(Reset(reason="theft", generation=2))
        replay.given(Reset()).then()


def test_a_function_is_called_with_the_service() -> None:
    def two_resets(service: ClockedService) -> str:
        service.reset_key(initiator="alice")
        service.reset_key(initiator="bob")
        return "done"

    with Replay() as replay:
        replay.when(two_resets).then(Reset(initiator="alice"), Reset(initiator="bob"))

        assert replay.then_reply("done").reply == "done"


def test_a_transaction_that_fails_leaves_nothing() -> None:
    def fail_within(service: ClockedService) -> None:
        with service.transaction() as tran:
            service.reset_key(tran=tran)
            raise LookupError("no such user")

    with Replay() as replay:
        replay.when(fail_within).then(LookupError)


def test_a_manager_whose_keys_another_process_destroyed_says_so() -> None:
    with Replay() as replay:
        replay.given(Generated(), Destroyed()).when(CreateToken()).then(
            SessionManagerDestroyedError
        )


def test_a_destroyed_history_can_go_on() -> None:
    with Replay() as replay:
        replay.given(Generated(), Destroyed(), Generated(generation=2)).when(
            VerifyToken(replay.token(generation=2))
        ).then_reply(True)


def test_destroying_takes_a_stop_first() -> None:
    with Replay() as replay:
        replay.when(Destroy()).then(SessionManagerRunningError)
        replay.when(Stop()).then().when(Destroy()).then(Destroyed(generation=1))


def test_a_given_history_is_genuine() -> None:
    with Replay() as replay:
        replay.given(
            Generated(age=3 * YEAR),
            Rotated(overlap=60, age=2 * YEAR),
            Reset(at=datetime(2026, 1, 1, tzinfo=UTC)),
            Destroyed(),
            Generated(),
        ).when(ResetKey())
        replay.given(Reset())

        report = replay.service.audit()

        assert (report.findings, len(list(replay.service.history()))) == ((), 7)


def test_given_events_happened_when_they_say() -> None:
    with Replay(clock=ManualClock(2_000_000_000)) as replay:
        replay.given(Generated(), Reset(age=100), Reset())

        times = [change.at.timestamp() for change in replay.service.history()]

        assert times == [1_999_999_900, 1_999_999_900, 2_000_000_000]


def test_an_overlap_ends_by_the_clock_of_the_test() -> None:
    with Replay() as replay:
        replay.given(Generated(), Rotated(overlap=60))
        token = replay.token(generation=1)

        replay.when(VerifyToken(token)).then_reply(True)
        replay.clock.advance(61)

        replay.when(VerifyToken(token)).then_reply(False)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((Generated(), Reset(generation=7)), "generation 2 is next"),
        ((Generated(), Generated()), "there is a current key"),
        ((Generated(at=datetime(2025, 1, 1)),), "aware datetime"),
        ((Generated(at=datetime(2025, 1, 1, tzinfo=UTC), age=5),), "by an aware datetime"),
    ],
)
def test_what_cannot_have_happened_is_refused(events: tuple[EventSpec, ...], why: str) -> None:
    with Replay() as replay, pytest.raises(ValueError, match=why):
        replay.given(*events)


# --- when it fails -----------------------------------------------------------------------------


def test_the_difference_is_shown_line_by_line() -> None:
    def resets(service: ClockedService) -> None:
        for reason in ("new policy", "laptop lost", "audit"):
            service.reset_key(reason=reason, initiator="alice")

    with Replay() as replay:
        replay.when(resets)

        lines = failure(replay, Reset(), Reset(reason="laptop stolen"), Destroyed(), Reset())

    assert lines == [
        "after resets (- expected, + happened):",
        "    Reset(initiator='alice', reason='new policy', generation=2)",
        "  - Reset(reason='laptop stolen')",
        "  + Reset(initiator='alice', reason='laptop lost', generation=3)",
        "  ?   reason: expected 'laptop stolen', was 'laptop lost'",
        "  - Destroyed()",
        "    Reset(initiator='alice', reason='audit', generation=4)",
    ]


def test_an_event_of_another_kind_is_shown_as_missing() -> None:
    with Replay() as replay:
        replay.when(ResetKey(initiator="alice"))

        lines = failure(replay, Rotated(overlap=60))

    assert lines == [
        "after ResetKey(initiator='alice') (- expected, + happened):",
        "  - Rotated(overlap=60)",
        "  + Reset(initiator='alice', reason=None, generation=2)",
    ]


def test_an_error_that_was_not_expected_is_shown_with_its_message() -> None:
    with Replay() as replay:
        replay.when(CreateToken(expiry=-1))

        with pytest.raises(AssertionError, match=r"\+ raises ExpiryError: an expiry") as caught:
            replay.then_reply(True)

    assert isinstance(caught.value.__cause__, ExpiryError)


def test_an_expected_error_that_did_not_come_is_shown() -> None:
    with Replay() as replay:
        replay.when(CreateToken())

        assert failure(replay, ExpiryError)[1:] == ["  - raises ExpiryError"]


def test_another_error_than_the_expected_one_fails() -> None:
    with Replay() as replay:
        replay.when(CreateToken(expiry=-1))

        lines = failure(replay, SessionManagerDestroyedError)

    assert lines[1] == "  - raises SessionManagerDestroyedError"
    assert lines[2].startswith("  + raises ExpiryError: ")


def test_another_reply_than_the_expected_one_fails() -> None:
    with Replay() as replay:
        replay.when(VerifyToken("no token"))

        with pytest.raises(AssertionError) as caught:
            replay.then_reply(True)

    assert str(caught.value) == "after VerifyToken():\n  - replies True\n  + replies False"


@pytest.mark.parametrize("wrong", [(Reset,), (Reset(), True)])
def test_then_says_what_it_takes(wrong: tuple[Any, ...]) -> None:
    with Replay() as replay, pytest.raises(TypeError, match="or one reply alone"):
        replay.when(ResetKey()).then(*wrong)


def test_then_takes_a_reply_alone() -> None:
    with Replay() as replay:
        replay.when(VerifyToken("nonsense")).then(False)

        with pytest.raises(AssertionError, match="replies True"):
            replay.then(True)


def test_an_error_that_no_then_looked_at_is_raised_in_the_end() -> None:
    replay = Replay().when(CreateToken(expiry=-1))

    with pytest.raises(ExpiryError):
        replay.close()


def test_an_error_that_no_then_looked_at_is_raised_before_what_follows() -> None:
    with Replay() as replay:
        replay.when(CreateToken(expiry=-1))

        with pytest.raises(ExpiryError):
            replay.when(ResetKey())


def test_an_unseen_error_does_not_hide_the_failure_of_a_test() -> None:
    with pytest.raises(AssertionError, match="the test"), Replay() as replay:
        replay.when(CreateToken(expiry=-1))
        raise AssertionError("the test failed")
