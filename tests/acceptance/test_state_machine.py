"""Whatever is done in whatever order: a token is good if and only if its key is the current one.

Hypothesis makes up sequences of operations, of this process and of a second one on the same
folder, and compares each answer with a model of a few lines.
"""

from __future__ import annotations

import atexit
import itertools
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

import keyturn
from keyturn.domain.errors import SessionManagerNotRunningError, TokenRefusedError
from tests.config.second_process import SecondProcess

_names = (f"manager {number}" for number in itertools.count())
Issued = tuple[str, int]
"""A token, and the generation of its key."""


@cache
def _folder() -> Path:
    """Return one data folder for all examples; each has a manager of its own in it."""
    folder = tempfile.TemporaryDirectory(prefix="keyturn-")
    atexit.register(folder.cleanup)
    keyturn.open(path=Path(folder.name), password=None).close()
    return Path(folder.name)


@cache
def _second_process() -> SecondProcess:
    """Return one second process for all examples: to start one takes half a second."""
    process = SecondProcess(_folder())
    atexit.register(process.close)
    return process


class Model:
    """What should be: the whole of it."""

    def __init__(self) -> None:
        self.generation = 1
        self.is_running = True

    def is_good(self, issued: Issued) -> bool:
        return issued[1] == self.generation


class KeysOfTwoProcesses(RuleBasedStateMachine):
    """A service here, another one of the same manager in a second process."""

    tokens: Bundle[Issued] = Bundle("tokens")

    @initialize()
    def begin(self) -> None:
        self.model, self.name = Model(), next(_names)
        self.service = keyturn.open(path=_folder(), password=None, name=self.name)
        self.is_served_elsewhere = False

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.service.close()

    @property
    def second(self) -> SecondProcess:
        if not self.is_served_elsewhere:
            _second_process().serve(self.name)
            self.is_served_elsewhere = True
        return _second_process()

    @rule(target=tokens, claims=st.none() | st.just({"role": "admin"}))
    def create(self, claims: dict[str, str] | None) -> Any:
        if not self.model.is_running:
            with pytest.raises(SessionManagerNotRunningError):
                self.service.create_token(claims=claims)
            return multiple()
        return self.service.create_token(claims=claims), self.model.generation

    @rule(target=tokens)
    def create_in_the_second_process(self) -> Issued:
        return self.second.create(), self.model.generation

    @rule(issued=tokens)
    def verify(self, issued: Issued) -> None:
        if not self.model.is_running:
            with pytest.raises(SessionManagerNotRunningError):
                self.service.verify_token(issued[0])
        else:
            assert self.service.verify_token(issued[0]) == self.model.is_good(issued)

    @rule(issued=tokens)
    def verify_in_the_second_process(self, issued: Issued) -> None:
        assert self.second.verify(issued[0]) == self.model.is_good(issued)

    @rule(target=tokens, issued=tokens)
    def refresh(self, issued: Issued) -> Any:
        if not self.model.is_running:
            with pytest.raises(SessionManagerNotRunningError):
                self.service.refresh_token(issued[0])
        elif self.model.is_good(issued):
            return self.service.refresh_token(issued[0]), self.model.generation
        else:
            with pytest.raises(TokenRefusedError):
                self.service.refresh_token(issued[0])
        return multiple()

    @rule()
    def reset(self) -> None:
        if not self.model.is_running:
            with pytest.raises(SessionManagerNotRunningError):
                self.service.reset_key()
        else:
            self.service.reset_key()
            self.model.generation += 1

    @rule()
    def reset_by_the_second_process(self) -> None:
        generation = self.second.reset()
        self.model.generation += 1
        assert generation == self.model.generation

    @rule()
    def stop(self) -> None:
        self.service.stop()
        self.model.is_running = False

    @rule()
    def start(self) -> None:
        self.service.start()
        self.model.is_running = True

    @rule()
    def start_fresh_after_a_stop(self) -> None:
        self.service.stop()
        self.service.start(fresh=True)
        self.model.is_running = True
        self.model.generation += 1

    @rule(fresh=st.booleans())
    def reopen(self, fresh: bool) -> None:
        self.service.close()
        self.service = keyturn.open(path=_folder(), password=None, name=self.name, fresh=fresh)
        self.model.is_running = True
        self.model.generation += fresh

    @rule()
    def discard_a_transaction(self) -> None:
        if self.model.is_running:
            with pytest.raises(InterruptedError), self.service.transaction() as tran:
                self.service.reset_key(tran=tran)
                raise InterruptedError

    @rule()
    def commit_a_transaction(self) -> None:
        if self.model.is_running:
            with self.service.transaction() as tran:
                self.service.reset_key(tran=tran)
                self.service.reset_key(tran=tran)
            self.model.generation += 2

    @invariant()
    def the_history_has_each_generation_once(self) -> None:
        if hasattr(self, "service"):
            generations = [change.generation for change in self.service.history()]
            assert generations == list(range(1, self.model.generation + 1))


KeysOfTwoProcesses.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestG2ATokenIsGoodIfAndOnlyIfItsKeyIsTheCurrentOne = KeysOfTwoProcesses.TestCase
