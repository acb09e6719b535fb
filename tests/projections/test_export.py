"""The log as a file: what is exported comes back letter by letter, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given, settings
from hypothesis import strategies as st

import keyturn
from keyturn import EventLog, KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.domain.errors import (
    ExportError,
    ForeignLogError,
    KeyturnError,
    LogDamagedError,
    LogNotEmptyError,
    LogUnavailableError,
    NotAKeyturnLogError,
    SettingsError,
)
from keyturn.domain.key_log import Row
from keyturn.domain.limits import MAX_REASON
from keyturn.domain.session_keys import Origin, RetiringKey, SessionKeys
from keyturn.domain.stored_events import stored_of
from keyturn.projections.export import MAX_LINE, export_lines, lines_of, read_lines
from tests.domain import golden
from tests.domain.builders import NOON, new_keys, origin, secret, signed_row

RING = golden.KEY_RING
NODE_ID = golden.NODE_ID
GOLDEN_ROWS = [
    Row(golden.MANAGER_ID.hex, *row)
    for row in ((event.originator_version, event.topic, event.state) for event in golden.ROWS)
]
LINES = list(export_lines(GOLDEN_ROWS, NODE_ID))
EXPORT = b"".join(LINES)


@pytest.fixture
def log() -> Iterator[EventLog]:
    """An empty log."""
    with_memory = keyturn.open_event_log("memory:")
    yield with_memory
    with_memory.close()


def read(content: bytes, node_id: str | None = NODE_ID) -> list[StoredEvent]:
    return list(read_lines(lines_of(io.BytesIO(content)), node_id))


def refused(content: bytes, node_id: str | None = NODE_ID) -> ExportError:
    """The error that reading this export ends with."""
    with pytest.raises(ExportError) as caught:
        read(content, node_id)
    return caught.value


def closed(lines: Iterable[bytes]) -> bytes:
    """A header and events, with a closing line that is right for them."""
    content = b"".join(lines)
    closing = {
        "events": content.count(b"\n") - 1,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return content + json.dumps(closing, separators=(",", ":")).encode() + b"\n"


def line_of(event: StoredEvent) -> bytes:
    """An event's line, whatever the event is."""
    return b'{"originator_id":"%b","originator_version":%d,"topic":"%b","state":%b}\n' % (
        golden.MANAGER_ID.hex.encode(),
        event.originator_version,
        event.topic.encode(),
        event.state,
    )


def log_of(*keys: SessionKeys, url: str = "memory:") -> EventLog:
    log = keyturn.open_event_log(url)
    assert log.append(*keys)
    return log


# --- there and back ----------------------------------------------------------------------------


def test_an_export_has_a_header_a_line_an_event_and_a_closing_line() -> None:
    head, *events, closing = [json.loads(line) for line in LINES]

    assert head == {"format": "keyturn export", "version": 1, "node_id": NODE_ID}
    assert [event["originator_version"] for event in events] == [1, 2, 3, 4]
    assert closing == {
        "events": 4,
        "sha256": hashlib.sha256(b"".join(LINES[:-1])).hexdigest(),
    }


def test_a_state_stands_in_its_line_letter_by_letter() -> None:
    assert LINES[1:-1] == [line_of(event) for event in golden.ROWS]


def test_what_was_exported_is_read_as_it_was() -> None:
    assert read(EXPORT) == list(golden.ROWS)


def test_an_export_is_of_whoever_its_first_line_says_if_nobody_is_expected() -> None:
    assert read(EXPORT, None) == list(golden.ROWS)


def test_rows_come_back_byte_for_byte_and_in_their_order(store_url: str, log: EventLog) -> None:
    one, other = new_keys(RING, "one"), new_keys(RING, "other")
    source = log_of(one, other, url=store_url)
    for number in (2, 3):
        for keys in (other, one):
            keys.reset(secret(number), RING, origin(number))
            source.append(keys)
    rows = list(source.rows())

    restored = log.restore(read_lines(export_lines(rows, NODE_ID), NODE_ID))

    source.close()
    assert restored == len(rows) == 6
    assert list(log.rows()) == rows


def test_rows_come_back_in_a_log_on_disk_too(store_url: str) -> None:
    log = keyturn.open_event_log(store_url)

    log.restore(read(EXPORT))

    rows = list(log.rows())
    log.close()
    assert rows == GOLDEN_ROWS


