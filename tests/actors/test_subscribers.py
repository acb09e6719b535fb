"""Subscribers are told what happens: in order, each once, whoever made it happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import (
    ManagerDestroyed,
    ManagerStarted,
    ManagerStopped,
    Service,
    SessionKeys,
    SessionManager,
    Subscribe,
)
from tests.actors.conftest import Ear
from tests.actors.ways import Way

Ref = pykka.ActorRef[Any]
StartManager = Callable[..., pykka.ActorRef[SessionManager]]
RESET_ELSEWHERE = """
import sys, keyturn
with keyturn.open(path=sys.argv[1], password=None) as service:
    for number in range(int(sys.argv[2])):
        service.reset_key(f"elsewhere {number}")
"""


def test_a_subscriber_is_told_of_a_reset(manager: Way, stored_service: Service, ear: Ear) -> None:
    keyturn.ask(stored_service.manager, Subscribe(ear.ref))

    manager.reset_key("stolen", "alice")

    event = ear.next()
    assert (type(event), event.reason, event.initiator, event.generation) == (
        SessionKeys.KeyReset,
        "stolen",
        "alice",
        2,
    )


def test_a_subscriber_is_not_told_of_what_was_before(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, keyturn.ResetKey("before"))
    keyturn.ask(ref, Subscribe(ear.ref))

    keyturn.ask(ref, keyturn.ResetKey("after"))

    assert ear.next().reason == "after"


def test_a_subscriber_is_told_of_the_managers_life_in_order(
    manager: Way, stored_service: Service, ear: Ear
) -> None:
    keyturn.ask(stored_service.manager, Subscribe(ear.ref))

    manager.stop()
    manager.start()
    manager.stop()
    manager.start(fresh=True)
    manager.stop()
    manager.destroy()

    assert ear.next_kinds(8) == [
        "ManagerStopped",
        "ManagerStarted",
        "ManagerStopped",
        "reset",
        "ManagerStarted",
        "ManagerStopped",
        "destroyed",
        "ManagerDestroyed",
    ]


def test_a_subscriber_is_told_that_the_keys_were_destroyed_also_when_they_are_purged(
    ref: Ref, ear: Ear
) -> None:
    keyturn.ask(ref, Subscribe(ear.ref))
    keyturn.ask(ref, keyturn.Stop())

    keyturn.ask(ref, keyturn.Destroy(purge=True))

    assert ear.next_kinds(3) == ["ManagerStopped", "destroyed", "ManagerDestroyed"]


@pytest.mark.parametrize("event", [ManagerStarted, ManagerStopped, ManagerDestroyed])
def test_an_event_of_its_life_names_the_manager(
    start_manager: StartManager, ear: Ear, event: type[Any]
) -> None:
    ref = start_manager(name="other")
    keyturn.ask(ref, Subscribe(ear.ref))

    for message in (keyturn.Stop(), keyturn.Start(), keyturn.Stop(), keyturn.Destroy()):
        keyturn.ask(ref, message)

    told = [ear.next() for _ in range(5)]
    assert event("other") in told


def test_a_subscriber_is_told_of_each_change_once_and_in_order(
    manager: Way, stored_service: Service, ear: Ear
) -> None:
    keyturn.ask(stored_service.manager, Subscribe(ear.ref))

    for number in range(50):
        manager.reset_key(f"{number}")
    keyturn.ask(stored_service.manager, keyturn.Stop())

    told = [ear.next() for _ in range(51)]
    assert [event.reason for event in told[:-1]] == [f"{number}" for number in range(50)]
    assert told[-1] == ManagerStopped("default")


def test_a_subscriber_is_told_of_a_transaction_once_it_is_committed(
    manager: Way, stored_service: Service, ear: Ear
) -> None:
    keyturn.ask(stored_service.manager, Subscribe(ear.ref))

    with manager.transaction() as tran:
        manager.reset_key("one", tran=tran)
        manager.reset_key("two", tran=tran)
        told_before = not ear.heard_nothing_more()

    assert (told_before, [ear.next().reason for _ in range(2)]) == (False, ["one", "two"])


def test_a_subscriber_is_not_told_of_a_transaction_that_was_discarded(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, Subscribe(ear.ref))

    with pytest.raises(ZeroDivisionError), keyturn.transaction(ref) as tran:
        keyturn.ask(ref, keyturn.ResetKey(tran=tran))
        raise ZeroDivisionError
    keyturn.ask(ref, keyturn.Stop())

    assert ear.next() == ManagerStopped("default")


def test_a_subscriber_is_told_what_another_manager_of_the_name_did(
    start_manager: StartManager, ear: Ear
) -> None:
    here, elsewhere = start_manager(), start_manager()
    keyturn.ask(here, Subscribe(ear.ref))

    for number in range(20):
        keyturn.ask(elsewhere, keyturn.ResetKey(f"{number}"))

    assert [ear.next().reason for _ in range(20)] == [f"{number}" for number in range(20)]


def test_a_subscriber_is_not_told_what_a_manager_of_another_name_did(
    start_manager: StartManager, ear: Ear
) -> None:
    here, other = start_manager(), start_manager(name="other")
    keyturn.ask(here, Subscribe(ear.ref))

    keyturn.ask(other, keyturn.ResetKey("other"))
    keyturn.ask(here, keyturn.ResetKey("here"))

    assert ear.next().reason == "here"


def test_a_subscriber_is_told_of_changes_by_another_process_in_order_and_once(
    service: Service, ear: Ear, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    keyturn.ask(service.manager, Subscribe(ear.ref))

    run_python(RESET_ELSEWHERE, tmp_path / "data", 50)
    service.reset_key("here")

    expected = [*(f"elsewhere {number}" for number in range(50)), "here"]
    assert [ear.next().reason for _ in expected] == expected


def test_a_subscriber_is_told_of_a_destroy_by_another_manager(
    start_manager: StartManager, ear: Ear
) -> None:
    here, elsewhere = start_manager(), start_manager()
    keyturn.ask(here, Subscribe(ear.ref))

    keyturn.ask(elsewhere, keyturn.Stop())
    keyturn.ask(elsewhere, keyturn.Destroy())

    assert ear.next_kinds(1) == ["destroyed"]


def test_what_happened_while_a_manager_was_stopped_is_told_when_it_starts(
    start_manager: StartManager, ear: Ear
) -> None:
    here, elsewhere = start_manager(), start_manager()
    keyturn.ask(here, Subscribe(ear.ref))
    keyturn.ask(here, keyturn.Stop())
    keyturn.ask(elsewhere, keyturn.ResetKey())

    keyturn.ask(here, keyturn.Start())

    assert ear.next_kinds(3) == ["ManagerStopped", "reset", "ManagerStarted"]
