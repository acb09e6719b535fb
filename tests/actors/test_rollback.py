"""G5: A rolled-back log is refused, until an operator accepts it, which resets the key."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import keyturn
from keyturn.domain.errors import AnchorError, LogNotTrustedError, LogRolledBackError
from keyturn.domain.head import Head
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.session_keys import manager_id
from tests.actors.reading import kinds


class Data:
    """A data folder with a history, and older copies of its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "keyturn.db"
        self.anchor = folder / "anchor.json.d" / f"{manager_id('default').hex}.json"

    def open(self, **arguments: Any) -> keyturn.Service:
        return keyturn.open(path=self.folder, password=None, **arguments)

    def reset(self, times: int = 1) -> None:
        with self.open() as service:
            for _ in range(times):
                service.reset_key()

    def token(self) -> str:
        with self.open() as service:
            return service.create_token()

    def copy_of_log(self) -> Path:
        """Return a backup of the log as it is now, made as SQLite says."""
        copy = self.folder / "backup.db"
        source, target = sqlite3.connect(self.database), sqlite3.connect(copy)
        with source, target:
            source.backup(target)
        source.close()
        target.close()
        return copy

    def put_back(self, copy: Path) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(copy, self.database)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    data = Data(tmp_path / "data")
    data.reset()  # position 2
    return data


def cut(data: Data) -> None:
    data.database.write_bytes(b"")


def delete(data: Data) -> None:
    data.database.unlink()


def put_older_copy_back(data: Data) -> None:
    copy = data.copy_of_log()
    data.reset()
    data.put_back(copy)


def put_other_history_back(data: Data) -> None:
    """One of the same length, with a reset that this node has not seen."""
    copy, anchor = data.copy_of_log(), data.anchor.read_bytes()
    data.reset()
    real_anchor = data.anchor.read_bytes()
    data.put_back(copy)
    data.anchor.write_bytes(anchor)
    data.reset()
    data.anchor.write_bytes(real_anchor)


every_rollback = pytest.mark.parametrize(
    "roll_back", [put_older_copy_back, put_other_history_back, cut, delete]
)


@every_rollback
def test_g5_a_rolled_back_log_is_refused(data: Data, roll_back: Callable[[Data], None]) -> None:
    roll_back(data)

    with pytest.raises(LogRolledBackError):
        data.open()


@every_rollback
def test_g5_a_rolled_back_log_is_refused_again_and_again(
    data: Data, roll_back: Callable[[Data], None]
) -> None:
    roll_back(data)

    for fresh in (False, True, False):
        with pytest.raises(LogRolledBackError):
            data.open(fresh=fresh)


@every_rollback
def test_g5_the_refusal_of_a_rolled_back_log_says_how_to_accept_it(
    data: Data, roll_back: Callable[[Data], None]
) -> None:
    roll_back(data)

    with pytest.raises(LogRolledBackError) as caught:
        data.open()

    assert all(hint in str(caught.value) for hint in ("accept_rollback", str(data.database)))


@pytest.mark.parametrize(
    ("roll_back", "expected", "found"),
    [
        (put_older_copy_back, 3, 2),
        (put_other_history_back, 3, 3),
        (cut, 2, 0),
        (delete, 2, 0),
    ],
)
def test_g5_the_refusal_of_a_rolled_back_log_says_where_it_should_end_and_where_it_does(
    data: Data, roll_back: Callable[[Data], None], expected: int, found: int
) -> None:
    roll_back(data)

    with pytest.raises(LogRolledBackError) as caught:
        data.open()

    assert (caught.value.expected_position, caught.value.found_position) == (expected, found)


@every_rollback
def test_g5_what_is_written_after_an_accepted_rollback_is_not_rolled_back_unseen(
    data: Data, roll_back: Callable[[Data], None]
) -> None:
    roll_back(data)
    with data.open(accept_rollback=True) as service:
        copy = data.copy_of_log()
        service.reset_key()
    data.put_back(copy)

    with pytest.raises(LogRolledBackError):
        data.open()


@every_rollback
def test_a_rolled_back_log_can_be_accepted_and_then_opens_as_ever(
    data: Data, roll_back: Callable[[Data], None]
) -> None:
    roll_back(data)

    data.open(accept_rollback=True).close()

    token = data.token()
    with data.open() as service:
        assert service.verify_token(token)


@every_rollback
def test_the_history_says_that_a_rollback_was_accepted(
    data: Data, roll_back: Callable[[Data], None]
) -> None:
    roll_back(data)

    with data.open(accept_rollback=True) as service:
        newest = next(service.history(newest_first=True))

    assert (newest.reason or "").startswith("accepted a log that was rolled back")


def test_a_token_of_the_old_copy_is_refused_although_it_was_accepted(data: Data) -> None:
    token = data.token()
    put_older_copy_back(data)

    with data.open(accept_rollback=True) as service:
        assert not service.verify_token(token)