def test_an_empty_log_is_exported_and_read(log: EventLog) -> None:
    content = b"".join(export_lines(log.rows(), NODE_ID))

    restored = log.restore(read_lines(io.BytesIO(content), NODE_ID))

    assert content.count(b"\n") == 2
    assert restored == 0


def test_lines_are_made_one_row_at_a_time() -> None:
    taken = []

    def rows() -> Iterator[Row]:
        for row in GOLDEN_ROWS:
            taken.append(row)
            yield row

    lines = export_lines(rows(), NODE_ID)
    counts = [len(taken) for _ in lines]

    assert counts == [0, 1, 2, 3, 4, 4]


def test_events_are_read_one_line_at_a_time() -> None:
    taken = []

    def lines() -> Iterator[bytes]:
        for line in LINES:
            taken.append(line)
            yield line

    counts = [len(taken) for _ in read_lines(lines(), NODE_ID)]

    assert counts == [2, 3, 4, 5]


odd_text = st.text(
    st.characters(codec="utf-8") | st.sampled_from('\0\n\r\t\x1b\x7f\x85\u2028\u202e"\\\ufeff😀'),
    max_size=60,
)


@given(st.lists(st.tuples(st.sampled_from(["default", "ключ"]), odd_text | st.none())))
@settings(max_examples=40)
def test_whatever_reasons_there_are_they_come_back(
    changes: list[tuple[str, str | None]],
) -> None:
    managers = {name: SessionKeys.blank(name) for name in ("default", "ключ")}
    source, target = keyturn.open_event_log("memory:"), keyturn.open_event_log("memory:")
    for number, (name, reason) in enumerate(changes):
        by = Origin("tester\0@here", reason, NOON + timedelta(seconds=number))
        keys = managers[name]
        change = keys.regenerate if keys.is_destroyed else keys.reset
        change(secret(number), RING, by)
        source.append(keys)
    content = b"".join(export_lines(source.rows(), NODE_ID))

    target.restore(read(content))

    assert list(target.rows()) == list(source.rows())


def test_the_longest_reason_of_the_worst_characters_comes_back(log: EventLog) -> None:
    keys = new_keys(RING, by=origin(reason="\0" * MAX_REASON))
    source = log_of(keys)

    log.restore(read_lines(export_lines(source.rows(), NODE_ID), NODE_ID))

    assert list(log.rows()) == list(source.rows())


# --- what is refused on the way in -------------------------------------------------------------


def test_a_flipped_byte_is_refused_with_its_line_and_nothing_is_written(
    log: EventLog,
) -> None:
    for place in range(0, len(EXPORT), 3):
        altered = bytearray(EXPORT)
        altered[place] ^= 1 << place % 8
        line = EXPORT.count(b"\n", 0, place) + 1

        with pytest.raises(ExportError) as caught:
            log.restore(read_lines(lines_of(io.BytesIO(altered)), NODE_ID))

        assert caught.value.line == line, altered[max(0, place - 20) : place + 20]
        assert f"line {line}" in str(caught.value)
    assert list(log.rows()) == []


def test_a_truncation_anywhere_is_refused_with_its_line_and_nothing_is_written(
    log: EventLog,
) -> None:
    for end in range(0, len(EXPORT), 3):
        with pytest.raises(ExportError) as caught:
            log.restore(read_lines(lines_of(io.BytesIO(EXPORT[:end])), NODE_ID))

        assert caught.value.line == EXPORT.count(b"\n", 0, end) + 1
    assert list(log.rows()) == []


def test_an_empty_file_is_refused() -> None:
    error = refused(b"")

    assert error.line == 1
    assert "the file is empty" in str(error)


def test_a_file_cut_in_the_middle_of_a_line_is_said_to_be_cut_off() -> None:
    error = refused(EXPORT[:-300])

    assert error.line == EXPORT[:-300].count(b"\n") + 1
    assert "it is cut off" in str(error)


def test_a_file_cut_in_the_middle_of_a_character_is_said_to_be_cut_off() -> None:
    keys = new_keys(RING, by=origin(reason="naïve"))
    content = b"".join(export_lines(log_of(keys).rows(), NODE_ID))

    error = refused(content[: content.index("ï".encode()) + 1])

    assert error.line == 2
    assert "it is cut off" in str(error)


def test_half_a_character_in_a_whole_line_is_refused() -> None:
    keys = new_keys(RING, by=origin(reason="naïve"))
    content = b"".join(export_lines(log_of(keys).rows(), NODE_ID))

    assert refused(content.replace("ï".encode(), "ï".encode()[:1])).line == 2


