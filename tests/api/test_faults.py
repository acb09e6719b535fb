"""What a test breaks on purpose, and what its host gets to see of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from keyturn import CreateToken, ResetKey, VerifyToken
from keyturn.domain.errors import (
    LogUnavailableError,
    SessionManagerDestroyedError,
    StaleKeyError,
    TokenRefusedError,
    TransactionConflictError,
)
from keyturn.testing import (
    ClockedService,
    Destroyed,
    Fault,
    Faults,
    Replay,
    Reset,
    Rotated,
    SessionEnded,
    open_service,
)


@pytest.fixture
def replay() -> Iterator[Replay]:
    with Replay() as replay:
        yield replay


@pytest.fixture
def service() -> Iterator[ClockedService]:
    with open_service() as service:
        yield service


# --- the store is down, full, read-only, locked, slow, stale -----------------------------------


def test_a_store_that_is_down_has_no_token_made_or_checked(replay: Replay) -> None:
    token = replay.service.create_token()

    with replay.broken_store():
        replay.when(VerifyToken(token)).then(StaleKeyError)
        replay.when(CreateToken()).then(StaleKeyError)
        replay.when(ResetKey()).then(StaleKeyError)

    replay.when(VerifyToken(token)).then(True)


WRITES_FAIL: dict[str, tuple[Callable[[Faults], Fault], str, bool]] = {
    "full": (Faults.full, "the disk is full", False),
    "read-only": (Faults.read_only, "it is read-only here", False),
    "locked": (Faults.locked, "kept it locked", True),
}


@pytest.mark.parametrize("how", WRITES_FAIL)
def test_a_store_that_cannot_be_written_is_read_all_the_same(replay: Replay, how: str) -> None:
    break_it, why, is_busy = WRITES_FAIL[how]
    token = replay.service.create_token()

    with break_it(replay.faults):
        replay.when(VerifyToken(token)).then(True)
        replay.when(ResetKey()).then(LogUnavailableError)
        with pytest.raises(LogUnavailableError, match=why) as caught:
            replay.service.reset_key()

    assert (caught.value.recorded, caught.value.is_busy) == (False, is_busy)
    replay.when(ResetKey()).then(Reset(generation=2))


def test_a_slow_store_takes_its_time(service: ClockedService) -> None:
    service.faults.slow(0.05)
    began = time.monotonic()

    service.reset_key()

    assert time.monotonic() - began >= 0.05


def test_what_is_broken_stays_so_without_a_block_until_it_is_mended(
    service: ClockedService,
) -> None:
    service.faults.down()
    with pytest.raises(StaleKeyError):
        service.create_token()

    service.faults.mend()

    assert service.verify_token(service.create_token())


def test_a_stale_service_accepts_what_another_process_has_ended(service: ClockedService) -> None:
    token = service.create_token()

    with service.faults.stale():
        service.elsewhere(Reset())
        assert service.verify_token(token)

    assert not service.verify_token(token)


# --- a commit of unknown outcome ---------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_nobody_can_tell_what_became_of_a_commit_whose_reply_is_lost(
    replay: Replay, kept: bool
) -> None:
    token = replay.service.create_token()
    replay.faults.unknown_commit(kept=kept)

    with pytest.raises(LogUnavailableError) as caught:
        replay.service.reset_key(reason="theft")

    assert caught.value.recorded is None
    assert replay.service.verify_token(token) is not kept
    replay.then(*([Reset(reason="theft")] if kept else []))


# --- another process, between two lines ---------------------------------------------------------


def log_in_again(service: ClockedService, token: str) -> str:
    """A handler of a host, in two lines."""
    service.authenticate(token)
    return service.refresh_token(token)


def test_another_process_resets_between_two_lines_of_the_host(service: ClockedService) -> None:
    token = service.create_token()
    service.faults.before("refresh_token", Reset(reason="elsewhere"))

    with pytest.raises(TokenRefusedError):
        log_in_again(service, token)

    assert log_in_again(service, service.create_token())


def test_another_process_ends_a_session_between_two_lines_of_the_host(replay: Replay) -> None:
    token = replay.service.create_token(subject="alice")
    sid = replay.service.authenticate(token).sid
    replay.faults.before("refresh_token", SessionEnded(sid=sid))

    replay.when(lambda s: log_in_again(s, token))

    replay.then(TokenRefusedError)


def test_another_process_destroys_the_keys_in_one_line(service: ClockedService) -> None:
    service.elsewhere(Destroyed())

    with pytest.raises(SessionManagerDestroyedError):
        service.create_token()


def test_what_another_process_did_did_not_come_of_the_host(replay: Replay) -> None:
    replay.when(lambda s: s.elsewhere(Reset())).then()


def test_another_process_acts_on_another_manager(service: ClockedService) -> None:
    other = service.named("agents")
    token, other_token = service.create_token(), other.create_token()
    service.faults.before("create_token", Reset(manager="agents"))

    other.create_token()

    assert (service.verify_token(token), other.verify_token(other_token)) == (True, False)


def test_a_change_goes_on_from_what_another_process_committed_first(replay: Replay) -> None:
    replay.faults.before_commit(Rotated(overlap=60))

    replay.when(ResetKey()).then(Reset(generation=3))

    assert replay.service.metrics().retries == 1


def test_a_transaction_fails_if_another_process_committed_first(replay: Replay) -> None:
    def reset(service: ClockedService) -> None:
        with service.transaction() as tran:
            service.reset_key(tran=tran)

    replay.faults.before_commit(Reset())

    replay.when(reset).then(TransactionConflictError)


# --- a fault that did not happen ----------------------------------------------------------------


@pytest.mark.parametrize("opened", [Replay, open_service])
def test_a_fault_that_was_to_happen_and_did_not_fails_the_test(
    opened: Callable[[], Replay | ClockedService],
) -> None:
    never = pytest.raises(AssertionError, match=r"faults.before\('refresh_token'\): it never")
    with never, opened() as under_test:
        under_test.faults.before("refresh_token", Reset())


def test_a_fault_that_did_not_happen_hides_no_failure() -> None:
    with pytest.raises(ZeroDivisionError), open_service() as service:
        service.faults.unknown_commit(kept=True)
        raise ZeroDivisionError


def test_another_process_must_be_told_what_to_do(service: ClockedService) -> None:
    with pytest.raises(TypeError, match="say what the other process does"):
        service.faults.before_commit()
    with pytest.raises(TypeError, match=r"write Reset\(\)"):
        service.faults.before("reset_key", Reset)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has no method 'resetkey'"):
        service.faults.before("resetkey", Reset())
