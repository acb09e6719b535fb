"""Processes that verify and processes that reset, on one log, all at once.

A process forks them, and prints as JSON what each of them saw. A resetter publishes the
generation that it made once its reset was acknowledged. A verifier reads what was published
*before* it verifies, so a token of an older generation that is good then is a stale acceptance.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.config import warm_processes


@dataclass(frozen=True)
class Outcome:
    """What all of them saw."""

    reasons: list[str]
    """Those of the resets that were acknowledged."""
    refused: int
    """How many verifications of tokens from before an acknowledged reset there were."""
    stale: list[Any]
    """Those of them that were good."""
    accepted: int
    """How many tokens of the newest generation known were good."""
    errors: list[str]
    seconds: float


def run(
    folder: Path,
    *,
    verifiers: int,
    resetters: int,
    seconds: float = 600.0,
    resets: int = sys.maxsize,
) -> Outcome:
    """Have them at work until the seconds are over, or each resetter has reset so often."""
    arguments = str(folder), verifiers, resetters, seconds, resets
    done = warm_processes.run(
        f"from tests.config.many_processes import work_together; work_together{arguments}"
    )
    return Outcome(**json.loads(done.stdout))


class _Board:
    """What they all see: the newest generation acknowledged to each resetter, and the end."""

    def __init__(self, resetters: int) -> None:
        self._memory = mmap.mmap(-1, 8 * (resetters + 1))
        self._numbers = memoryview(self._memory).cast("Q")
        self._resetters = resetters

    def publish(self, resetter: int, generation: int) -> None:
        self._numbers[resetter] = generation

    def newest(self) -> int:
        return max(self._numbers[: self._resetters])

    def end(self) -> None:
        self._numbers[self._resetters] = 1

    def is_over(self) -> bool:
        return self._numbers[self._resetters] > 0


def _reset(folder: str, number: int, resets: int, board: _Board) -> dict[str, Any]:
    import keyturn

    reasons = []
    with keyturn.open(path=folder, password=None) as service:
        while len(reasons) < resets and not board.is_over():
            reason = f"resetter {number} reset {len(reasons)}"
            service.reset_key(reason)
            reasons.append(reason)
            newest = service.log.key_events("default", newest_first=True, page=10)
            board.publish(number, next(e.generation for e in newest if e.reason == reason))
    return {"reasons": reasons}


def _verify(folder: str, board: _Board) -> dict[str, Any]:
    import keyturn

    refused, accepted, stale, recent = 0, 0, [], []
    with keyturn.open(path=folder, password=None) as service:
        while not (board.is_over() and accepted):
            token = service.create_token()
            generation = service.inspect_token(token).generation
            recent = [*recent[-3:], (generation, token)]
            for _ in range(20):
                for generation, token in recent:
                    acknowledged = board.newest()
                    if not service.verify_token(token):
                        refused += generation < acknowledged
                    elif generation < acknowledged:
                        stale.append([generation, acknowledged])
                    else:
                        accepted += 1
    return {"refused": refused, "accepted": accepted, "stale": stale}


def _fork(work: Callable[[], dict[str, Any]]) -> tuple[int, IO[str]]:
    """Do it in a child, and return the child and the file for what it found."""
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
    child = os.fork()
    if child == 0:
        try:
            found = work()
        except BaseException:
            found = {"errors": [traceback.format_exc()]}
        json.dump(found, file)
        file.flush()
        os._exit(0)
    return child, file


def work_together(
    folder: str, verifiers: int, resetters: int, seconds: float, resets: int
) -> None:
    """Fork them, wait for them, and print what they saw."""
    import keyturn

    keyturn.open(path=folder, password=None).close()
    board, started = _Board(resetters), time.monotonic()
    resetting = [_fork(partial(_reset, folder, n, resets, board)) for n in range(resetters)]
    verifying = [_fork(partial(_verify, folder, board)) for _ in range(verifiers)]
    while time.monotonic() < started + seconds and not all(_is_over(r) for r, _ in resetting):
        time.sleep(0.05)
    board.end()
    total: dict[str, Any] = {
        "reasons": [],
        "refused": 0,
        "accepted": 0,
        "stale": [],
        "errors": [],
    }
    for child, file in resetting + verifying:
        os.waitpid(child, 0)
        file.seek(0)
        for key, value in json.load(file).items():
            total[key] += value
    print(json.dumps({**total, "seconds": time.monotonic() - started}))


def _is_over(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
