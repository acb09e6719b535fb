"""A backup of the log, and back: with its key ring tokens are good again, and only then."""

from __future__ import annotations

import io
import shutil
import sqlite3
from pathlib import Path

import pytest
from eventsourcing.domain import Aggregate
from msgspec.structs import replace

import keyturn
from keyturn import Settings
from keyturn.backup import export_log, import_log
from keyturn.config import key_ring_file
from keyturn.config.anchor import Anchor
from keyturn.domain.errors import (
    ExportError,
    KeyRingNotFoundError,
    LogDamagedError,
    LogNotEmptyError,
    LogRolledBackError,
    LogUnavailableError,
    NotAKeyturnLogError,
    SettingsError,
)
from keyturn.domain.key_log import Row
from keyturn.domain.mark import Mark


class Cart(Aggregate):
    """An aggregate of a host."""


@pytest.fixture
def data(tmp_path: Path) -> Settings:
    """A data folder whose log has two managers and six events."""
    settings = Settings(path=tmp_path / "data")
    for name in ("default", "admins"):
        with keyturn.open(settings, password=None, name=name) as service:
            service.reset_key(reason="laptop stolen – naïve\u202e")
            service.reset_key()
    return settings


@pytest.fixture
def restored(data: Settings, tmp_path: Path) -> Settings:
    """A data folder with the same key ring, and nothing else."""
    folder = tmp_path / "restored"
    folder.mkdir(mode=0o700)
    shutil.copy(data.key_ring_path, folder)
    return Settings(path=folder)


def exported(settings: Settings) -> bytes:
    file = io.BytesIO()
    export_log(settings, file)
    return file.getvalue()


def database(settings: Settings) -> Path:
    return settings.data_folder / "keyturn.db"


def rows(settings: Settings) -> list[Row]:
    log = keyturn.open_event_log(settings.store_url, aggregates=[Cart])
    found = list(log.rows())
    log.close()
    return found


def marks(settings: Settings) -> dict[str, Mark]:
    node_id = key_ring_file.read(settings.key_ring_path).node_id
    return Anchor(settings.anchor_path, node_id).marks()


def lose_log(settings: Settings) -> None:
    for file in settings.data_folder.glob("keyturn.db*"):
        file.unlink()


def test_an_export_says_how_many_events_it_has(data: Settings) -> None:
    file = io.BytesIO()

    events = export_log(data, file)

    assert events == len(rows(data)) == 6
    assert file.getvalue().count(b"\n") == 8


def test_an_import_gives_the_same_rows_byte_for_byte(data: Settings, restored: Settings) -> None:
    content = exported(data)

    events = import_log(restored, io.BytesIO(content))

    assert events == 6
    assert rows(restored) == rows(data)
    assert exported(restored) == content


def test_tokens_issued_before_the_export_are_good_after_the_import(data: Settings) -> None:
    with keyturn.open(data, password=None) as service:
        token = service.create_token()
    with keyturn.open(data, password=None, name="admins") as service:
        admins_token = service.create_token()
    content = exported(data)
    lose_log(data)

    import_log(data, io.BytesIO(content))

    with keyturn.open(data, password=None) as service:
        assert service.verify_token(token)
        assert not service.verify_token(admins_token)
        assert service.audit().holds
    with keyturn.open(data, password=None, name="admins") as service:
        assert service.verify_token(admins_token)


def test_keys_in_overlap_are_good_after_the_import(data: Settings) -> None:
    with keyturn.open(data, password=None) as service:
        tokens = [service.create_token()]
        service.rotate_key(0)
        for _ in range(2):
            tokens.append(service.create_token())
            service.rotate_key(3600)
    content = exported(data)
    lose_log(data)

    import_log(data, io.BytesIO(content))

    with keyturn.open(data, password=None) as service:
        assert [service.verify_token(token) for token in tokens] == [False, True, True]
        assert service.audit().holds


