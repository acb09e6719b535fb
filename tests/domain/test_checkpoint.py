"""A checkpoint is one line that nobody can alter, and that a log contains and extends or not."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keyturn
from keyturn import Checkpoint, FindingKind, KeyRing, audit
from keyturn.domain.errors import CheckpointError
from keyturn.domain.limits import MAX_NAME
from keyturn.domain.session_keys import Origin
from tests.domain import golden
from tests.domain.builders import NOON, history, new_keys

RING = golden.KEY_RING
EVENT = history(RING)[-1]
LINE = str(Checkpoint.of(EVENT))
TIME = 5
"""Which part of the line is the time."""

names = st.text(min_size=1, max_size=MAX_NAME).filter(lambda n: n.isprintable() and n.strip())
moments = st.datetimes(timezones=st.just(UTC))


def line_of(manager: str, at: datetime = NOON) -> str:
    keys = new_keys(RING, manager, Origin("a test", None, at))
    return str(Checkpoint.of(keys.collect_events()[0]))  # type: ignore[arg-type]


def part(number: int, instead: str) -> str:
    """The line with another part in the place of this one."""
    parts = LINE.split(" ")
    parts[number] = instead
    return " ".join(parts)


def is_refused(line: str) -> bool:
    try:
        Checkpoint.parse(line)
    except CheckpointError:
        return True
    return False


# --- the line ----------------------------------------------------------------------------------


def test_a_checkpoint_is_read_back_as_it_was_written() -> None:
    assert Checkpoint.parse(LINE) == Checkpoint.of(EVENT)


def test_a_checkpoint_says_where_the_history_stood() -> None:
    checkpoint = Checkpoint.of(EVENT)

    assert checkpoint == Checkpoint(
        RING.node_id,
        "default",
        EVENT.originator_version,
        EVENT.digest,
        EVENT.timestamp,
        EVENT.signature,
    )


def test_a_checkpoint_is_one_line_of_seven_words() -> None:
    words = LINE.split(" ")

    assert words[:4] == ["keyturn-checkpoint-v1", RING.node_id, "default", "4"]
    assert words[4:] == [EVENT.digest, "2025-06-01T12:00:04Z", EVENT.signature]


@pytest.mark.parametrize(
    "name", ["two words", "a%20b", "naïve – ünïcödé", "鍵", "🔑", "a/b?c#d", "100%", "+", "a.b~c"]
)
def test_a_name_with_spaces_and_unicode_is_read_back(name: str) -> None:
    line = line_of(name)

    assert (Checkpoint.parse(line).manager, len(line.split())) == (name, 7)
    assert line.isascii()


@given(names, moments)
def test_any_name_and_time_are_read_back(name: str, at: datetime) -> None:
    line = line_of(name, at)

    checkpoint = Checkpoint.parse(line)

    assert (checkpoint.manager, checkpoint.at, str(checkpoint)) == (name, at, line)


@pytest.mark.parametrize("line", [LINE + "\n", f"  {LINE}  ", LINE + "\r\n"])
def test_white_space_around_the_line_does_not_matter(line: str) -> None:
    assert Checkpoint.parse(line) == Checkpoint.of(EVENT)


def test_a_checkpoint_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Checkpoint.parse(LINE).position = 9  # type: ignore[misc]


# --- altered -----------------------------------------------------------------------------------


def outside_the_time() -> list[int]:
    start = len(" ".join(LINE.split(" ")[:TIME])) + 1
    end = start + len(LINE.split(" ")[TIME])
    return [place for place in range(len(LINE)) if not start <= place < end]


@pytest.mark.parametrize("change", [1, 2, 4, 8, 16, 32, 64, 128])
def test_a_bit_flipped_in_any_character_but_the_time_is_refused(change: int) -> None:
    lines = [
        LINE[:place] + chr(ord(LINE[place]) ^ change) + LINE[place + 1 :]
        for place in outside_the_time()
    ]

    assert [line for line in lines if not is_refused(line)] == []


@given(st.sampled_from(outside_the_time()), st.characters())
def test_any_other_character_in_any_place_but_the_time_is_refused(
    place: int, character: str
) -> None:
    line = LINE[:place] + character + LINE[place + 1 :]

    assert is_refused(line) is (line != LINE)


def test_a_line_that_lost_a_character_is_refused() -> None:
    lines = [LINE[:place] + LINE[place + 1 :] for place in outside_the_time()]

    assert [line for line in lines if not is_refused(line)] == []


@pytest.mark.parametrize("length", range(0, len(LINE), 7))
def test_a_line_that_was_cut_short_is_refused(length: int) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(LINE[:length])


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        LINE.replace(" ", "  "),
        LINE.replace(" ", "\t"),
        LINE.replace(" ", "\u3000"),
        LINE.replace(" ", "\n"),
        LINE + " " + LINE,
        LINE + "\n" + LINE,
        part(0, "keyturn-checkpoint-v2"),
        part(1, RING.node_id.upper()),
        part(1, "v"),
        part(2, "%64efault"),
        part(2, "Default"),
        part(2, "%ff"),
        part(2, "\ud800"),
        part(3, "04"),
        part(3, "+4"),
        part(3, "٤"),
        part(3, "-4"),
        part(3, "4.0"),
        part(3, "9" * 5000),
        part(4, EVENT.digest.upper()),
        part(4, "\ud800"),
        part(TIME, "noon"),
        part(TIME, "2025-06-01T12:00:04"),
        part(TIME, "2025-06-01T12:00:04+00:00"),
        part(TIME, "2025-06-01T14:00:04+02:00"),
        part(TIME, "2025-06-01 12:00:04Z"),
        part(TIME, "20250601T120004Z"),
        part(TIME, "0001-01-01T00:00:00+14:00"),
        part(TIME, "9999-12-31T23:59:59-14:00"),
        part(6, EVENT.signature + "=="),
        part(6, "é"),
        part(6, ""),
    ],
)
def test_another_spelling_of_a_checkpoint_is_refused(line: str) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(line)


@given(st.text())
def test_what_is_no_checkpoint_is_refused(line: str) -> None:
    assert is_refused(line)


@given(st.lists(st.text(st.characters(exclude_categories=["Z"])), min_size=6, max_size=6))
def test_what_only_begins_like_a_checkpoint_is_refused(parts: list[str]) -> None:
    assert is_refused(" ".join(["keyturn-checkpoint-v1", *parts]))


def test_the_parts_of_two_checkpoints_do_not_go_together() -> None:
    older = str(Checkpoint.of(history(RING)[-2])).split(" ")

    mixed = [part(number, older[number]) for number in (3, 4, 6)]

    assert all(is_refused(line) for line in mixed)


def test_a_refusal_says_nothing_of_what_it_read() -> None:
    with pytest.raises(CheckpointError) as raised:
        Checkpoint.parse(part(2, "a-secret"))

    assert "a-secret" not in str(raised.value)


# --- held against a log ------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder of a service with three changes."""
    with keyturn.open(path=tmp_path / "data", password=None) as service:
        service.reset_key()
        service.reset_key()
    return tmp_path / "data"