@pytest.mark.parametrize("lines", [1, 2, 3, 4, 5])
def test_a_file_without_its_closing_line_is_refused(lines: int) -> None:
    error = refused(b"".join(LINES[:lines]))

    assert error.line == lines + 1
    assert "before its closing line" in str(error)


@pytest.mark.parametrize("more", [b"\n", b" \n", b"x", b"{}\n", LINES[1], LINES[-1], EXPORT])
def test_whatever_stands_after_the_closing_line_is_refused(more: bytes) -> None:
    assert refused(EXPORT + more).line == len(LINES) + 1


def test_the_export_of_another_node_is_refused_at_its_first_line() -> None:
    other = KeyRing.ephemeral().node_id

    error = refused(EXPORT, other)

    assert error.line == 1
    assert NODE_ID in str(error)
    assert other in str(error)


def test_an_event_of_another_node_is_refused() -> None:
    other = KeyRing.ephemeral()
    head, *_ = export_lines([], other.node_id)

    error = refused(closed([head, *LINES[1:-1]]), other.node_id)

    assert error.line == 2
    assert isinstance(error.__cause__, ForeignLogError)


def test_an_export_of_a_newer_version_is_refused_with_the_way_out() -> None:
    head = LINES[0].replace(b'"version":1', b'"version":2,"compressed":true')

    error = refused(closed([head, *LINES[1:-1]]))

    assert error.line == 1
    assert "install a newer Keyturn" in str(error)


def test_an_event_of_a_newer_version_is_refused_with_the_reason() -> None:
    newer = signed_row(RING, golden.ROWS[0], class_version=3)

    error = refused(closed([LINES[0], line_of(newer)]))

    assert error.line == 2
    assert "this Keyturn reads 2" in str(error)


@pytest.mark.parametrize("lines", [[2, 1, 3, 4], [1, 1, 2, 3], [1, 3, 4], [2, 3, 4], [1, 2, 2]])
def test_events_that_are_missing_or_out_of_order_are_refused(lines: list[int]) -> None:
    content = closed([LINES[0], *(LINES[number] for number in lines)])
    first_wrong = next(i for i, number in enumerate(lines) if number != i + 1)

    error = refused(content)

    assert error.line == first_wrong + 2
    assert "missing, or are out of order" in str(error)


def test_an_event_that_does_not_follow_the_one_before_it_is_refused() -> None:
    other = signed_row(RING, golden.ROWS[0], reason="another past")

    error = refused(closed([LINES[0], line_of(other), *LINES[2:-1]]))

    assert error.line == 3
    assert "does not follow the event before it" in str(error)


def test_a_generation_that_does_not_follow_is_refused() -> None:
    first = signed_row(RING, golden.ROWS[0], generation=2)

    assert refused(closed([LINES[0], line_of(first)])).line == 2


def test_an_event_in_the_history_of_another_manager_is_refused() -> None:
    moved = signed_row(RING, golden.ROWS[0], manager="other")

    error = refused(closed([LINES[0], line_of(moved)]))

    assert error.line == 2
    assert "not its manager's" in str(error)


