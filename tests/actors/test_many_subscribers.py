"""Subscribers do not disturb each other, and one that is dead is dropped."""

from __future__ import annotations

import logging
import queue
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import (
    Subscribe,
    Unsubscribe,
)
from keyturn.domain.errors import SessionManagerNotRunningError, UnknownMessageError
from tests.actors.conftest import Ear
from tests.actors.in_memory import store_url  # noqa: F401 - a fixture

Ref = pykka.ActorRef[Any]


def test_every_subscriber_is_told(ref: Ref) -> None:
    ears = [Ear() for _ in range(5)]
    for ear in ears:
        keyturn.ask(ref, Subscribe(ear.ref))

    keyturn.ask(ref, keyturn.ResetKey("all"))

    assert [ear.next().reason for ear in ears] == ["all"] * 5


def test_one_who_subscribes_twice_is_told_once(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, Subscribe(ear.ref))
    keyturn.ask(ref, Subscribe(ear.ref))

    keyturn.ask(ref, keyturn.ResetKey("one"))
    keyturn.ask(ref, keyturn.ResetKey("two"))

    assert [ear.next().reason for _ in range(2)] == ["one", "two"]


def test_a_later_subscriber_is_told_only_of_later_changes(ref: Ref, ear: Ear) -> None:
    later = Ear()
    keyturn.ask(ref, Subscribe(ear.ref))
    keyturn.ask(ref, keyturn.ResetKey("one"))

    keyturn.ask(ref, Subscribe(later.ref))
    keyturn.ask(ref, keyturn.ResetKey("two"))

    assert ([ear.next().reason for _ in range(2)], later.next().reason) == (["one", "two"], "two")


def test_one_who_unsubscribed_is_told_no_more(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, Subscribe(ear.ref))

    keyturn.ask(ref, Unsubscribe(ear.ref))
    keyturn.ask(ref, keyturn.ResetKey())
    keyturn.ask(ref, keyturn.Stop())

    assert ear.heard_nothing_more()


def test_one_who_comes_back_is_told_of_nothing_in_between(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, Subscribe(ear.ref))
    keyturn.ask(ref, Unsubscribe(ear.ref))
    keyturn.ask(ref, keyturn.ResetKey("in between"))

    keyturn.ask(ref, Subscribe(ear.ref))
    keyturn.ask(ref, keyturn.ResetKey("after"))

    assert ear.next().reason == "after"


def test_one_who_never_subscribed_can_unsubscribe(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, Unsubscribe(ear.ref))

    assert keyturn.ask(ref, keyturn.SetupKey()).generation == 1


def test_a_dead_subscriber_is_dropped_and_the_others_are_told(ref: Ref, ear: Ear) -> None:
    dead = Ear()
    for subscriber in (dead, ear):
        keyturn.ask(ref, Subscribe(subscriber.ref))
    dead.ref.stop(timeout=30)

    keyturn.ask(ref, keyturn.ResetKey("one"))
    keyturn.ask(ref, keyturn.ResetKey("two"))

    assert [ear.next().reason for _ in range(2)] == ["one", "two"]


def test_a_dead_subscriber_is_logged_once(
    ref: Ref, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="keyturn")
    keyturn.ask(ref, Subscribe(ear.ref))
    ear.ref.stop(timeout=30)

    for _ in range(3):
        keyturn.ask(ref, keyturn.ResetKey())
    keyturn.ask(ref, keyturn.Stop())

    lines = [r.getMessage() for r in caplog.records if "dropped a subscriber" in r.getMessage()]
    assert ["ActorDeadError" in line for line in lines] == [True]


class FullRef(pykka.ActorRef[Any]):
    """A reference whose tell raises."""

    def tell(self, message: object) -> None:
        raise queue.Full


def test_a_subscriber_whose_tell_raises_is_dropped_and_the_others_are_told(
    ref: Ref, ear: Ear
) -> None:
    full = FullRef(ear.ref._actor_weakref())
    for subscriber in (full, ear.ref):
        keyturn.ask(ref, Subscribe(subscriber))

    keyturn.ask(ref, keyturn.ResetKey("told"))

    assert ear.next().reason == "told"


@pytest.mark.parametrize("nobody", [None, "ear", 7, Ear])
def test_what_cannot_be_told_anything_cannot_subscribe(ref: Ref, nobody: Any) -> None:
    with pytest.raises(UnknownMessageError, match="ActorRef"):
        keyturn.ask(ref, Subscribe(nobody))


def test_nobody_can_subscribe_to_a_stopped_manager(ref: Ref, ear: Ear) -> None:
    keyturn.ask(ref, keyturn.Stop())

    with pytest.raises(SessionManagerNotRunningError):
        keyturn.ask(ref, Subscribe(ear.ref))
