"""A process whose main thread is interrupted at random moments of every call of the handle.

Run as `python -m tests.acceptance.interrupting STORE FOLDER COUNT [SECONDS]`: each call is
interrupted so often, or for so long. A second thread verifies all the time, and a second process
resets the key. It ends with status 0 if everything still works.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import keyturn
from keyturn import KeyturnError, Service
from keyturn.actors.messages import VerifyToken
from keyturn.domain.errors import SessionManagerNotRunningError, TransactionConflictError

BOUND = 15.0
"""Seconds within which any single call must be over."""

RESETTER = """
import os, sys, time, keyturn
parent = os.getppid()
with keyturn.open(path=sys.argv[1], store=sys.argv[2], password=None) as service:
    print("ready", flush=True)
    while os.getppid() == parent:
        time.sleep(0.05)
        service.reset_key()
"""


class Interruption(BaseException):
    """What the signal handler raises, as Ctrl-C or a soft time limit does."""


class Interrupter:
    """Interrupts calls, each once, and keeps what they raised, as a REPL does."""

    def __init__(self, count: int, random_: random.Random) -> None:
        self.count = count
        self.seconds = math.inf
        self.tried = self.hits = 0
        self.errors: list[str] = []
        self._random = random_
        self._is_armed = False
        self._kept: BaseException | None = None
        signal.signal(signal.SIGALRM, self._raise)

    def run(self, call: Callable[[], object], clean_up: Callable[[], object]) -> None:
        """Interrupt a call again and again, at moments that cover all of it."""
        lengths = []
        for _ in range(3):
            began = time.perf_counter()
            call()
            lengths.append(time.perf_counter() - began)
            clean_up()
        longest = sorted(lengths)[1] * 1.2 + 20e-6
        end = time.monotonic() + self.seconds
        for _ in range(self.count):
            if time.monotonic() > end:
                break
            self.tried += 1
            self._once(call, self._random.uniform(1e-6, longest))
            clean_up()

    def _once(self, call: Callable[[], object], after: float) -> None:
        try:
            self._is_armed = True
            signal.setitimer(signal.ITIMER_REAL, after)
            call()
            self._is_armed = False
        except Interruption as error:
            self._is_armed = False
            self._kept = error
            self.hits += 1
        except KeyturnError as error:
            self._is_armed = False
            self.errors.append(f"{type(error).__name__}: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._is_armed:
            raise Interruption


class Verifier(threading.Thread):
    """Verifies a token without a pause, and notes what goes wrong."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.problems: list[str] = []
        self.longest = 0.0
        self.ended = False
        self.turn = threading.Lock()

    def run(self) -> None:
        token = self.service.create_token()
        while not self.ended:
            with self.turn:
                began = time.monotonic()
                try:
                    self.service.verify_token(token)
                except SessionManagerNotRunningError:
                    pass  # the manager is stopped just now
                except Exception as error:
                    self.problems.append(repr(error))
                self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.0005)


def calls(service: Service, folder: Path) -> dict[str, Callable[[], object]]:
    """Return every public call of a handle, by name."""
    session = service.session(folder / "token")
    numbers = itertools.count()

    def transact() -> None:
        with (
            contextlib.suppress(TransactionConflictError),  # it was reset meanwhile
            service.transaction() as tran,
        ):
            service.reset_key(tran=tran)
            assert service.verify_token(service.create_token(tran=tran), tran=tran)

    def start_again() -> None:
        service.stop()
        service.start()

    def subscribe() -> None:
        service.subscribe(print_nothing)
        service.unsubscribe(print_nothing)

    def open_session() -> None:
        with service.session(folder / "other token") as other:
            other.read_token()

    def open_named() -> None:
        service.named(f"tenant {next(numbers) % 7}").close()

    def keep_token() -> None:
        session.write_token(service.create_token())
        session.read_token()
        session.clear_token()

    def refuse(call: Callable[[], object]) -> Callable[[], None]:
        def refused() -> None:
            with contextlib.suppress(keyturn.TokenRefusedError):  # it was reset meanwhile
                call()

        return refused

    return {
        "verify_token": lambda: service.verify_token(service.create_token()),
        "authenticate": refuse(lambda: service.authenticate(service.create_token())),
        "refresh_token": refuse(lambda: service.refresh_token(service.create_token())),
        "inspect_token": lambda: service.inspect_token(service.create_token()),
        "verify_tokens": lambda: service.verify_tokens(service.create_tokens(3)),
        "history": lambda: list(service.history(newest_first=True, limit=20)),
        "key_at": lambda: service.key_at(datetime.now(UTC)),
        "audit": lambda: service.audit(quick=True),
        "checkpoint": service.checkpoint,
        "reset_key": service.reset_key,
        "rotate_key": lambda: service.rotate_key(0),
        "end_session": lambda: service.end_session(service.create_token()),
        "end_sessions": lambda: service.end_sessions("alice"),
        "ask": lambda: service.ask(VerifyToken("no token")),
        "transaction": transact,
        "subscribe": subscribe,
        "named": open_named,
        "session": open_session,
        "session's calls": keep_token,
        "stop and start": start_again,
    }


