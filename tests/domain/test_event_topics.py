"""Topics: only ours and those that a host named are ever resolved."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import DatetimeAsISO, JSONTranscoder, StoredEvent, UUIDAsHex
from eventsourcing.utils import get_topic

from keyturn.domain import chain
from keyturn.domain.errors import NotAKeyturnLogError, SettingsError
from keyturn.domain.stored_events import KeyEventMapper, read_event
from tests.domain import golden
from tests.domain.builders import history, mapper, with_state

MAPPER = mapper()


def altered_row(row: StoredEvent, **changes: object) -> StoredEvent:
    fields = {**json.loads(row.state), **changes}
    fields = {name: value for name, value in fields.items() if value is not ...}
    return with_state(row, chain.encode_state(fields))


# --- topics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    [
        "os:system",
        "keyturn.Evil",
        "keyturn.SessionKeys",
        "keyturn.domain.session_keys:SessionKeys.KeyReset",
        "eventsourcing.domain:Aggregate.Created",
        "keyturn.KeyReset ",
        "KEYTURN.KEYRESET",
        "",
        "x" * 100_000,
    ],
)
def test_an_unknown_topic_is_refused(topic: str) -> None:
    with pytest.raises(NotAKeyturnLogError):
        MAPPER.to_domain_event(replace(golden.ROWS[0], topic=topic))


@pytest.mark.parametrize("read", [MAPPER.to_domain_event, read_event])
def test_g5_a_topic_is_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    (tmp_path / "keyturn_evil_sentinel.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(NotAKeyturnLogError):
        read(replace(golden.ROWS[0], topic="keyturn_evil_sentinel:Evil"))

    assert "keyturn_evil_sentinel" not in sys.modules


# --- a host's own events -----------------------------------------------------------------------


class Account(Aggregate):
    """An aggregate of a host that keeps it in the same log."""

    @event("Renamed")
    def rename(self, name: str) -> None:
        self.name = name


def transcoder() -> JSONTranscoder:
    transcoder = JSONTranscoder()
    transcoder.register(UUIDAsHex())
    transcoder.register(DatetimeAsISO())
    return transcoder


def test_an_event_of_a_host_is_mapped_if_its_topic_was_named() -> None:
    account = Account()
    topics = [get_topic(type(pending)) for pending in account.pending_events]
    host_mapper = KeyEventMapper(transcoder(), topics)
    (created,) = account.collect_events()

    mapped = host_mapper.to_domain_event(host_mapper.to_stored_event(created))

    assert mapped == created


def test_an_event_of_a_host_is_refused_if_its_topic_was_not_named() -> None:
    (created,) = Account().collect_events()
    stored = KeyEventMapper(transcoder()).to_stored_event(created)

    with pytest.raises(NotAKeyturnLogError, match="the host's own aggregate classes"):
        KeyEventMapper(transcoder()).to_domain_event(stored)


def test_naming_topics_of_a_host_opens_no_other(tmp_path: Path) -> None:
    host_mapper = KeyEventMapper(transcoder(), ["host:Account.Created"])

    with pytest.raises(NotAKeyturnLogError):
        host_mapper.to_domain_event(replace(golden.ROWS[0], topic="os:system"))


def test_a_host_cannot_name_our_topics() -> None:
    with pytest.raises(SettingsError, match="Keyturn's own"):
        KeyEventMapper(JSONTranscoder(), ["host:Opened", "keyturn.KeyGenerated"])


def test_a_new_event_and_its_row_are_the_same(key_ring: Any) -> None:
    for made in history(key_ring):
        mapped = MAPPER.to_domain_event(MAPPER.to_stored_event(made))

        assert vars(mapped) == vars(made)
