"""The errors: one tree, facts as attributes, and whole after a journey between processes."""

from __future__ import annotations

import inspect
import pickle
from datetime import UTC, datetime

import pytest

from keyturn.actors.asking import ActorStoppedError, AskTimeoutError
from keyturn.domain import errors
from keyturn.domain.errors import KeyturnError, Refusal

ERRORS = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, BaseException)
] + [AskTimeoutError, ActorStoppedError]

FACTS: dict[str, object] = {
    "path": "/data/keyring.json",
    "location": "keyturn.db",
    "recorded": True,
    "is_busy": True,
    "expected": "vone",
    "found": "vother",
    "position": 7,
    "what": "its signature is wrong",
    "line": 3,
    "expected_position": 9,
    "found_position": 5,
    "reason": Refusal.EXPIRED,
    "key_id": "25BcIZcXt-yXjA3W",
    "claim": "role",
    "field": "initiator",
    "key": "store",
    "source": "KEYTURN_STORE",
    "timeout": 2.5,
    "limit": 32,
    "managers": ("default",),
    "name": "defualt",
    "until": datetime(2026, 11, 24, tzinfo=UTC),
}


def facts_of(error: type[KeyturnError]) -> dict[str, object]:
    """The facts that the class takes, each with a value that is not its default."""
    parameters = inspect.signature(error.__init__).parameters.values()
    return {p.name: FACTS[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_a_keyturn_error(error: type[BaseException]) -> None:
    assert issubclass(error, KeyturnError)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_says_in_its_docstring_what_it_means(error: type[BaseException]) -> None:
    assert error.__doc__
    assert error.__doc__ != (error.__base__ or object).__doc__


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_keeps_its_facts_as_attributes(error: type[KeyturnError]) -> None:
    facts = facts_of(error)

    raised = error("what was wrong", **facts)

    assert {name: getattr(raised, name) for name in facts} == facts
    assert str(raised) == "what was wrong"


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_can_be_made_of_a_message_alone(error: type[KeyturnError]) -> None:
    assert str(error("what was wrong")) == "what was wrong"


def test_the_base_of_all_can_be_raised_without_a_message_as_mocks_do() -> None:
    with pytest.raises(KeyturnError):
        raise KeyturnError


@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("error", ERRORS)
def test_every_error_survives_pickling_with_its_facts(
    error: type[KeyturnError], protocol: int
) -> None:
    facts = facts_of(error)
    raised = error("what was wrong", **facts)

    copy = pickle.loads(pickle.dumps(raised, protocol))

    assert type(copy) is error
    assert str(copy) == "what was wrong"
    assert {name: getattr(copy, name) for name in facts} == facts


def test_a_destroyed_session_manager_is_one_that_is_not_running() -> None:
    assert issubclass(errors.SessionManagerDestroyedError, errors.SessionManagerNotRunningError)
    assert issubclass(errors.SessionDestroyedError, errors.SessionNotRunningError)


def test_a_missing_password_is_a_wrong_one_and_bad_arguments_are_value_errors() -> None:
    assert issubclass(errors.PasswordRequiredError, errors.WrongPasswordError)
    assert all(
        issubclass(error, ValueError)
        for error in (errors.NodeIdError, errors.ClaimError, errors.ExpiryError)
    )


def test_every_refusal_has_a_text_of_its_own() -> None:
    assert len({refusal.value for refusal in Refusal}) == len(Refusal)
