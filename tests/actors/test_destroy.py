"""Destroy is for good, for everybody on the log; a new manager goes on with the numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import EventLog, RotationHistory, Service, SessionManager
from keyturn.domain.errors import Refusal, SessionManagerDestroyedError, TokenRefusedError

StartManager = Callable[..., pykka.ActorRef[SessionManager]]
Ref = pykka.ActorRef[Any]


def destroy(ref: Ref, *, purge: bool = False) -> None:
    keyturn.ask(ref, keyturn.Stop())
    keyturn.ask(ref, keyturn.Destroy(purge))


@pytest.fixture
def other(start_manager: StartManager, ref: Ref) -> Ref:
    """A second manager of the same name on the same log."""
    return start_manager()


def test_destroy_is_an_event_and_removes_nothing(ref: Ref, log: EventLog) -> None:
    keyturn.ask(ref, keyturn.ResetKey())

    destroy(ref)

    kinds = [change.kind for change in RotationHistory(log)]
    assert kinds == ["generated", "reset", "destroyed"]


def test_a_new_manager_after_a_destroy_goes_on_with_the_next_generation(
    ref: Ref, start_manager: StartManager, log: EventLog
) -> None:
    destroy(ref)

    key = keyturn.ask(start_manager(), keyturn.SetupKey())

    newest = next(RotationHistory(log).changes(newest_first=True))
    assert (key.generation, newest.kind, newest.position) == (2, "generated", 3)


def test_a_token_from_before_a_destroy_stays_refused_by_a_new_manager(
    ref: Ref, start_manager: StartManager
) -> None:
    token = keyturn.ask(ref, keyturn.CreateToken())
    destroy(ref)

    verdict = keyturn.ask(start_manager(), keyturn.VerifyToken(token))

    assert verdict is False


def test_a_manager_destroyed_by_another_refuses_its_tokens_at_once(ref: Ref, other: Ref) -> None:
    token = keyturn.ask(other, keyturn.CreateToken())

    destroy(ref)

    assert keyturn.ask(other, keyturn.VerifyToken(token)) is False


@pytest.mark.parametrize("purge", [False, True], ids=["destroyed", "purged"])
def test_a_manager_destroyed_by_another_says_so_when_asked_to_work(
    ref: Ref, other: Ref, purge: bool
) -> None:
    destroy(ref, purge=purge)

    for message in (keyturn.CreateToken(), keyturn.ResetKey(), keyturn.SetupKey()):
        with pytest.raises(SessionManagerDestroyedError):
            keyturn.ask(other, message)


def test_a_manager_destroyed_by_another_refuses_to_refresh(ref: Ref, other: Ref) -> None:
    token = keyturn.ask(other, keyturn.CreateToken())
    destroy(ref)

    with pytest.raises(TokenRefusedError) as caught:
        keyturn.ask(other, keyturn.RefreshToken(token))

    assert caught.value.reason is Refusal.UNKNOWN_KEY


def test_a_manager_destroyed_by_another_can_be_destroyed_here_too(
    ref: Ref, other: Ref, log: EventLog
) -> None:
    destroy(ref)

    destroy(other)

    assert [change.kind for change in RotationHistory(log)] == ["generated", "destroyed"]


def test_a_stopped_manager_whose_keys_another_destroyed_cannot_be_started_again(
    ref: Ref, other: Ref, log: EventLog
) -> None:
    keyturn.ask(other, keyturn.Stop())
    destroy(ref)

    with pytest.raises(SessionManagerDestroyedError):
        keyturn.ask(other, keyturn.Start())

    assert [change.kind for change in RotationHistory(log)] == ["generated", "destroyed"]


def test_a_destroyed_manager_refuses_its_tokens_in_another_process(
    service: Service, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    token = service.create_token()

    run_python(
        "import sys, keyturn\n"
        "with keyturn.open(path=sys.argv[1], password=None) as service:\n"
        "    service.stop()\n"
        "    service.destroy()\n",
        tmp_path / "data",
    )

    assert service.verify_token(token) is False
    with pytest.raises(SessionManagerDestroyedError):
        service.create_token()


# --- purge -------------------------------------------------------------------------------------


def test_a_purge_removes_the_history_but_for_the_event_that_says_so(
    ref: Ref, log: EventLog
) -> None:
    keyturn.ask(ref, keyturn.ResetKey())

    destroy(ref, purge=True)

    (event,) = log.key_events("default")
    assert (event.kind, event.originator_version, event.is_purge) == ("destroyed", 3, True)
    assert b"sealed_key" not in b"".join(bytes(row.state) for row in log.rows())


def test_what_was_destroyed_can_be_purged_later(ref: Ref, log: EventLog) -> None:
    destroy(ref)

    keyturn.ask(ref, keyturn.Destroy(purge=True))

    assert [event.is_purge for event in log.key_events("default")] == [True]


def test_what_was_purged_is_not_purged_again(ref: Ref, log: EventLog) -> None:
    destroy(ref, purge=True)
    before = list(log.rows())

    keyturn.ask(ref, keyturn.Destroy(purge=True))

    assert list(log.rows()) == before


def test_a_late_purge_leaves_alone_what_another_manager_has_begun_anew(
    ref: Ref, start_manager: StartManager, log: EventLog
) -> None:
    destroy(ref)
    anew = start_manager()

    keyturn.ask(ref, keyturn.Destroy(purge=True))

    assert keyturn.ask(anew, keyturn.SetupKey()).generation == 2
    assert len(list(log.rows())) == 3


def test_a_purge_leaves_another_manager_of_the_log_alone(
    start_manager: StartManager, log: EventLog
) -> None:
    one, other = start_manager(name="one"), start_manager(name="other")
    token = keyturn.ask(other, keyturn.CreateToken())

    destroy(one, purge=True)

    assert keyturn.ask(other, keyturn.VerifyToken(token))
    assert [change.kind for change in RotationHistory(log, "other")] == ["generated"]


def test_a_new_manager_after_a_purge_goes_on_from_it(
    ref: Ref, start_manager: StartManager, log: EventLog
) -> None:
    destroy(ref, purge=True)

    start_manager()

    changes = list(RotationHistory(log))
    assert [(c.kind, c.generation, c.position) for c in changes] == [
        ("destroyed", 1, 2),
        ("generated", 2, 3),
    ]


def test_a_purge_beside_other_writers_is_followed_by_all_of_them(
    ref: Ref, other: Ref, log: EventLog
) -> None:
    keyturn.ask(other, keyturn.ResetKey())
    keyturn.ask(ref, keyturn.Stop())

    keyturn.ask(ref, keyturn.Destroy(purge=True))

    with pytest.raises(SessionManagerDestroyedError):
        keyturn.ask(other, keyturn.ResetKey())
    assert [event.is_purge for event in log.key_events("default")] == [True]


def test_a_token_from_before_a_purge_stays_refused(ref: Ref, start_manager: StartManager) -> None:
    token = keyturn.ask(ref, keyturn.CreateToken())
    destroy(ref, purge=True)

    report = keyturn.ask(start_manager(), keyturn.InspectToken(token))

    assert (report.valid, report.refusal) == (False, Refusal.UNKNOWN_KEY)


def test_a_purged_manager_can_be_opened_again_although_the_anchor_saw_more(
    tmp_path: Path,
) -> None:
    with keyturn.open(path=tmp_path, password=None) as service:
        service.reset_key()
        service.stop()
        service.destroy(purge=True)

    with keyturn.open(path=tmp_path, password=None) as service:
        assert [change.generation for change in service.history()] == [2, 3]