def test_an_event_of_an_alien_topic_is_refused_and_never_imported() -> None:
    alien = replace(golden.ROWS[0], topic="antigravity:fly")

    error = refused(closed([LINES[0], line_of(alien)]))

    assert error.line == 2
    assert isinstance(error.__cause__, NotAKeyturnLogError)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"originator_id"', b'{"topic":"keyturn.KeyReset","originator_id"'),
        (b'{"generation":', b'{"generation":1,"generation":'),
        (b'"topic":', b' "topic":'),
        (b'"topic":', b'"note":1,"topic":'),
        (b'"topic":"keyturn', b'"topic":"\\u006beyturn'),
        (b"}\n", b"}\r\n"),
        (golden.MANAGER_ID.hex.encode(), str(golden.MANAGER_ID).encode()),
        (golden.MANAGER_ID.hex.encode(), golden.MANAGER_ID.hex.upper().encode()),
    ],
)
def test_every_other_spelling_of_a_line_is_refused(old: bytes, new: bytes) -> None:
    line = LINES[1].replace(old, new, 1)

    error = refused(closed([LINES[0], line, *LINES[2:-1]]))

    assert line != LINES[1]
    assert error.line == 2


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"originator_id":"x","originator_version":1,"topic":"t","state":{}}\n',
        b'{"originator_id":"%b","originator_version":%b,"topic":"keyturn.KeyReset","state":{}}\n'
        % (golden.MANAGER_ID.hex.encode(), b"9" * 5000),
        b'{"originator_id":"%b","originator_version":1,"topic":"keyturn.KeyReset","state":%b}\n'
        % (golden.MANAGER_ID.hex.encode(), b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_garbage_is_refused_with_its_line(line: bytes, number: int) -> None:
    assert refused(closed([*LINES[: number - 1], line])).line == number


def test_an_older_or_made_up_format_is_no_export() -> None:
    for head in (b'{"format":"keyturn key ring","version":1}\n', b'{"version":1}\n'):
        assert "not the first line of an export" in str(refused(closed([head])))


def test_a_wrong_number_of_events_is_refused() -> None:
    content = EXPORT.replace(b'{"events":4', b'{"events":5')

    error = refused(content)

    assert error.line == 6
    assert "it says 5 events, there are 4" in str(error)


def test_a_wrong_digest_is_refused() -> None:
    error = refused(b"".join([*LINES[:3], LINES[-1].replace(b"4", b"2", 1)]))

    assert error.line == 4
    assert "its SHA-256 is not that of the lines before it" in str(error)


class Endless(io.RawIOBase):
    """A file that is one line without an end."""

    def __init__(self, start: bytes) -> None:
        self.given = 0
        self._start = start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._start or b"x" * len(buffer)
        size = min(len(content), len(buffer))
        buffer[:size] = content[:size]
        self._start = self._start[size:]
        self.given += size
        return size


@pytest.mark.parametrize("start", [b"", LINES[0], b"".join(LINES)])
def test_of_a_line_without_end_no_more_is_read_than_a_line_can_have(start: bytes) -> None:
    file = Endless(start)

    with pytest.raises(ExportError) as caught:
        list(read_lines(lines_of(io.BufferedReader(file)), NODE_ID))

    assert caught.value.line == start.count(b"\n") + 1
    assert "more than" in str(caught.value)
    assert file.given < 2 * MAX_LINE


@given(st.binary(max_size=200), st.integers(0, len(EXPORT)))
@settings(max_examples=100)
def test_whatever_is_put_into_an_export_it_is_refused_in_our_words(
    content: bytes, place: int
) -> None:
    altered = EXPORT[:place] + content + EXPORT[place:]

    if content:
        assert refused(altered).line is not None


# --- writing -----------------------------------------------------------------------------------


def test_a_log_that_holds_key_events_takes_no_export(store_url: str) -> None:
    log = log_of(new_keys(RING, "other"), url=store_url)
    before = list(log.rows())

    with pytest.raises(LogNotEmptyError) as caught:
        log.restore(read(EXPORT))

    after = list(log.rows())
    log.close()
    assert after == before
    assert caught.value.location == log.location


def test_an_export_is_not_loaded_twice(log: EventLog) -> None:
    log.restore(read(EXPORT))

    with pytest.raises(LogNotEmptyError):
        log.restore(read(EXPORT))

    assert list(log.rows()) == GOLDEN_ROWS


class LostReply(MemoryStore):
    """A server's store whose connection is lost at the commit, which came through or did not.

    Then it holds what another process wrote meanwhile.
    """

    is_server = True
    commits = False

    def insert_events(
        self,
        stored_events: Iterable[StoredEvent],
        *,
        may_begin_anywhere: bool = False,
        **kwargs: Any,
    ) -> Sequence[int] | None:
        events = list(stored_events)
        if not self.commits:
            events = [stored_of(row) for row in log_of(new_keys(RING, "other")).rows()]
        super().insert_events(events, may_begin_anywhere=True)
        raise LogUnavailableError("the connection is lost", location=self.location)


def test_g1_an_import_whose_reply_was_lost_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LostReply, "commits", True)
    log = EventLog(LostReply, "memory:")

    assert log.restore(read(EXPORT)) == len(golden.ROWS)
    assert list(log.rows()) == GOLDEN_ROWS


def test_g1_another_process_events_are_no_import_that_came_through() -> None:
    log = EventLog(LostReply, "memory:")

    with pytest.raises(LogUnavailableError):
        log.restore(read(EXPORT))


