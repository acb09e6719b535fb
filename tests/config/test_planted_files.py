"""What another user plants in a folder does not lead a process, and root least of all, astray."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn import ClientSession, KeyRing
from keyturn.config import files, folders, sqlite_files
from keyturn.config.anchor import Anchor
from keyturn.domain.errors import AnchorError, TokenFileError
from tests.domain.builders import history, mark_of

SERVICE, NEIGHBOUR = 54321, 54322
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root works for others")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that others are to go on reading."""
    victim = tmp_path / "victim"
    victim.write_text("for all to read")
    victim.chmod(0o644)
    return victim


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder in which another user may do what he likes."""
    data = tmp_path / "data"
    data.mkdir()
    return data


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- the files of a SQLite log ------------------------------------------------------------------


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_a_link_beside_a_database_does_not_change_the_mode_of_its_victim(
    data: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    plant(data / "keyturn.db-wal", victim)

    sqlite_files.make_private(data / "keyturn.db")

    assert mode(victim) == 0o644


def test_a_link_that_takes_the_place_of_a_file_after_a_look_at_it_is_not_followed(
    data: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = data / "keyturn.db"
    database.touch(0o644)
    look = os.lstat

    def look_and_lose(path: Path) -> os.stat_result:
        status = look(path)
        if path == database and stat.S_ISREG(status.st_mode):
            os.rename(path, data / "gone")
            database.symlink_to(victim)
        return status

    monkeypatch.setattr(os, "lstat", look_and_lose)

    sqlite_files.make_private(database)

    assert database.is_symlink()
    assert mode(victim) == 0o644


def test_a_database_that_others_could_read_is_made_private(data: Path) -> None:
    database = data / "keyturn.db"
    database.touch()
    database.chmod(0o644)

    sqlite_files.make_private(database)

    assert mode(database) == 0o600


# --- root in the folder of a service ------------------------------------------------------------


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A folder of root's that the service would like to have."""
    vault = tmp_path / "vault"
    vault.mkdir(mode=0o700)
    (vault / "treasure").touch(0o600)
    return vault


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


@as_root
@pytest.mark.parametrize(
    "make",
    [
        files.make_empty,
        lambda path: files.write_private(path, b"content"),
        lambda path: files.locked(path, timeout=0).__enter__(),
    ],
    ids=["empty", "written", "lock"],
)
def test_root_makes_a_file_in_the_folder_that_it_opened_though_a_link_takes_its_place(
    data: Path,
    vault: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
) -> None:
    os.chown(data, SERVICE, SERVICE)
    find_owner = files.owner_for
    moved = data.with_name("moved")

    def find_owner_and_lose(*arguments: object) -> tuple[int, int] | None:
        owner = find_owner(*arguments)  # type: ignore[arg-type]
        data.rename(moved)
        data.symlink_to(vault)
        return owner

    monkeypatch.setattr(files, "owner_for", find_owner_and_lose)

    make(data / "keyturn.db")

    assert {path.name for path in vault.iterdir()} == {"treasure"}
    assert owners(moved) == {SERVICE}
    assert len(list(moved.iterdir())) == 1


@as_root
@pytest.mark.parametrize("act", [files.make_empty, files.remove_private, files.sweep_temp_files])
def test_root_follows_no_link_that_the_service_made_in_the_place_of_its_folder(
    data: Path, vault: Path, act: Callable[[Path], object]
) -> None:
    (vault / ".new.1.tmp").touch()
    os.chown(data, SERVICE, SERVICE)
    (data / "folder").symlink_to(vault)
    name = "treasure" if act is files.remove_private else "new"

    with pytest.raises(PermissionError, match=f"another user .uid {SERVICE}"):
        act(data / "folder" / name)

    assert {path.name for path in vault.iterdir()} == {"treasure", ".new.1.tmp"}


@as_root
def test_root_uses_a_folder_through_a_link_of_its_own(tmp_path: Path, data: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data)

    assert files.make_empty(link / "keyturn.db")

    assert (data / "keyturn.db").exists()


