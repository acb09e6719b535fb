"""Start-up does not grow with the length of the log."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn import KeyRing, Service
from keyturn.config import event_log
from keyturn.domain import stored_events
from keyturn.projections import stream

from .making import new_keys, reset


def make_log(path: Path, key_ring: KeyRing, length: int) -> None:
    """Make a log whose first and last events are real; nobody needs to look at the others."""
    log = keyturn.open_event_log(f"sqlite:///{path}")
    keys = new_keys(key_ring)
    log.append(keys)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n(v) AS (SELECT 2 UNION ALL SELECT v + 1 FROM n WHERE v < ? - 1) "
            "INSERT INTO stored_events SELECT originator_id, v, 'keyturn.KeyReset', state "
            "FROM n, stored_events WHERE originator_version = 1 ORDER BY v",
            (length,),
        )
        connection.commit()
    vars(keys)["_version"] = length - 1
    reset(keys, key_ring)
    assert log.append(keys)
    log.close()


def open_service(path: Path, key_ring: KeyRing) -> Service:
    return keyturn.open(
        path=path.parent / "data",
        store=f"sqlite:///{path}",
        key_ring=key_ring,
        password=None,
        trust_log=True,
    )


@pytest.fixture
def long_log(tmp_path: Path, key_ring: KeyRing) -> Path:
    make_log(tmp_path / "long.db", key_ring, 20_000)
    return tmp_path / "long.db"


def test_a_service_on_a_log_of_20_000_changes_checks_a_handful_of_events(
    long_log: Path, key_ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    read = stored_events.read_event

    def counting(stored: Any) -> Any:
        checked.append(stored.originator_version)
        return read(stored)

    for module in (stored_events, stream, event_log):
        monkeypatch.setattr(module, "read_event", counting)

    with open_service(long_log, key_ring) as service:
        token = service.create_token()
        service.reset_key()
        is_good = service.verify_token(token)

    assert not is_good
    assert set(checked) == {20_000, 20_001}
    assert len(checked) < 12