def test_events_that_clash_leave_nothing_behind(store_url: str) -> None:
    log = keyturn.open_event_log(store_url)

    with pytest.raises(LogNotEmptyError):
        log.restore([*golden.ROWS, golden.ROWS[0]])

    rows = list(log.rows())
    log.close()
    assert rows == []


# --- what is refused on the way out ------------------------------------------------------------


def exporting(rows: Iterable[Row]) -> bytes:
    return b"".join(export_lines(rows, NODE_ID))


@pytest.mark.parametrize(
    "change",
    [
        {"state": GOLDEN_ROWS[0].state + b" "},  # type: ignore[operator]
        {"state": b"{}"},
        {"state": "{}"},
        {"originator_version": 2},
        {"originator_version": "1"},
        {"originator_version": None},
        {"originator_id": "x"},
        {"originator_id": str(golden.MANAGER_ID)},
        {"originator_id": None},
        {"topic": None},
        {"topic": "keyturn.KeyReset"},
    ],
)
def test_an_altered_row_is_not_exported(change: dict[str, object]) -> None:
    row = GOLDEN_ROWS[0]._replace(**change)

    with pytest.raises(LogDamagedError):
        exporting([row, *GOLDEN_ROWS[1:]])


@pytest.mark.parametrize("places", [[1, 2, 3], [0, 2, 3], [1, 0, 2, 3], [0, 0]])
def test_a_log_with_gaps_or_out_of_order_is_not_exported(places: list[int]) -> None:
    with pytest.raises(LogDamagedError, match="missing, or are out of order"):
        exporting(GOLDEN_ROWS[place] for place in places)


def test_a_log_of_another_node_is_not_exported() -> None:
    with pytest.raises(ForeignLogError) as caught:
        list(export_lines(GOLDEN_ROWS, KeyRing.ephemeral().node_id))

    assert caught.value.found == NODE_ID


def test_an_alien_topic_is_not_exported() -> None:
    alien = Row("0" * 32, 1, "antigravity:fly", b"{}")

    with pytest.raises(NotAKeyturnLogError):
        exporting([*GOLDEN_ROWS, alien])


def test_a_topic_of_the_host_is_left_out() -> None:
    theirs = Row("0" * 32, 1, "shop:Cart.Filled", b"{}")

    lines = export_lines([theirs, *GOLDEN_ROWS], NODE_ID, host_topics={"shop:Cart.Filled"})

    assert b"".join(lines) == EXPORT


def test_our_own_events_are_never_left_out_as_a_hosts() -> None:
    with pytest.raises(SettingsError, match="Keyturn's own"):
        list(export_lines(GOLDEN_ROWS, NODE_ID, host_topics={"keyturn.KeyReset"}))


def purged_rows() -> tuple[list[Row], list[Row]]:
    """The rows of a history that was purged and went on, and those that were removed."""
    keys = new_keys(RING)
    log = log_of(keys)
    removed = list(log.rows())
    keys.destroy(RING, origin(1), purge=True)
    assert log.purge(keys)
    keys.regenerate(secret(2), RING, origin(2))
    assert log.append(keys)
    return list(log.rows()), removed


def test_a_history_that_begins_with_a_purge_comes_back(log: EventLog) -> None:
    rows, _ = purged_rows()

    log.restore(read_lines(export_lines(rows, NODE_ID), NODE_ID))

    assert [row.originator_version for row in log.rows()] == [2, 3]
    assert list(log.rows()) == rows


@pytest.mark.parametrize("written", ["before", "after"])
def test_rows_that_came_back_after_a_purge_are_not_exported(written: str) -> None:
    rows, removed = purged_rows()

    with pytest.raises(LogDamagedError):
        exporting([*removed, *rows] if written == "before" else [*rows, *removed])


def test_an_export_that_an_error_cut_short_cannot_be_read() -> None:
    content = b""

    with pytest.raises(KeyturnError):
        for line in export_lines([*GOLDEN_ROWS[:2], GOLDEN_ROWS[3]], NODE_ID):
            content += line

    assert refused(content).line == 4


def test_an_event_too_long_for_a_line_is_not_exported() -> None:
    keys = new_keys(RING)
    key = RetiringKey(1, keys.key_id, "s" * MAX_LINE, NOON + timedelta(days=365))
    keys.retiring = (key,)
    keys.rotate(secret(2), RING, origin(1), overlap=60)

    with pytest.raises(ExportError, match="VACUUM INTO") as caught:
        exporting(log_of(keys).rows())

    assert caught.value.line == 3