@as_root
def test_root_gives_away_no_folder_of_its_own_that_was_put_in_the_place_of_a_new_one(
    data: Path, vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(data, SERVICE, SERVICE)
    make = os.mkdir

    def make_and_lose(path: str | Path, *arguments: int, **options: int) -> None:
        make(path, *arguments, **options)
        (data / "new").rename(data / "gone")
        vault.rename(data / "new")

    monkeypatch.setattr(os, "mkdir", make_and_lose)

    folders.make_private_folder(data / "new")

    assert owners(data / "new") == {0}


@as_root
def test_root_gives_a_new_folder_to_whom_the_one_around_it_belongs(data: Path) -> None:
    os.chown(data, SERVICE, SERVICE)

    folders.make_private_folder(data / "a" / "b")

    assert owners(data) == {SERVICE}
    assert mode(data / "a" / "b") == 0o700


@as_root
def test_what_root_writes_where_a_neighbour_planted_a_file_is_not_the_neighbours(
    data: Path,
) -> None:
    data.chmod(0o1777)
    planted = data / "token"
    planted.touch()
    os.chown(planted, NEIGHBOUR, NEIGHBOUR)

    files.write_private(planted, b"secret")

    assert planted.stat().st_uid == 0


def test_a_link_that_leads_nowhere_is_no_folder(data: Path) -> None:
    (data / "link").symlink_to("nowhere")

    with pytest.raises(NotADirectoryError, match="is not a folder"):
        folders.make_private_folder(data / "link")


# --- the anchor ---------------------------------------------------------------------------------


@as_root
def test_root_writes_over_no_file_that_has_a_second_name(data: Path, victim: Path) -> None:
    os.chown(data, SERVICE, SERVICE)
    (data / "planted").hardlink_to(victim)

    with (
        pytest.raises(PermissionError, match="has another name"),
        files.open_private(data / "planted", os.O_RDWR),
    ):
        pass

    assert files.read_private(victim, limit=100, refused=0)


@as_root
def test_root_moves_no_anchor_that_the_service_led_it_to(data: Path, tmp_path: Path) -> None:
    ring = KeyRing.ephemeral()
    first, *_, last = [mark_of(event) for event in history(ring, resets=3)]
    other = Anchor(tmp_path / "other.json", ring.node_id)
    other.replace("default", last)
    os.chown(data, SERVICE, SERVICE)
    (data / "anchor.json.d").symlink_to(tmp_path / "other.json.d")

    with pytest.raises(AnchorError, match="belongs to another user"):
        Anchor(data / "anchor.json", ring.node_id).replace("default", first)

    assert other.read("default") == last


# --- token files --------------------------------------------------------------------------------


@as_root
def test_root_reads_no_token_that_a_neighbour_put_in_the_place_of_another_after_a_look_at_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.chmod(0o1777)
    token = data / "token"
    open_ = os.open

    def plant_and_open(path: str | Path, *arguments: int, **options: int | None) -> int:
        if str(path) == str(token):
            token.write_text("a.b.c")
            os.chown(token, NEIGHBOUR, NEIGHBOUR)
        return open_(path, *arguments, **options)  # type: ignore[arg-type]

    with ClientSession(token) as session:
        monkeypatch.setattr(os, "open", plant_and_open)

        with pytest.raises(TokenFileError, match=rf"another user \(uid {NEIGHBOUR}\): remove it"):
            session.read_token()


@as_root
def test_root_uses_no_folder_of_another_user_that_anybody_could_have_put_there(
    data: Path,
) -> None:
    folder = data / "folder"
    folder.mkdir()
    (folder / "token").write_text("a.b.c")
    for path in (folder, folder / "token"):
        os.chown(path, NEIGHBOUR, NEIGHBOUR)
    data.chmod(0o777)

    with pytest.raises(TokenFileError, match=r"its folder .*/data \(mode 0777"):
        ClientSession(folder / "token")
