"""Files between users: Secrets of Kubernetes, commands of root, and what others planted [G4].

The processes take on another user once they have imported Keyturn.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keyturn
from keyturn import ClientSession
from keyturn.domain.errors import TokenFileError

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become others")
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

SERVICE, NEIGHBOUR, GROUP = 54321, 54322, 54323
AS = """
import os, pathlib, sys
import keyturn
from keyturn import ClientSession
with keyturn.open(store="memory:", password=None) as service:  # loads what loads late
    service.reset_key()
os.setgroups([{group}]), os.setgid({user}), os.setuid({user})
path = pathlib.Path(sys.argv[1])
try:
    {code}
except keyturn.KeyturnError as error:
    print(type(error).__name__, "|", error)
"""
OPEN = """with keyturn.open(path=path, password="secret", {more}) as service:
        service.reset_key()
        print(service.verify_token(service.create_token()))"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users can get to; those of pytest are closed at each start of it."""
    with tempfile.TemporaryDirectory(prefix="keyturn-users-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def run_as(run_python: RunPython) -> Callable[..., str]:
    """Run a piece of code as a user, and return what it printed."""

    def run(user: int, code: str, path: Path, group: int = GROUP) -> str:
        return run_python(AS.format(user=user, group=group, code=code), path).stdout.strip()

    return run


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def give(path: Path, user: int, group: int | None = None) -> Path:
    os.chown(path, user, user if group is None else group)
    return path


# --- Kubernetes ---------------------------------------------------------------------------------


@pytest.fixture
def secret(folder: Path) -> Path:
    """A key ring as the kubelet mounts a Secret for an fsGroup, and the service's data beside."""
    with keyturn.open(path=folder / "made", password="secret"):
        pass
    data, volume = folder / "data", folder / "secret"
    version = volume / "..2026_01_01_00_00_00.1"
    version.mkdir(parents=True)
    (folder / "made/keyring.json").rename(version / "keyring.json")
    give(version / "keyring.json", 0, GROUP).chmod(0o440)
    (volume / "..data").symlink_to(version.name)
    (volume / "keyring.json").symlink_to("..data/keyring.json")
    version.chmod(0o2755)
    volume.chmod(0o3777)
    (folder / "made").rename(data)
    (data / "keyring.json").symlink_to(volume / "keyring.json")
    for path in (data, *data.rglob("*")):
        os.chown(path, SERVICE, GROUP, follow_symlinks=False)
    os.chown(data / "keyring.json", 0, GROUP, follow_symlinks=False)
    return data


def test_a_key_ring_in_a_secret_of_kubernetes_is_used_where_a_setting_says_so(
    secret: Path, run_as: Callable[..., str]
) -> None:
    refused = run_as(SERVICE, OPEN.format(more=""), secret)
    settings = "settings=keyturn.Settings(path=path, group_readable=True)"

    output = run_as(SERVICE, OPEN.format(more=settings), secret)

    assert refused.startswith("KeyRingPermissionError | ")
    assert "mode 0440" in refused
    assert "KEYTURN_GROUP_READABLE=true" in refused
    assert output == "True"


@pytest.mark.parametrize("plant", ["folder", "link", "target"])
def test_a_key_ring_that_another_user_could_replace_is_refused(
    secret: Path, run_as: Callable[..., str], plant: str
) -> None:
    volume = secret.parent / "secret"
    if plant == "folder":
        (volume / "..data").resolve().chmod(0o777)
    elif plant == "link":
        os.chown(volume / "..data", NEIGHBOUR, NEIGHBOUR, follow_symlinks=False)
    else:
        give(volume / "..data/keyring.json", NEIGHBOUR, GROUP)
    settings = "settings=keyturn.Settings(path=path, group_readable=True)"

    output = run_as(SERVICE, OPEN.format(more=settings), secret)

    assert output.startswith("KeyRingPermissionError | ")


def test_data_that_an_fs_group_was_given_is_used_where_a_setting_says_so(
    folder: Path, run_as: Callable[..., str]
) -> None:
    data = folder / "data"
    data.mkdir()
    give(data, SERVICE)
    run_as(SERVICE, OPEN.format(more=""), data)
    for path in (data, *data.rglob("*")):  # as the kubelet does at each mount
        is_folder = path.is_dir()
        give(path, SERVICE, GROUP)
        path.chmod(path.stat().st_mode | (0o2070 if is_folder else 0o060))

    output = run_as(
        SERVICE,
        OPEN.format(more="settings=keyturn.Settings(path=path, group_readable=True)"),
        data,
    )

    assert output == "True"
    assert mode(data / "keyring.json") == 0o660


# --- root in a service's folder -----------------------------------------------------------------


def test_what_root_does_in_the_folder_of_a_service_leaves_the_service_its_files(
    folder: Path, run_as: Callable[..., str]
) -> None:
    data = folder / "data"
    data.mkdir()
    give(data, SERVICE)
    with keyturn.open(path=data, password="first") as service:
        service.reset_key()
        service.named("tenant").reset_key()
    keyturn.KeyRing.change_password(data / "keyring.json", "first", "secret")
    with ClientSession(data / "client/token", "a.b.c") as session:
        session.write_token("d.e.f")

    output = run_as(SERVICE, OPEN.format(more=""), data)

    assert {owner(path) for path in data.rglob("*")} == {(SERVICE, SERVICE)}
    assert output == "True"
    assert run_as(SERVICE, "print(ClientSession(path).read_token())", data / "client/token") == (
        "d.e.f"
    )


def test_root_reads_and_clears_the_token_of_a_service_in_its_own_folder(folder: Path) -> None:
    give(folder, SERVICE)
    token = folder / "token"
    token.write_text("a.b.c")
    give(token, SERVICE).chmod(0o600)

    with ClientSession(token) as session:
        found = session.read_token()
        session.clear_token()

    assert (found, token.exists()) == ("a.b.c", False)


# --- what others planted ------------------------------------------------------------------------


def test_root_refuses_a_token_that_another_user_planted(folder: Path) -> None:
    folder.chmod(0o1777)
    token = folder / "token"
    token.write_text("a.b.c")
    give(token, NEIGHBOUR).chmod(0o600)

    with pytest.raises(TokenFileError, match=rf"another user \(uid {NEIGHBOUR}\): remove it"):
        ClientSession(token)


@pytest.mark.parametrize(
    "call",
    [ClientSession.read_token, ClientSession.clear_token, lambda it: it.write_token("d.e.f")],
    ids=["read", "clear", "write"],
)
def test_a_token_file_in_a_folder_that_all_may_write_to_is_refused(
    folder: Path, call: Callable[[ClientSession], object]
) -> None:
    token = folder / "token"
    with ClientSession(token, "a.b.c") as session:
        folder.chmod(0o777)

        with pytest.raises(TokenFileError, match=r"mode 0777\): run chmod o-w"):
            call(session)

    assert token.read_text() == "a.b.c\n"


def test_a_token_file_in_the_folder_of_another_user_is_refused(
    folder: Path, run_as: Callable[..., str]
) -> None:
    give(folder, NEIGHBOUR).chmod(0o1777)

    output = run_as(SERVICE, "ClientSession(path, 'a.b.c')", folder / "token")

    assert output.startswith("TokenFileError | ")
    assert f"belongs to another user (uid {NEIGHBOUR})" in output


def test_a_hard_link_that_was_planted_does_not_change_the_mode_of_its_victim(
    folder: Path,
) -> None:
    folder.chmod(0o1777)
    victim = folder / "victim"
    victim.write_text("a.b.c")
    victim.chmod(0o644)
    os.link(victim, folder / "token")

    with pytest.raises(TokenFileError, match="has another name"):
        ClientSession(folder / "token").read_token()

    assert mode(victim) == 0o644