def test_g9_an_export_on_a_new_machine_revives_nothing(
    data: Settings, restored: Settings
) -> None:
    with keyturn.open(data, password=None) as service:
        token = service.create_token()
        content = exported(data)
        service.reset_key("after the export")

    import_log(restored, io.BytesIO(content))

    with keyturn.open(restored, password=None) as service:
        assert not service.verify_token(token)
        token = service.create_token()
        assert service.audit().holds
    with keyturn.open(restored, password=None) as service:  # that was once
        assert service.verify_token(token)


def test_a_log_in_use_is_exported(data: Settings) -> None:
    with keyturn.open(data, password=None) as service:
        service.reset_key()

        content = exported(data)

    assert content.count(b"\n") - 2 == len(rows(data))


def test_neither_needs_the_password(tmp_path: Path) -> None:
    settings = Settings(path=tmp_path / "data")
    with keyturn.open(settings, password="correct horse") as service:
        token = service.create_token()
    content = exported(settings)
    lose_log(settings)

    import_log(settings, io.BytesIO(content))

    with keyturn.open(settings, password="correct horse") as service:
        assert service.verify_token(token)


def test_the_log_that_an_import_makes_is_private(data: Settings, restored: Settings) -> None:
    import_log(restored, io.BytesIO(exported(data)))

    assert database(restored).stat().st_mode & 0o777 == 0o600


def test_the_newest_export_goes_on_as_if_nothing_had_happened(data: Settings) -> None:
    with keyturn.open(data, password=None) as service:
        token = service.create_token()
    content = exported(data)
    lose_log(data)

    import_log(data, io.BytesIO(content))

    with keyturn.open(data, password=None) as service:
        assert service.verify_token(token)


def test_an_older_export_is_refused_at_the_next_start(data: Settings) -> None:
    content = exported(data)
    with keyturn.open(data, password=None) as service:
        service.reset_key()
    lose_log(data)

    import_log(data, io.BytesIO(content))

    with pytest.raises(LogRolledBackError) as caught:
        keyturn.open(data, password=None)
    assert (caught.value.expected_position, caught.value.found_position) == (4, 3)


def test_an_older_export_that_is_accepted_ends_every_token(data: Settings) -> None:
    content = exported(data)
    with keyturn.open(data, password=None) as service:
        token = service.create_token()
        service.reset_key()
    lose_log(data)
    import_log(data, io.BytesIO(content))

    with keyturn.open(data, password=None, accept_rollback=True) as service:
        assert not service.verify_token(token)
        assert service.audit().holds
    with keyturn.open(data, password=None) as service:
        assert service.verify_token(service.create_token())


def test_an_import_of_what_the_anchor_has_seen_leaves_it_alone(data: Settings) -> None:
    before = marks(data)
    content = exported(data)
    lose_log(data)

    import_log(data, io.BytesIO(content))

    assert marks(data) == before


def test_an_import_of_less_than_the_anchor_has_seen_leaves_it_alone(data: Settings) -> None:
    content = exported(data)
    with keyturn.open(data, password=None) as service:
        service.reset_key()
    before = marks(data)
    lose_log(data)

    import_log(data, io.BytesIO(content))

    assert marks(data) == before


def test_the_anchor_remembers_of_each_manager_that_it_was_imported(
    data: Settings, restored: Settings
) -> None:
    import_log(restored, io.BytesIO(exported(data)))

    assert marks(restored) == {
        name: replace(mark, imported=True) for name, mark in marks(data).items()
    }


def test_the_anchor_moves_on_to_what_was_imported(data: Settings, restored: Settings) -> None:
    import_log(restored, io.BytesIO(exported(data)))
    lose_log(restored)
    with keyturn.open(data, password=None) as service:
        service.reset_key()

    import_log(restored, io.BytesIO(exported(data)))

    mark = marks(restored)["default"]
    assert (mark.position, mark.imported) == (marks(data)["default"].position, True)


