"""Managers of one log: of one name they are one, of different names strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import SessionManager
from keyturn.domain.errors import (
    AuditTextError,
)

StartManager = Callable[..., pykka.ActorRef[SessionManager]]


def test_managers_of_different_names_do_not_accept_each_others_tokens(
    start_manager: StartManager,
) -> None:
    one, other = start_manager(name="one"), start_manager(name="other")

    token = keyturn.ask(one, keyturn.CreateToken())

    assert (
        keyturn.ask(one, keyturn.VerifyToken(token)),
        keyturn.ask(other, keyturn.VerifyToken(token)),
    ) == (True, False)


def test_a_reset_of_one_manager_leaves_the_tokens_of_another_alone(
    start_manager: StartManager,
) -> None:
    one, other = start_manager(name="one"), start_manager(name="other")
    token = keyturn.ask(other, keyturn.CreateToken())

    keyturn.ask(one, keyturn.ResetKey())

    assert keyturn.ask(other, keyturn.VerifyToken(token))


def test_managers_of_the_same_name_accept_each_others_tokens(start_manager: StartManager) -> None:
    one, other = start_manager(), start_manager()

    token = keyturn.ask(one, keyturn.CreateToken())

    assert keyturn.ask(other, keyturn.VerifyToken(token))


def test_g2_a_reset_by_one_manager_is_one_by_all_of_its_name(start_manager: StartManager) -> None:
    one, other = start_manager(), start_manager()
    token = keyturn.ask(other, keyturn.CreateToken())

    keyturn.ask(one, keyturn.ResetKey())

    assert not keyturn.ask(other, keyturn.VerifyToken(token))


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 101, 5])
def test_a_name_that_cannot_be_recorded_is_an_error_at_the_start(
    start_manager: StartManager, name: Any
) -> None:
    with pytest.raises(AuditTextError):
        start_manager(name=name)