def test_g5_a_log_contains_its_own_checkpoint(data: Path) -> None:
    with keyturn.open(path=data, password=None) as service:
        checkpoint = Checkpoint.parse(str(service.checkpoint()))

        assert service.audit(checkpoint).findings == ()


def test_g5_a_later_log_contains_and_extends_its_checkpoint(data: Path) -> None:
    with keyturn.open(path=data, password=None) as service:
        checkpoint = service.checkpoint()
        service.reset_key()
        service.reset_key()

        report = service.audit(checkpoint)

    assert (report.findings, report.heads["default"].position) == ((), checkpoint.position + 2)


def test_g5_a_log_rolled_back_behind_its_checkpoint_is_truncated(data: Path) -> None:
    old = (data / "keyturn.db").read_bytes()
    with keyturn.open(path=data, password=None) as service:
        service.reset_key()
        checkpoint = service.checkpoint()
    (data / "keyturn.db").write_bytes(old)

    log = keyturn.open_event_log(f"sqlite:///{data}/keyturn.db", for_audit=True)
    report = audit(log, against=[checkpoint], node_id=checkpoint.node_id)
    log.close()

    assert [(f.kind, f.position) for f in report.findings] == [(FindingKind.TRUNCATED, 4)]


def test_g5_a_checkpoint_of_another_node_is_genuine_and_its_log_is_not_this_one(
    data: Path,
) -> None:
    with keyturn.open(store="memory:", key_ring=KeyRing.ephemeral()) as stranger:
        checkpoint = Checkpoint.parse(str(stranger.checkpoint()))

    with keyturn.open(path=data, password=None) as service:
        report = service.audit(checkpoint)

    assert [(f.kind, f.position) for f in report.findings] == [(FindingKind.FOREIGN, 1)]


@pytest.mark.parametrize("later", [timedelta(microseconds=1), timedelta(days=-1)])
def test_g5_a_checkpoint_with_another_time_is_found_when_held_against_the_log(
    data: Path, later: timedelta
) -> None:
    with keyturn.open(path=data, password=None) as service:
        genuine = service.checkpoint()
        altered = Checkpoint.parse(str(dataclasses.replace(genuine, at=genuine.at + later)))

        report = service.audit(altered)

    assert [(f.kind, f.position) for f in report.findings] == [(FindingKind.ALTERED, 3)]


def test_a_checkpoint_of_a_time_in_another_zone_is_spelled_in_utc() -> None:
    east = timezone(timedelta(hours=9))

    line = str(dataclasses.replace(Checkpoint.of(EVENT), at=EVENT.timestamp.astimezone(east)))

    assert line == LINE