def test_a_token_that_was_revoked_after_the_copy_was_made_stays_refused(data: Data) -> None:
    copy, token = data.copy_of_log(), data.token()
    data.reset(3)
    data.put_back(copy)

    with data.open(accept_rollback=True) as service:
        report = service.inspect_token(token)

    assert (report.valid, report.revoked_because) == (False, next(_reasons(data)))


def _reasons(data: Data) -> Any:
    with data.open() as service:
        yield next(service.history(newest_first=True)).reason


def test_accepting_a_log_that_was_not_rolled_back_changes_nothing(data: Data) -> None:
    token = data.token()

    with data.open(accept_rollback=True) as service:
        assert (service.verify_token(token), len(list(service.history()))) == (True, 2)


def test_a_log_that_is_ahead_of_the_anchor_is_no_rollback(data: Data) -> None:
    anchor = data.anchor.read_bytes()
    data.reset(2)
    data.anchor.write_bytes(anchor)

    with data.open() as service:
        assert len(list(service.history())) == 4


def test_the_anchor_follows_what_another_process_wrote(data: Data) -> None:
    anchor = data.anchor.read_bytes()
    data.reset(2)
    copy = data.copy_of_log()
    data.anchor.write_bytes(anchor)

    data.open().close()

    data.reset()
    data.put_back(copy)
    with pytest.raises(LogRolledBackError) as caught:
        data.open()
    assert caught.value.expected_position == 5


def test_the_anchor_goes_on_following_after_a_change_that_came_while_it_followed(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        data.open() as service,
        data.open(anchor=tmp_path / "other.json", trust_log=True) as other,
    ):
        reader, activity = service.parts.reader, service.parts.activity
        get, note = reader.get, activity.note

        def get_what_other_wrote_just_now() -> Head:
            monkeypatch.setattr(reader, "get", get)
            other.reset_key()
            return get()

        def note_the_last_before_following(events: Sequence[KeyEvent]) -> None:
            note(events)
            monkeypatch.setattr(reader, "get", get_what_other_wrote_just_now)

        monkeypatch.setattr(activity, "note", note_the_last_before_following)
        service.reset_key()
        other.reset_key()
        service.verify_token("a.b.c")

        anchor, deadline = service.parts.anchor, time.monotonic() + 10
        assert anchor is not None
        while anchor.peek("default") < 5:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_g5_a_log_whose_anchor_is_gone_is_refused_until_it_is_trusted(data: Data) -> None:
    token = data.token()
    shutil.rmtree(data.anchor.parent)

    with pytest.raises(LogNotTrustedError, match="--trust-log"):
        data.open()
    with data.open(trust_log=True) as service:
        assert service.verify_token(token)
        assert kinds(service) == ["generated", "reset"]
    with data.open() as service:  # once was enough
        assert service.verify_token(token)


def test_a_deleted_anchor_is_made_anew(data: Data) -> None:
    shutil.rmtree(data.anchor.parent)
    data.open(trust_log=True).close()

    cut(data)

    with pytest.raises(LogRolledBackError):
        data.open()


@pytest.mark.parametrize("lose", [cut, delete])
def test_g5_a_lost_log_is_no_first_start_when_a_key_ring_is_left_of_it(
    data: Data, lose: Callable[[Data], None]
) -> None:
    shutil.rmtree(data.anchor.parent)
    lose(data)

    with pytest.raises(LogRolledBackError, match="accept_rollback"):
        data.open()


def test_a_lost_log_and_a_lost_anchor_can_be_accepted(data: Data) -> None:
    shutil.rmtree(data.anchor.parent)
    delete(data)

    with data.open(accept_rollback=True) as service:
        assert [change.kind for change in service.history()] == ["generated"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 10, b'{"format": "keyturn anchor"}'])
def test_a_damaged_anchor_is_refused(data: Data, content: bytes) -> None:
    data.anchor.write_bytes(content)

    with pytest.raises(AnchorError, match="accept_rollback") as caught:
        data.open()

    assert caught.value.path == str(data.anchor)


def test_an_anchor_whose_position_was_altered_is_refused(data: Data) -> None:
    text = data.anchor.read_text()
    data.anchor.write_text(text.replace('"position":2', '"position":1'))

    with pytest.raises(AnchorError, match="altered"):
        data.open()


def test_accepting_the_log_with_a_damaged_anchor_resets_the_key(data: Data) -> None:
    token = data.token()
    data.anchor.write_bytes(b"")

    with data.open(accept_rollback=True) as service:
        assert not service.verify_token(token)

    data.open().close()  # the anchor was made anew


def test_a_manager_that_was_stopped_refuses_to_start_on_a_log_that_was_rolled_back(
    data: Data,
) -> None:
    with data.open() as service:
        service.reset_key()
        service.stop()
        connection = sqlite3.connect(data.database)
        with connection:
            connection.execute("DELETE FROM stored_events WHERE originator_version > 1")
        connection.close()

        with pytest.raises(LogRolledBackError):
            service.start()
