"""Changes of keys, opening a log and reading it, beside eventsourcing and beside short logs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

import keyturn
from keyturn.actors.key_writer import new_secret
from keyturn.domain.session_keys import Origin
from tests.api.reports import history, page
from tests.benchmarks.measure import Figure, compare, figure
from tests.heads import keys_at_head

MANY = 100_000


COMMAND = """
import atexit, sys
from pathlib import Path
from keyturn.cli import main

def tell_peak():
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(line for line in status if line.startswith("VmHWM")), file=sys.stderr)

atexit.register(tell_peak)
main()
"""


class Plain(Aggregate):
    """An aggregate of eventsourcing, with an event like ours."""

    def __init__(self) -> None:
        pass

    class KeyReset(Aggregate.Event):
        manager: str
        node_id: str
        previous_digest: str
        generation: int
        key_id: str
        initiator: str
        reason: str
        signature: str
        sealed_key: str


def record_figures(service: keyturn.Service, folder: Path) -> Iterator[Figure]:
    """Yield the figures of changes, of opening a log and of reading it."""
    yield reset(service, folder)
    for name, changes in (("small", 10), ("middle", 100), ("long", 2_000)):
        make_history(folder / name, changes)
    yield opening(folder, "long", 2_000)
    yield newest(folder, "long", 2_000)
    yield auditing(folder, "audit of 2,000 events", 8_000)
    yield auditing(folder, "quick audit of 2,000 events", 60_000, quick=True)
    yield from page_of(20_000)


def long_figures(folder: Path) -> Iterator[Figure]:
    """Yield the figures of a log with 100,000 changes."""
    for name, changes in (("small", 10), ("middle", 100), ("large", MANY)):
        make_history(folder / name, changes)
    yield opening(folder, "large", MANY)
    yield newest(folder, "large", MANY)
    yield inspecting_forged(folder)
    yield at_most_15_s(folder, "audit", "--quick")
    yield at_most_15_s(folder, "audit")
    yield at_most_15_s(folder, "export")
    yield from importing(folder)


def reset(service: keyturn.Service, folder: Path) -> Figure:
    """A durable reset, beside eventsourcing's own save of an equal event on the same disk."""
    peer: Application[UUID] = Application(
        {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(folder / "peer.db"),
        }
    )
    plain = Plain()
    peer.save(plain)

    def save() -> None:
        plain.trigger_event(
            Plain.KeyReset,
            manager="default",
            node_id=service.node_id,
            previous_digest="0" * 64,
            generation=2,
            key_id="x" * 16,
            initiator="somebody@somewhere",
            reason="",
            signature="x" * 86,
            sealed_key="x" * 80,
        )
        peer.save(plain)

    measured = compare(
        "reset, durable", service.reset_key, save, "eventsourcing save", goal=2.5, calls=60
    )
    peer.close()
    return measured


def opening(folder: Path, name: str, changes: int) -> Figure:
    """Open, verify the head and close, with so many changes beside 10."""

    def open_and_close(name: str) -> None:
        keyturn.open(path=folder / name, password=None).close()

    return compare(
        f"open at {changes:,} changes",
        lambda: open_and_close(name),
        lambda: open_and_close("small"),
        "open at 10",
        goal=1.3,
        calls=10,
    )


def newest(folder: Path, longer: str, changes: int) -> Figure:
    """Show the last 20 of so many changes, beside the last 20 of 100."""
    logs = {name: keyturn.open_event_log(url(folder / name)) for name in (longer, "middle")}

    def read(name: str) -> list[keyturn.KeyChange]:
        return list(keyturn.RotationHistory(logs[name]).changes(newest_first=True, limit=20))

    measured = compare(
        f"last 20 of {changes:,} changes",
        lambda: read(longer),
        lambda: read("middle"),
        "last 20 of 100",
        goal=1.5,
        calls=50,
    )
    for log in logs.values():
        log.close()
    return measured


def auditing(folder: Path, name: str, rate: int, *, quick: bool = False) -> Figure:
    """Audit 2,000 events, beside the time that they take at a rate (events a second)."""
    log = keyturn.open_event_log(url(folder / "long"))
    measured = compare(
        name,
        lambda: keyturn.audit(log, any_node=True, quick=quick),
        lambda: time.sleep(2_000 / rate),
        f"asleep, at {rate:,} events/s",
        goal=1,
        calls=1,
        rounds=7,
    )
    log.close()
    return measured


def page_of(changes: int) -> Iterator[Figure]:
    """Make the page of an audit with so many changes: how long, and how large it is."""
    why = "a reason of some length, as people write them"
    rows = [("reset", day / 9, "somebody@somewhere", why) for day in range(changes)]
    own = history(rows)
    started = time.perf_counter()
    made = page(default=own)
    seconds = time.perf_counter() - started
    what = f"page of {changes:,} changes"
    yield figure(what, [(seconds, 3.0)], "at most", goal=1)
    size = len(made.encode()) / 1e6
    yield Figure(f"{what}, its size", size, 10, "at most", size / 10, 1, False, "MB")


def inspecting_forged(folder: Path) -> Figure:
    """Inspect a token of a key that never was, with 100,000 changes beside 100."""
    with (
        keyturn.open(path=folder / "large", password=None) as large,
        keyturn.open(path=folder / "middle", password=None) as middle,
    ):
        of_middle, of_large = middle.create_token(), large.create_token()
        return compare(
            f"inspect_token, unknown key, at {MANY:,}",
            lambda: large.inspect_token(of_middle),
            lambda: middle.inspect_token(of_large),
            "at 100",
            calls=5,
        )


def at_most_15_s(folder: Path, *command: str) -> Figure:
    """Run a command on 100,000 changes, in a process of its own."""
    seconds, _ = run(folder / "large", *command)
    name = f"{' '.join(command)} of {MANY:,} changes"
    return figure(name, [(seconds, 15.0)], "at most", goal=1)


def importing(folder: Path) -> Iterator[Figure]:
    """Import 100,000 changes on a new machine: how long, and with how much memory."""
    target = folder / "restored"
    target.mkdir(mode=0o700)
    shutil.copy(folder / "large" / "keyring.json", target)
    with (folder / "export").open("wb") as file:
        run(folder / "large", "export", output=file)
    with (folder / "export").open("rb") as file:
        seconds, peak = run(target, "import", file=file)
    yield figure(f"import of {MANY:,} changes", [(seconds, 15.0)], "at most", goal=1)
    what = f"import of {MANY:,} changes, memory"
    yield Figure(what, peak, 60, "at most", peak / 60, 1, False, "MB")


def run(
    folder: Path, *command: str, file: IO[bytes] | None = None, output: IO[bytes] | None = None
) -> tuple[float, float]:
    """Run a command; return its seconds, and the most memory that it had, in MB."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--path", str(folder), *command],
        stdin=file or subprocess.DEVNULL,
        stdout=output or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - started, int(done.stderr.split()[-2]) / 1024


def url(folder: Path) -> str:
    """Return the URL of the log in a data folder."""
    return f"sqlite:///{folder}/keyturn.db"


def make_history(path: Path, changes: int) -> None:
    """Make a data folder whose history has this many changes, all of them real."""
    with keyturn.open(path=path, password=None) as service:
        key_ring = keyturn.KeyRing.open(path / "keyring.json", None)
        keys = keys_at_head(service.log, "default")
        assert keys is not None
        for _ in range(changes - 1):
            keys.reset(new_secret(), key_ring, Origin.now("benchmark"))
        assert service.log.append(keys)
