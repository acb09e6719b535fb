"""A handle whose actor died, or whose process was forked."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import keyturn
from keyturn import Service
from keyturn.domain.errors import (
    LogClosedError,
    SessionManagerDestroyedError,
    SessionManagerNotRunningError,
)
from tests.api.uses import USES

RunPython = Callable[..., subprocess.CompletedProcess[str]]


pytestmark = pytest.mark.usefixtures("each_shared_store")


def kill_with_stop(service: Service) -> None:
    service.manager.stop(timeout=30)


def kill_with_stop_all(service: Service) -> None:
    pykka.ActorRegistry.stop_all(timeout=30)


every_death = pytest.mark.parametrize("kill", [kill_with_stop, kill_with_stop_all])


@every_death
def test_a_manager_that_was_killed_is_started_again_at_its_next_use(
    service: Service, kill: Callable[[Service], None]
) -> None:
    token = service.create_token()
    kill(service)

    key = keyturn.ask(service.manager, keyturn.SetupKey())

    assert (key.generation, service.verify_token(token)) == (1, True)


@every_death
def test_a_service_whose_manager_was_killed_can_be_used(
    service: Service, tmp_path: Path, kill: Callable[[Service], None]
) -> None:
    for name in sorted(set(USES) - {"refresh_token", "destroy"}):
        kill(service)

        USES[name](service, tmp_path)

        assert service.manager.is_alive(), name
        service.start()  # one of them has stopped it


@every_death
def test_a_stopped_manager_that_was_killed_comes_back_stopped(
    service: Service, kill: Callable[[Service], None]
) -> None:
    service.stop()
    kill(service)

    with pytest.raises(SessionManagerNotRunningError):
        keyturn.ask(service.manager, keyturn.CreateToken())
    with pytest.raises(SessionManagerNotRunningError):
        service.create_token()


@every_death
def test_a_stopped_manager_that_was_killed_can_be_started(
    service: Service, kill: Callable[[Service], None]
) -> None:
    service.stop()
    kill(service)

    service.start()

    assert service.verify_token(service.create_token())


@every_death
def test_a_destroyed_manager_that_was_killed_does_not_come_back(
    service: Service, kill: Callable[[Service], None]
) -> None:
    service.stop()
    service.destroy()
    kill(service)

    with pytest.raises(SessionManagerDestroyedError):
        service.start()

    assert [change.kind for change in service.history()] == ["generated", "destroyed"]


def test_a_manager_that_was_killed_is_started_once_by_many_threads(service: Service) -> None:
    service.manager.stop(timeout=30)
    together = threading.Barrier(8, timeout=30)
    found: queue.Queue[Any] = queue.Queue()

    def use() -> None:
        together.wait()
        found.put(service.manager.actor_urn)

    for _ in range(8):
        threading.Thread(target=use).start()

    assert len({found.get(timeout=30) for _ in range(8)}) == 1


def test_a_manager_that_was_killed_sees_what_happened_meanwhile(
    service: Service, tmp_path: Path
) -> None:
    token = service.create_token()
    service.manager.stop(timeout=30)
    with keyturn.open(path=tmp_path / "data", password=None) as elsewhere:
        elsewhere.reset_key()

    assert not keyturn.ask(service.manager, keyturn.VerifyToken(token))


# --- fork --------------------------------------------------------------------------------------

AFTER_FORK = """
import os, sys, warnings, keyturn
warnings.simplefilter("ignore")
service = keyturn.open(path=sys.argv[1], password=None)
token = service.create_token()
service.reset_key("before")
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    outcomes = []
    for use in (
        lambda: service.create_token(),
        lambda: service.verify_token(token),
        lambda: service.refresh_token(token),
        lambda: service.inspect_token(token),
        lambda: service.reset_key("child"),
        lambda: list(service.history()),
        lambda: service.transaction().__enter__(),
        lambda: service.stop(),
        lambda: service.manager,
    ):
        try:
            use()
            outcomes.append("nothing")
        except BaseException as error:
            outcomes.append(type(error).__name__)
    service.close()
    os.write(writing, ",".join(outcomes).encode())
    os._exit(0)
_, status = os.waitpid(child, 0)
service.reset_key("after")
print(os.read(reading, 10_000).decode(), status)
print([change.reason for change in service.history()])
service.close()
with keyturn.open(path=sys.argv[1], password=None) as service:
    print([change.reason for change in service.history()])
"""


def test_a_service_is_of_no_use_in_a_forked_child_and_its_parent_loses_nothing(
    tmp_path: Path, run_python: RunPython
) -> None:
    in_child, in_parent, opened_again = run_python(AFTER_FORK, tmp_path).stdout.splitlines()

    outcomes, status = in_child.split()
    assert (set(outcomes.split(",")), status) == ({LogClosedError.__name__}, "0")
    assert in_parent == opened_again == str([None, "before", "after"])