def print_nothing(event: object) -> None:
    """Subscribe this."""


def in_time(what: str, call: Callable[[], Any]) -> Any:
    """Return what a call returns; it must not take long."""
    began = time.monotonic()
    result = call()
    seconds = time.monotonic() - began
    assert seconds < BOUND, f"{what} took {seconds:.1f} s"
    return result


def check(service: Service, what: str) -> None:
    """Everything works, in every thread and in a child."""
    service.start()
    verdicts = [service.verify_token(service.create_token()) for _ in range(20)]
    assert any(verdicts), f"no token is good after interrupts of {what}"
    in_time("a reset", service.reset_key)
    token = service.create_token()
    in_time("a reset", service.reset_key)
    assert not service.verify_token(token)
    assert next(service.history(newest_first=True, limit=1)).kind == "reset"


def fork(store: str, folder: Path, verifier: Verifier) -> None:
    """A child can open a service of its own on the same log.

    Not always at the first try: a thread may use the log at that moment, for an actor that hears
    of the other process. What an interrupt left in use stays so for ever.
    """
    with verifier.turn:
        statuses = []
        for _ in range(10):
            statuses.append(_status_of_child(store, folder))
            if statuses[-1] == 0:
                return
    raise AssertionError(f"no forked child could use the log: {statuses}")


def _status_of_child(store: str, folder: Path) -> int:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            faulthandler.register(signal.SIGALRM, chain=True)
            signal.alarm(int(BOUND))  # says where it hangs, and kills it
            with open_service(store, folder) as service:
                service.reset_key()
                service.verify_token(service.create_token())
                status = 0
        except BaseException as error:
            print(f"in a forked child: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    assert time.monotonic() - began < 2, "the fork took long"
    return os.waitpid(child, 0)[1]


def open_service(store: str, folder: Path) -> Service:
    return keyturn.open(path=folder, store=store, password=None)


@contextlib.contextmanager
def resetting_process(store: str, folder: Path) -> Iterator[None]:
    if store == "memory:":
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-c", RESETTER, str(folder), store], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
            assert process.poll() is None, "the other process could not reset"
        finally:
            process.kill()


def interrupt_close(store: str, folder: Path, interrupter: Interrupter) -> None:
    """A close that was interrupted is ended by the next one."""
    services: list[Service] = []

    def clean_up() -> None:
        service = services.pop()
        in_time("the second close", service.close)
        assert service.running_manager is None, "the actor lives on after a close"
        services.append(prepared())

    def prepared() -> Service:
        service = open_service(store, folder)
        service.create_token()
        service.named("tenant 0")
        service.session(folder / "third token")
        return service

    services.append(prepared())
    interrupter.run(lambda: services[-1].close(), clean_up)  # noqa: PLW0108 - a new one each time
    services.pop().close()


def main(store: str, folder: Path, count: int, seconds: float = math.inf) -> None:
    faulthandler.dump_traceback_later(3600 if count >= 1000 else 100, exit=True)
    interrupter = Interrupter(count, random.Random(count))
    interrupter.seconds = seconds
    service = open_service(store, folder)
    verifier = Verifier(service)
    verifier.start()
    began = time.monotonic()
    with resetting_process(store, folder):
        for name, call in calls(service, folder).items():
            few = 5 if name in ("named", "session", "audit") and count < 1000 else 1
            interrupter.count = count // few
            hits, began = interrupter.hits, time.monotonic()
            interrupter.run(call, service.start if name == "stop and start" else int)
            seconds = time.monotonic() - began
            print(f"{name}: {interrupter.hits - hits} hits, {seconds:.1f} s", file=sys.stderr)
            assert not interrupter.errors, (name, interrupter.errors[:3])
            check(service, name)
            assert verifier.longest < BOUND, f"a verification took {verifier.longest:.1f} s"
            if store != "memory:":
                fork(store, folder, verifier)
        interrupter.count = count // 10
        if store != "memory:":
            interrupt_close(store, folder, interrupter)
            check(service, "close of another service")
    assert in_time("an audit", service.audit).holds
    verifier.ended = True
    verifier.join(BOUND)
    assert not verifier.is_alive(), "a verification hangs"
    assert not verifier.problems, verifier.problems[:3]
    in_time("close", service.close)
    if seconds == math.inf:
        assert interrupter.hits > count, f"only {interrupter.hits} interrupts hit a call"
    print("ok", interrupter.tried, interrupter.hits)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:]))
