"""A log that this user may not read or write gives a clear error [G8]."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import keyturn

from . import warm_processes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

NOBODY = 65534
AS_NOBODY = """
import json, os, sys
import keyturn
from keyturn.domain.errors import LogUnavailableError
settings = keyturn.Settings(path=sys.argv[1], lock_timeout=0.2)
os.setgid(65534); os.setuid(65534)
try:
    with keyturn.open(settings, password=None) as service:
        print("opened")
        service.reset_key()
except LogUnavailableError as error:
    print(error)
"""

SERVE_AS_NOBODY = """
import os, sys
import keyturn
from keyturn.domain.errors import LogUnavailableError
settings = keyturn.Settings(path=sys.argv[1], lock_timeout=0.2)
import keyturn.aio  # while this may be read
os.setgid(65534); os.setuid(65534)
with keyturn.open(settings, password=None) as service:
    token = service.create_token()
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            service.reset_key(line.strip())
            print("reset", service.verify_token(token), flush=True)
        except LogUnavailableError as error:
            print(error.recorded, error, flush=True)
"""


def open_as_nobody(folder: Path) -> str:
    return warm_processes.run(AS_NOBODY, folder).stdout


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A data folder whose parents everybody may look into, as they may not into pytest's."""
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o711)
        folder = Path(parent, "data")
        keyturn.open(path=folder, password=None).close()
        anchor = folder / "anchor.json.d"
        for path in (folder / "keyring.json", anchor, *anchor.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        yield folder


def test_g8_a_log_that_may_not_be_read_is_a_clear_error(public_folder: Path) -> None:
    os.chmod(public_folder, 0o777)

    printed = open_as_nobody(public_folder)

    assert f"the log {public_folder}/keyturn.db is not available: its file cannot be" in printed


def test_g8_a_log_that_may_not_be_written_can_be_read_and_a_reset_is_a_clear_error(
    public_folder: Path,
) -> None:
    os.chmod(public_folder, 0o777)
    os.chown(public_folder / "keyturn.db", NOBODY, NOBODY)
    os.chmod(public_folder / "keyturn.db", 0o400)

    printed = open_as_nobody(public_folder).splitlines()

    assert printed[0] == "opened"
    assert f"the log {public_folder}/keyturn.db is not available: it is read-only" in printed[1]


def test_g8_a_log_that_others_can_read_and_this_user_cannot_make_private_is_a_clear_error(
    public_folder: Path,
) -> None:
    os.chmod(public_folder, 0o777)
    os.chmod(public_folder / "keyturn.db", 0o666)

    printed = open_as_nobody(public_folder)

    assert "keyturn.db can be read by others (mode 0666), and this user may not" in printed


def test_g8_a_folder_that_may_not_be_written_is_a_clear_error(public_folder: Path) -> None:
    os.chmod(public_folder, 0o755)
    (public_folder / "keyturn.db").unlink()

    printed = open_as_nobody(public_folder)

    assert f"the log {public_folder}/keyturn.db cannot be opened: Permission denied" in printed


def test_g8_a_service_whose_permission_is_taken_away_says_so_and_goes_on_once_it_is_back(
    public_folder: Path,
) -> None:
    os.chmod(public_folder, 0o700)
    for path in (public_folder, *public_folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)

    with subprocess.Popen(
        [sys.executable, "-c", SERVE_AS_NOBODY, str(public_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        service.stdout.readline()

        os.chown(public_folder, 0, 0)
        print("while it may not", file=service.stdin, flush=True)
        refused = service.stdout.readline()
        os.chown(public_folder, NOBODY, NOBODY)
        print("once it may again", file=service.stdin, flush=True)
        done = service.stdout.readline()
        service.stdin.close()

    assert refused.startswith(f"False the log {public_folder}/keyturn.db ")
    assert "this user may not look at it any more (Permission denied)" in refused
    assert done == "reset False\n"
    with keyturn.open(path=public_folder, password=None) as anew:
        assert [change.reason for change in anew.history()] == [None, "once it may again"]
