"""Several processes with a policy on one log: one rotation each time, and no fork of history."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

import keyturn
from keyturn import KeyChange, Service, Subscribe
from tests.actors.conftest import Ear
from tests.config.second_process import SecondProcess

ROTATIONS = 2


@pytest.fixture
def changes(tmp_path: Path, service: Service, ear: Ear) -> list[KeyChange]:
    """What four processes made of `rotate_every=1`; one of them is killed in between."""
    keyturn.ask(service.manager, Subscribe(ear.ref))
    with ExitStack() as stack:
        processes = [
            stack.enter_context(SecondProcess(tmp_path / "data", rotate_every=1, overlap=20))
            for _ in range(4)
        ]
        for number in range(ROTATIONS):
            assert ear.next().kind == "rotated"
            if number == 0:
                processes[0].kill()
    assert service.audit().holds
    return list(service.history())


def test_of_many_processes_one_rotates_each_time_that_the_key_is_due(
    changes: list[KeyChange],
) -> None:
    rotations = changes[1:]

    assert len(rotations) >= ROTATIONS
    assert {(c.kind, c.initiator, c.reason) for c in rotations} == {
        ("rotated", "rotation policy", "every 1 s")
    }
    assert [c.generation for c in changes] == [c.position for c in changes]
    early = [c.lifetime for c in changes if c.lifetime and c.lifetime < timedelta(seconds=0.9)]
    assert early == []


OPEN_AFTER_FORK = """
import os, sys, time, keyturn
def last(service):
    return next(service.history(newest_first=True))
def wait_for_rotation(service):
    deadline = time.monotonic() + 30
    while last(service).kind != "rotated" and time.monotonic() < deadline:
        time.sleep(0.02)
    return last(service).initiator
policy = {"password": None, "rotate_every": 1, "overlap": 5}
service = keyturn.open(path=sys.argv[1], **policy)
child = os.fork()
if child == 0:
    with keyturn.open(path=sys.argv[1] + "-of-child", **policy) as own:
        os._exit(0 if wait_for_rotation(own) == "rotation policy" else 1)
_, status = os.waitpid(child, 0)
print(status, wait_for_rotation(service))
service.close()
"""


def test_a_service_opened_in_a_forked_child_rotates_and_so_does_that_of_the_parent(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(OPEN_AFTER_FORK, tmp_path / "data")

    assert done.stdout == "0 rotation policy\n"
