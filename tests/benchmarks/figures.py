"""The figures: each with its peer and its goal."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pykka
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

import keyturn
from keyturn import SetupKey, VerifyToken, ask
from keyturn.actors.key_writer import new_secret
from keyturn.domain.session_keys import Origin
from keyturn.testing import open_service
from tests.benchmarks.measure import Figure, compare, one_cpu

PEER_IMPORTS = (
    "import pykka, eventsourcing.application, structlog\n"
    "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"
)


class EmptyActor(pykka.ThreadingActor):
    """A stock pykka actor that does nothing."""

    use_daemon_thread = True

    def on_receive(self, message: object) -> object:
        return True


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


def all_figures(folder: Path) -> Iterator[Figure]:
    """Yield every figure, measured in this folder (of the disk that is to be measured)."""
    with keyturn.open(path=folder / "data", password=None) as service:
        yield from tokens(service)
        yield reset(service, folder)
    with one_cpu(), keyturn.open(path=folder / "data", password=None) as service:
        yield from messages(service)
    for name, changes in (("small", 10), ("middle", 100), ("long", 2_000), ("large", 100_000)):
        make_history(folder / name, changes)
    yield opening(folder)
    yield newest(folder)
    yield auditing(folder)
    yield fixture()
    yield importing()


def tokens(service: keyturn.Service) -> Iterator[Figure]:
    """Verify and create, beside PyJWT on an equal token."""
    key = ask(service.manager, SetupKey())
    token = service.create_token()
    yield compare(
        "verify",
        lambda: service.verify_token(token),
        lambda: jwt.decode(token, key.secret, ["HS256"]),
        "PyJWT decode",
        goal=5,
        is_speedup=True,
    )

    def encode() -> str:
        now = int(time.time())
        claims = {
            "iss": service.node_id,
            "sub": service.node_id,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "sid": secrets.token_urlsafe(16),
            "auth_time": now,
            "exp": now + 86400,
        }
        return jwt.encode(claims, key.secret, "HS256", headers={"kid": key.key_id})

    yield compare("create", service.create_token, encode, "PyJWT encode", goal=4, is_speedup=True)


def messages(service: keyturn.Service) -> Iterator[Figure]:
    """A message to the manager, beside one to an empty actor."""
    manager, empty = service.manager, EmptyActor.start()
    message = VerifyToken(service.create_token())
    yield compare(
        "ask(VerifyToken)",
        lambda: ask(manager, message),
        lambda: empty.ask(message),
        "empty pykka actor",
        goal=1.3,
        calls=300,
    )

    def pipeline(ref: pykka.ActorRef) -> None:
        for future in [ref.ask(message, block=False) for _ in range(100)]:
            future.get()

    yield compare(
        "100 asks, pipelined",
        lambda: pipeline(manager),
        lambda: pipeline(empty),
        "empty pykka actor",
        goal=1.8,
        calls=10,
    )
    empty.stop()


def reset(service: keyturn.Service, folder: Path) -> Figure:
    """A durable reset, beside eventsourcing's own save of an equal event on the same disk."""
    peer = Application(
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


def fixture() -> Figure:
    """Set up and tear down what the fixture `keyturn_service` is, beside the 5 ms it may take."""
    return compare(
        "keyturn_service, a test",
        lambda: open_service().close(),
        lambda: time.sleep(0.005),
        "asleep",
        goal=1,
        calls=20,
    )


def importing() -> Figure:
    """Import keyturn, beside the imports of what it stands on."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    return compare(
        "import keyturn",
        lambda: run("import keyturn"),
        lambda: run(PEER_IMPORTS),
        "import of what it stands on",
        goal=1.3,
        calls=1,
    )


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
