"""Changes of keys, opening a log and reading it, beside eventsourcing and beside short logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

import keyturn
from keyturn.actors.key_writer import new_secret
from keyturn.domain.session_keys import Origin
from tests.benchmarks.measure import Figure, compare


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
    for name, changes in (("small", 10), ("middle", 100), ("long", 2_000), ("large", 100_000)):
        make_history(folder / name, changes)
    yield opening(folder)
    yield newest(folder)
    yield auditing(folder)


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

    figure = compare(
        "reset, durable", service.reset_key, save, "eventsourcing save", goal=2, calls=60
    )
    peer.close()
    return figure


def opening(folder: Path) -> Figure:
    """Open, verify the head and close, with 100,000 changes beside 10."""

    def open_and_close(name: str) -> None:
        keyturn.open(path=folder / name, password=None).close()

    return compare(
        "open at 100,000 changes",
        lambda: open_and_close("large"),
        lambda: open_and_close("small"),
        "open at 10",
        goal=1.3,
        calls=10,
    )


def newest(folder: Path) -> Figure:
    """Show the last 20 changes of 100,000, beside the last 20 of 100."""
    logs = {name: keyturn.open_event_log(url(folder / name)) for name in ("large", "middle")}

    def read(name: str) -> list[keyturn.KeyChange]:
        return list(keyturn.RotationHistory(logs[name]).changes(newest_first=True, limit=20))

    figure = compare(
        "last 20 of 100,000 changes",
        lambda: read("large"),
        lambda: read("middle"),
        "last 20 of 100",
        goal=1.5,
        calls=50,
    )
    for log in logs.values():
        log.close()
    return figure


def auditing(folder: Path) -> Figure:
    """Audit 2,000 events, signatures included, beside the time that 8,000 a second take."""
    log = keyturn.open_event_log(url(folder / "long"))
    figure = compare(
        "audit of 2,000 events",
        lambda: keyturn.audit(log),
        lambda: time.sleep(2_000 / 8_000),
        "asleep, at 8,000 events/s",
        goal=1,
        calls=1,
        rounds=7,
    )
    log.close()
    return figure


def url(folder: Path) -> str:
    """Return the URL of the log in a data folder."""
    return f"sqlite:///{folder}/keyturn.db"


def make_history(path: Path, changes: int) -> None:
    """Make a data folder whose history has this many changes, all of them real."""
    with keyturn.open(path=path, password=None) as service:
        key_ring = keyturn.KeyRing.open(path / "keyring.json", None)
        keys = service.log.load("default")
        assert keys is not None
        for _ in range(changes - 1):
            keys.reset(new_secret(), key_ring, Origin.now("benchmark"))
        assert service.log.append(keys)
