"""Processes that are killed at the n-th system call of a change, for sampled n [G1, G5, G9].

A process that has imported Keyturn forks a child for each kill. The child opens the service and
waits; strace is attached, and kills it at that call; then another child looks at what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import keyturn
from keyturn import ClientSession, KeyRing, Service

from .outcome import Outcome, Setting

CALLS = "%desc,%file,%network"
TOKENS = ("a.b.c", "d.e.f")


def changes(service: Service, folder: Path) -> dict[str, Callable[[], object]]:
    """Return every operation that changes something on a disk or in the log."""
    token = service.create_token(subject="alice")
    session = service.session(folder / "token", TOKENS[0])

    def transact() -> None:
        with service.transaction() as tran:
            service.reset_key(tran=tran)
            service.reset_key(tran=tran)

    def destroy() -> None:
        service.stop()
        service.destroy()

    return {
        "reset": service.reset_key,
        "rotate": lambda: service.rotate_key(60),
        "end session": lambda: service.end_session(token),
        "end sessions": lambda: service.end_sessions("alice"),
        "transaction": transact,
        "new manager": lambda: service.named("tenant"),
        "destroy": destroy,
        "write token": lambda: session.write_token(TOKENS[1], replacing=TOKENS[0]),
        "clear token": session.clear_token,
        "change password": lambda: KeyRing.change_password(folder / "keyring.json", None, None),
    }


def kill_changes(setting: Setting, store: str) -> list[Outcome]:
    """Kill each operation at calls that are spread over all of it, as long as time allows."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(setting.folder), store, str(setting.seconds),
         str(setting.seed)],
        stdout=subprocess.PIPE, text=True, check=True, timeout=setting.seconds * 3 + 60,
    )  # fmt: skip
    return [Outcome(**row) for row in json.loads(done.stdout)]


def main(folder: Path, store: str, seconds: float, seed: int) -> list[Outcome]:
    random_ = random.Random(seed)
    kind = store.partition(":")[0]
    setting = Setting(folder, seconds, seed)
    keyturn.open(path=folder, store=store, password=None).close()
    with keyturn.open(path=folder, store=store, password=None) as service:
        names = list(changes(service, folder))
    outcomes = {name: Outcome(f"kill: {name}, {kind}") for name in names}
    points: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    while not setting.is_over:
        for name, outcome in outcomes.items():
            if not points[name]:
                points[name] = _points_of(folder, store, name)
                random_.shuffle(points[name])
            outcome.tried += 1
            outcome.hits += _kill_once(folder, store, name, points[name].pop(), outcome)
            if setting.is_over:
                break
    return list(outcomes.values())


def _points_of(folder: Path, store: str, name: str) -> list[tuple[str, int]]:
    """Return the calls of a change, each with its number among its like of its thread."""
    log = folder.with_name(f"{folder.name}.trace")
    with _child(lambda say, wait: _change(folder, store, name, say, wait)) as (pid, heard, go):
        heard.readline()
        with _traced(pid, f"trace={CALLS}", log):
            go()
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.waitpid(pid, 0)
    counts: Counter[tuple[str, str]] = Counter()
    points = set()
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.M):
        counts[thread, call] += 1
        points.add((call, counts[thread, call]))
    return sorted(points)


def _kill_once(
    folder: Path, store: str, name: str, point: tuple[str, int], outcome: Outcome
) -> bool:
    """Return whether it was killed; note in the outcome what is not as it must be."""
    call, number = point
    is_acknowledged = False
    with _child(lambda say, wait: _change(folder, store, name, say, wait)) as (pid, heard, go):
        before = json.loads(heard.readline() or "null")
        if before is None:
            outcome.bad.append(f"before {point}: it did not come to the change")
            return False
        with _traced(pid, f"inject={call}:signal=KILL:when={number}", Path(os.devnull)):
            go()
            is_acknowledged = heard.readline() == "done\n"
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        was_killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
    with _child(lambda say, _wait: _look(folder, store, name, say)) as (pid, heard, _):
        after = json.loads(heard.readline() or "null")
        os.waitpid(pid, 0)
    expected = [before["position"] + step for step in ((1, 2) if is_acknowledged else (0, 1, 2))]
    if name in ("new manager", "write token", "clear token", "change password"):
        expected = [before["position"]]
    problem = "nothing could be opened" if after is None else after["problem"]
    if not problem and after["position"] not in expected:
        problem = f"position {after['position']} after {before['position']}, {is_acknowledged=}"
    if problem:
        outcome.bad.append(f"at {point}: {problem}")
    return was_killed


def _change(
    folder: Path, store: str, name: str, say: Callable[[str], None], wait: object
) -> None:
    service = keyturn.open(path=folder, store=store, password=None)
    if name == "new manager":
        with contextlib.suppress(keyturn.KeyturnError):
            tenant = service.named("tenant", create=False)
            tenant.stop()
            tenant.destroy()
            tenant.close()
    call = changes(service, folder)[name]
    say(json.dumps({"position": service.checkpoint().position}))
    wait()  # type: ignore[operator]
    call()
    say("done")


def _look(folder: Path, store: str, name: str, say: Callable[[str], None]) -> None:
    problem, position = "", 0
    try:
        with keyturn.open(path=folder, store=store, password=None) as service:
            report = service.audit()
            problem = "" if report.holds else f"the audit found {report.findings}"
            position = service.checkpoint().position
            token = service.create_token()
            service.end_session(token)
            if service.verify_token(token):
                problem = "an ended session is good"
            with ClientSession(folder / "token") as session:
                if session.read_token() not in (*TOKENS, None):
                    problem = "the token file is torn"
    except keyturn.domain.errors.SessionManagerDestroyedError:
        with keyturn.open(path=folder, store=store, password=None, fresh=True) as service:
            position = service.checkpoint().position - 1
    except keyturn.KeyturnError as error:
        problem = f"{type(error).__name__}: {error}"
    say(json.dumps({"problem": problem, "position": position}))


@contextlib.contextmanager
def _child(work: Callable[..., None]) -> Iterator[tuple[int, TextIO, Callable[[], None]]]:
    """Fork a child that works, and give its pid, what it says and a way to have it go on."""
    (hear, say), (wait, go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(go)
            work(lambda text: os.write(say, f"{text}\n".encode()), lambda: os.read(wait, 1))
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    os.close(say)
    os.close(wait)

    def go_on() -> None:
        with contextlib.suppress(BrokenPipeError):  # it was killed before
            os.write(go, b".")

    with os.fdopen(hear) as heard:
        yield pid, heard, go_on
    os.close(go)


@contextlib.contextmanager
def _traced(pid: int, what: str, log: Path) -> Iterator[None]:
    """Have strace attached to a process in the block, with an expression of its option -e."""
    command = ["strace", "-f", "-qq", "-o", log, "-e", what, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        deadline = time.monotonic() + 20
        while not _is_traced(pid):  # or killed already, by a thread that watches the log
            has_ended = strace.poll() is not None and not _is_traced(pid)
            if has_ended or time.monotonic() > deadline:
                raise SystemExit("strace may not trace here")
            time.sleep(0.002)
        yield
        strace.terminate()


def _is_traced(pid: int) -> bool:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        states = [(task / "status").read_text() for task in tasks]
    except FileNotFoundError:
        return True
    return all("TracerPid:\t0" not in state or "State:\tZ" in state for state in states)


if __name__ == "__main__":
    rows = main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps([vars(row) for row in rows]))
