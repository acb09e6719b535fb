"""A stored topic is no licence to import: only our own topics resolve, and those of the host."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from uuid import uuid4

import pytest
from eventsourcing.domain import Aggregate, event

import keyturn
from keyturn import KeyRing
from keyturn.domain.errors import LogDamagedError, LogError, NotAKeyturnLogError
from keyturn.domain.session_keys import manager_id
from tests.descriptors import open_below
from tests.heads import keys_at_head

from . import warm_processes
from .making import new_keys

ALIEN = "sentinel_module:Event"


class Invoice(Aggregate):
    """An aggregate of a host."""

    @event("Paid")
    def pay(self) -> None:
        pass


class ProForma(Invoice):
    """One that inherits its events."""


@pytest.fixture
def path(tmp_path: Path, key_ring: KeyRing) -> Path:
    """The file of a log with five events."""
    path = tmp_path / "log.db"
    log = keyturn.open_event_log(f"sqlite:///{path}")
    log.append(new_keys(key_ring, resets=4))
    log.close()
    return path


def execute(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


DEFAULT = manager_id("default").hex
PLACES = {
    "head": "UPDATE stored_events SET topic = ? WHERE originator_version = 5",
    "middle": "UPDATE stored_events SET topic = ? WHERE originator_version = 3",
    "first": "UPDATE stored_events SET topic = ? WHERE originator_version = 1",
    "new head": f"INSERT INTO stored_events VALUES ('{DEFAULT}', 6, ?, x'7b7d')",
    "another aggregate": f"INSERT INTO stored_events VALUES ('{uuid4().hex}', 1, ?, x'7b7d')",
}

OPEN_IT = """
import sys, keyturn
from keyturn.domain.errors import NotAKeyturnLogError
try:
    keyturn.open_event_log("sqlite:///" + sys.argv[1])
except NotAKeyturnLogError as error:
    print(error)
"""

READ_IT = """
import sqlite3, sys, keyturn
from keyturn.domain.errors import LogDamagedError, NotAKeyturnLogError
from keyturn.projections.head_reader import HeadReader
log = keyturn.open_event_log("sqlite:///" + sys.argv[1])
reader = HeadReader(log, "default", log.owner())
sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2], sys.argv[3:])
try:
    reader.get()
except LogDamagedError as error:
    print(error)
try:
    list(log.key_events("default"))
except NotAKeyturnLogError as error:
    print(error)
log.close()
"""


def run_beside_sentinel(folder: Path, code: str, *arguments: object) -> str:
    """Run code where the module that the alien topic names could be imported; it must not be."""
    mark = folder / "imported"
    module = folder / "sentinel_module.py"
    module.write_text(f"open({str(mark)!r}, 'w').close()\nclass Event: pass\n")
    done = warm_processes.run(
        f"import sys; sys.path.insert(0, {str(folder)!r})" + code, *arguments
    )
    assert not mark.exists()
    return done.stdout


@pytest.mark.parametrize("place", PLACES)
def test_g5_a_foreign_topic_is_refused_at_open_and_never_imported(
    place: str, path: Path, tmp_path: Path
) -> None:
    execute(path, PLACES[place], ALIEN)

    printed = run_beside_sentinel(tmp_path, OPEN_IT, path)

    assert f"of the topic '{ALIEN}', which is not Keyturn's" in printed


@pytest.mark.parametrize("place", ["head", "new head"])
def test_g5_a_foreign_topic_that_comes_later_is_refused_on_reading_and_never_imported(
    place: str, path: Path, tmp_path: Path
) -> None:
    printed = run_beside_sentinel(tmp_path, READ_IT, path, PLACES[place], ALIEN)

    assert printed.count(f"of the topic '{ALIEN}', which is not Keyturn's") == 2


@pytest.mark.parametrize(
    "topic",
    ["", "keyturn", "keyturn.", "keyturn.KeyStolen", "keyturn.domain.session_keys:SessionKeys"],
)
def test_g5_a_topic_that_only_looks_like_ours_is_refused_at_open_and_on_reading(
    topic: str, path: Path
) -> None:
    log = keyturn.open_event_log(f"sqlite:///{path}")
    execute(path, PLACES["head"], topic)

    with pytest.raises(LogDamagedError, match="not Keyturn's") as caught:
        keys_at_head(log)
    log.close()

    assert caught.value.position == 5
    with pytest.raises(NotAKeyturnLogError):
        keyturn.open_event_log(f"sqlite:///{path}")


@pytest.mark.parametrize("kind", [Invoice, ProForma])
def test_a_host_that_names_its_aggregates_may_keep_them_in_the_log(
    kind: type[Invoice], path: Path
) -> None:
    url = f"sqlite:///{path}"
    log = keyturn.open_event_log(url, aggregates=[kind])
    invoice = kind()
    invoice.pay()
    log.append(invoice)
    log.close()

    log = keyturn.open_event_log(url, aggregates=[kind])

    found: Invoice = log.repository.get(invoice.id)
    assert found.version == 2
    log.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE stored_events SET topic = 'os:system'",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 7",
    ],
)
def test_a_log_that_is_refused_leaves_no_file_open(damage: str, path: Path) -> None:
    execute(path, damage)
    before = open_below(path.parent)

    errors = []
    for _ in range(10):
        with pytest.raises(LogError) as raised:
            keyturn.open_event_log(f"sqlite:///{path}")
        errors.append(raised.value)  # and with it all that its traceback keeps alive

    assert open_below(path.parent) <= before + 1


def test_a_host_that_does_not_name_its_aggregates_is_told_to(path: Path) -> None:
    url = f"sqlite:///{path}"
    log = keyturn.open_event_log(url, aggregates=[Invoice])
    log.append(Invoice())
    log.close()

    with pytest.raises(NotAKeyturnLogError, match="name the host's own aggregate classes"):
        keyturn.open_event_log(url)


def test_host_aggregates_that_were_named_do_not_let_other_topics_in(path: Path) -> None:
    url = f"sqlite:///{path}"
    log = keyturn.open_event_log(url, aggregates=[Invoice])
    log.append(Invoice())
    log.close()
    execute(path, PLACES["another aggregate"], ALIEN)

    with pytest.raises(NotAKeyturnLogError, match=ALIEN):
        keyturn.open_event_log(url, aggregates=[Invoice])
