"""What a file system cannot do, and what cannot be a path, is said as what it is [G8]."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keyturn
from keyturn import ClientSession
from keyturn.domain.errors import KeyRingUnavailableError, KeyturnError, TokenFileError

OPEN_FOR_EACH_LINE = """
import sys, keyturn
from keyturn.domain.errors import KeyturnError
settings = keyturn.Settings(path=sys.argv[1], lock_timeout=0.1)
print("ready", flush=True)
for line in sys.stdin:
    try:
        with keyturn.open(settings, password=None) as service:
            service.reset_key()
        print("no error", flush=True)
    except KeyturnError as error:
        print(type(error).__name__, error, flush=True)
"""
FAULTS = {
    "fcntl:error=ENOLCK": "No locks available (its file system has no locks",
    "mmap:error=ENODEV": "its file system maps no shared memory",
    "pwrite64:error=EDQUOT": "Disk quota exceeded (make room",
    "openat:error=EMFILE": "Too many open files (raise the limit",
    "openat:error=ENOTDIR": "Not a directory (something on the way",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    keyturn.open(path=folder, password=None).close()
    return folder


@contextlib.contextmanager
def failing(process: subprocess.Popen[str], fault: str) -> Iterator[None]:
    """Have system calls of a running process fail in the block."""
    status = Path(f"/proc/{process.pid}/status")
    options = ["-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    with subprocess.Popen(["strace", *options, "-p", str(process.pid)]) as strace:
        deadline = time.monotonic() + 10
        while "TracerPid:\t0" in status.read_text():
            if strace.poll() is not None or time.monotonic() > deadline:
                pytest.skip("strace may not trace here")
            time.sleep(0.005)
        yield
        strace.terminate()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_g8_a_file_system_that_cannot_do_it_is_told_as_what_it_is(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_FOR_EACH_LINE, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def answer() -> str:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline()  # type: ignore[union-attr]

        answers = {}
        for fault in FAULTS:
            with failing(process, fault):
                answers[fault] = answer()
        afterwards = answer()
        process.stdin.close()

    assert {fault: FAULTS[fault] in answers[fault] for fault in FAULTS} == dict.fromkeys(
        FAULTS, True
    ), answers
    assert not any("damaged" in answer or "backup" in answer for answer in answers.values())
    assert afterwards == "no error\n"


def test_a_path_may_begin_with_two_slashes(tmp_path: Path) -> None:
    with keyturn.open(path=f"/{tmp_path}/data", password=None) as service:
        service.reset_key()

    assert (tmp_path / "data/keyturn.db").exists()


Use = Callable[[Path], object]
USES: dict[str, Use] = {
    "data": lambda path: keyturn.open(path=path, password=None),
    "data that must be there": lambda path: keyturn.open(path=path, password=None, create=False),
    "store": lambda path: keyturn.open(
        path=path.parents[-2] / "tmp", store=f"sqlite:///{path}", password=None
    ),
    "token file": ClientSession,
    "key ring": lambda path: keyturn.KeyRing.open(path, None),
    "new key ring": lambda path: keyturn.KeyRing.create(path, None),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("n" * 300, "File name too long"),
        ("file/below", "Not a directory|not a folder"),
        ("a\0b", "NUL|must be"),
        ("\udcff", "UTF-8|must be"),
    ],
    ids=["long", "below a file", "NUL", "not UTF-8"],
)
def test_what_can_be_no_path_is_an_error_that_says_why(
    tmp_path: Path, use: Use, name: str, told: str
) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(KeyturnError, match=told) as raised:
        use(tmp_path / name)

    assert "backup" not in str(raised.value)


@pytest.fixture
def no_more_files(folder: Path) -> Iterator[None]:
    """This process can open no file any more, once the folder was made."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, limits[1]))
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    yield
    for fd in (last, *taken):
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("no_more_files")
def test_g8_too_many_open_files_are_told_as_that(folder: Path) -> None:
    with pytest.raises(KeyRingUnavailableError, match="Too many open files"):
        keyturn.open(path=folder, password=None)
    with pytest.raises(TokenFileError, match="Too many open files"):
        ClientSession(folder / "token", "a.b.c")


MOUNTED_ALONE = """
import sys, keyturn
from keyturn import ClientSession
from keyturn.domain.errors import KeyturnError
folder = sys.argv[1]
token = ClientSession(folder + "/token")
try:
    token.write_token("d.e.f")
except KeyturnError as error:
    print(error)
print(token.read_token())
token.clear_token()
print(token.read_token())
try:
    keyturn.KeyRing.change_password(folder + "/keyring.json", None, "new")
except KeyturnError as error:
    print(error)
with keyturn.open(path=folder, password=None) as service:
    service.reset_key()
    print(service.check_password(None))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_file_that_is_mounted_by_itself_works_or_says_what_to_mount(folder: Path) -> None:
    with ClientSession(folder / "token", "a.b.c"):
        pass
    entry = next((folder / "anchor.json.d").iterdir())
    before = entry.read_text()
    script = (
        'for f in token keyring.json keyturn.db "$2"; do mount --bind "$1/$f" "$1/$f"; done\n'
    )
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-ec", script + 'exec "$0" -c "$3" "$1"', sys.executable),
            *(folder, entry.relative_to(folder), MOUNTED_ALONE),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no mounts here")

    refused, kept, cleared, unchanged, opened = done.stdout.splitlines()

    assert "mount of its own; mount its folder instead" in refused
    assert (kept, cleared) == ("a.b.c", "None")
    assert "mount its folder instead" in unchanged
    assert opened == "True"
    assert entry.read_text() != before