def test_g5_our_own_topic_is_never_left_out(data: Settings) -> None:
    with pytest.raises(SettingsError, match="Keyturn's own"):
        export_log(data, io.BytesIO(), host_topics=["keyturn.KeyReset"])


def test_a_log_that_holds_events_is_left_as_it_is(data: Settings) -> None:
    content, before = exported(data), rows(data)

    with pytest.raises(LogNotEmptyError):
        import_log(data, io.BytesIO(content))

    assert rows(data) == before


def test_a_log_that_is_in_use_is_left_as_it_is(data: Settings) -> None:
    content = exported(data)
    with keyturn.open(data, password=None) as service:
        token = service.create_token()

        with pytest.raises(LogNotEmptyError):
            import_log(data, io.BytesIO(content))

        assert service.verify_token(token)


def test_a_bad_export_leaves_nothing_in_the_log(data: Settings, restored: Settings) -> None:
    content = exported(data)

    with pytest.raises(ExportError) as caught:
        import_log(restored, io.BytesIO(content[:-1]))

    assert caught.value.line == 8
    assert (rows(restored), marks(restored)) == ([], {})
    assert import_log(restored, io.BytesIO(content)) == 6


def test_what_is_no_export_leaves_not_even_an_empty_log(restored: Settings) -> None:
    with pytest.raises(ExportError):
        import_log(restored, io.BytesIO(b"something else\n"))

    assert not database(restored).exists()


def test_the_export_of_another_node_is_refused(data: Settings, tmp_path: Path) -> None:
    other = Settings(path=tmp_path / "other")
    keyturn.open(other, password=None).close()
    lose_log(other)

    with pytest.raises(ExportError) as caught:
        import_log(other, io.BytesIO(exported(data)))

    assert caught.value.line == 1
    assert not database(other).exists()


def test_without_the_key_ring_there_is_nothing_to_import_for(
    data: Settings, tmp_path: Path
) -> None:
    with pytest.raises(KeyRingNotFoundError):
        import_log(Settings(path=tmp_path / "empty"), io.BytesIO(exported(data)))

    assert not (tmp_path / "empty").exists()


def test_a_log_that_is_not_there_is_not_exported(restored: Settings) -> None:
    file = io.BytesIO()

    with pytest.raises(LogUnavailableError):
        export_log(restored, file)

    assert file.getvalue() == b""
    assert not database(restored).exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET state = replace(state, 'stolen', 'found')",
        "UPDATE stored_events SET topic = 'keyturn.KeyReset' WHERE originator_version = 1",
        "UPDATE stored_events SET originator_version = 9 WHERE originator_version = 3",
        "UPDATE stored_events SET state = CAST(state AS TEXT)",
        "DELETE FROM stored_events WHERE originator_version = 2",
    ],
)
def test_a_log_that_was_altered_is_not_exported(data: Settings, statement: str) -> None:
    with sqlite3.connect(database(data)) as connection:
        changed = connection.execute(statement).rowcount
    connection.close()

    with pytest.raises(LogDamagedError) as caught:
        exported(data)

    assert changed > 0
    assert caught.value.position is not None


def test_an_alien_topic_is_not_exported(data: Settings) -> None:
    with sqlite3.connect(database(data)) as connection:
        connection.execute("UPDATE stored_events SET topic = 'os:system'")
    connection.close()

    with pytest.raises(NotAKeyturnLogError):
        exported(data)


def test_what_a_host_keeps_in_the_log_is_left_out_and_left_alone(
    data: Settings, restored: Settings
) -> None:
    content = exported(data)
    for settings in (data, restored):
        log = keyturn.open_event_log(settings.store_url, aggregates=[Cart])
        log.save(Cart())
        log.close()
    file = io.BytesIO()

    export_log(data, file, aggregates=[Cart])
    import_log(restored, io.BytesIO(content), aggregates=[Cart])

    assert file.getvalue() == content
    assert len(rows(restored)) == 7
