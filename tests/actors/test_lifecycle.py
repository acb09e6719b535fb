"""Running, stopped, destroyed: the same for both actors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import (
    Destroy,
    Session,
    SessionManager,
    Start,
    Stop,
)
from keyturn.domain import errors
from keyturn.domain.errors import (
    DestroyedError,
    NotRunningError,
    RunningError,
)
from tests.actors.conftest import WORK
from tests.actors.in_memory import call_style, store_url  # noqa: F401 - fixtures
from tests.actors.ways import Way

Ref = pykka.ActorRef[Any]
StartManager = Callable[..., pykka.ActorRef[SessionManager]]


def work(actor: Ref) -> None:
    keyturn.ask(actor, WORK[actor.actor_class][1])


def own_error(actor: Ref, kind: str) -> type[Exception]:
    error: type[Exception] = getattr(errors, f"{actor.actor_class.__name__}{kind}Error")
    return error


def test_an_actor_is_created_running(actor: Ref) -> None:
    work(actor)  # does not raise


def test_start_when_running_does_nothing(actor: Ref) -> None:
    keyturn.ask(actor, Start())

    work(actor)


def test_start_fresh_when_running_is_a_running_error(actor: Ref) -> None:
    with pytest.raises(own_error(actor, "Running")) as caught:
        keyturn.ask(actor, Start(fresh=True))

    assert isinstance(caught.value, RunningError)


def test_start_with_a_token_when_running_is_a_session_running_error(tmp_path: Path) -> None:
    session = Session.start(tmp_path / "token")

    with pytest.raises(errors.SessionRunningError):
        keyturn.ask(session, Start(session_token="a.b.c"))


def test_stop_when_stopped_does_nothing(actor: Ref) -> None:
    keyturn.ask(actor, Stop())

    keyturn.ask(actor, Stop())

    assert actor.is_alive()


def test_any_work_when_stopped_is_a_not_running_error(actor: Ref) -> None:
    keyturn.ask(actor, Stop())

    for message in WORK[actor.actor_class]:
        with pytest.raises(own_error(actor, "NotRunning"), match="start it first") as caught:
            keyturn.ask(actor, message)
        assert isinstance(caught.value, NotRunningError)


def test_destroy_when_running_is_a_running_error(actor: Ref) -> None:
    with pytest.raises(own_error(actor, "Running")):
        keyturn.ask(actor, Destroy())

    work(actor)


def test_a_stopped_actor_can_be_started_again(actor: Ref) -> None:
    for _ in range(3):
        keyturn.ask(actor, Stop())
        keyturn.ask(actor, Start())

    work(actor)


def test_start_after_destroy_is_a_destroyed_error(actor: Ref) -> None:
    keyturn.ask(actor, Stop())
    keyturn.ask(actor, Destroy())

    with pytest.raises(own_error(actor, "Destroyed")) as caught:
        keyturn.ask(actor, Start())

    assert isinstance(caught.value, DestroyedError)


def test_any_work_after_destroy_is_a_not_running_error(actor: Ref) -> None:
    keyturn.ask(actor, Stop())
    keyturn.ask(actor, Destroy())

    for message in WORK[actor.actor_class]:
        with pytest.raises(own_error(actor, "NotRunning"), match="destroyed"):
            keyturn.ask(actor, message)


@pytest.mark.parametrize("message", [Stop(), Destroy()], ids=["stop", "destroy"])
def test_stop_and_destroy_after_destroy_do_nothing(actor: Ref, message: Any) -> None:
    keyturn.ask(actor, Stop())
    keyturn.ask(actor, Destroy())

    keyturn.ask(actor, message)

    with pytest.raises(DestroyedError):
        keyturn.ask(actor, Start())


@pytest.mark.parametrize("of", ["SessionManager", "Session"])
def test_every_destroyed_error_is_a_not_running_error_too(of: str) -> None:
    destroyed = getattr(errors, f"{of}DestroyedError")

    assert issubclass(destroyed, getattr(errors, f"{of}NotRunningError"))


# --- the manager, in each way ------------------------------------------------------------------


def test_a_stopped_manager_can_be_started_again_and_verifies_what_it_issued(manager: Way) -> None:
    token = manager.create_token()

    manager.stop()
    manager.start()

    assert manager.verify_token(token)


def test_a_stopped_manager_refuses_to_verify_rather_than_say_false(manager: Way) -> None:
    token = manager.create_token()
    manager.stop()

    with pytest.raises(errors.SessionManagerNotRunningError):
        manager.verify_token(token)


def test_a_stopped_manager_does_not_say_whose_a_token_is(manager: Way) -> None:
    token = manager.create_token()
    manager.stop()

    with pytest.raises(errors.SessionManagerNotRunningError):
        manager.authenticate(token)
    with pytest.raises(errors.SessionManagerNotRunningError):
        manager.authenticate_tokens([token])


def test_a_manager_that_is_started_fresh_refuses_every_earlier_token(manager: Way) -> None:
    token = manager.create_token()
    manager.stop()

    manager.start(fresh=True)

    assert not manager.verify_token(token)


def test_a_manager_is_destroyed_in_each_way(manager: Way) -> None:
    manager.stop()
    manager.destroy()

    with pytest.raises(errors.SessionManagerDestroyedError):
        manager.start()


def test_a_running_manager_is_not_destroyed_in_any_way(manager: Way) -> None:
    with pytest.raises(errors.SessionManagerRunningError):
        manager.destroy()

    assert manager.verify_token(manager.create_token())
