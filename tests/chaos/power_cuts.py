"""Power cuts at any moment: what was acknowledged is there afterwards [G1].

strace notes every write of a process that changes things. From that a disk is made as it may be
after a cut: of what was not synced each sector may be there or not, names in their order.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keyturn
from keyturn import ClientSession, KeyturnError

from .outcome import Outcome, Setting

SECTOR = 512
CALLS = (
    "openat,pwrite64,write,ftruncate,fsync,fdatasync,close,msync,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,link,linkat"
)
_NAMING = {"renameat": "rename", "renameat2": "rename", "unlinkat": "unlink", "linkat": "link"}
CHANGES = """
import os, sys, keyturn
with keyturn.open(path=sys.argv[1], password=None) as service:
    with service.session(sys.argv[1] + "/token") as session:
        for number in range(int(sys.argv[2])):
            service.reset_key(f"reset {number}")
            os.write(1, b"log %d" % (number + 1))
            session.write_token(f"t.{number}.x")
            os.write(1, b"token %d" % number)
"""
_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (\d+)")
_FD = re.compile(r"^(\d+)<(.*?)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PATH = re.compile(r'(?:\w+<([^>]*)>, )?"((?:\\x[0-9a-f]{2})*)"')
"""A path, behind the folder that it is relative to."""


@dataclass
class File:
    """The content of a file that is synced, and the writes since: (offset, data), or (size,)."""

    synced: bytes = b""
    pending: list[tuple[int, bytes] | tuple[int]] = field(default_factory=list)

    def after(self, keeps: Callable[[], bool]) -> bytes:
        """Return the content with those sectors of the writes since that are kept."""
        content = bytearray(self.synced)
        for size, *data in self.pending:
            if not data:
                if keeps():
                    del content[size:]
                    content.extend(bytes(size - len(content)))
                continue
            offset, left = size, data[0]
            while left:  # up to the end of a sector
                length = SECTOR - offset % SECTOR
                if keeps():
                    content.extend(bytes(max(0, offset - len(content))))
                    content[offset : offset + length] = left[:length]
                offset, left = offset + length, left[length:]
        return bytes(content)


class Disk:
    """A folder on a disk: what is synced, and what is not yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = {
            str(path.relative_to(folder)): File(path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith("-shm")
        }
        self.synced = dict(self.now)
        self.pending: list[dict[str, File]] = []
        self.acknowledged = {"log": 0, "token": -1}
        self._open: dict[int, tuple[File, int]] = {}  # by descriptor, with its position

    def apply(self, call: str, arguments: str, result: int) -> None:
        """Have one system call happen."""
        call = _NAMING.get(call, call)
        fd = _FD.match(arguments)
        texts = [_unescaped(text) for text in _STRING.findall(arguments)]
        names = []
        if call in ("openat", "rename", "link", "unlink"):
            paths = [
                (_unescaped(top), _unescaped(path)) for top, path in _PATH.findall(arguments)
            ]
            names = [self._name(os.path.join(top, path)) for top, path in paths]
        number = int(fd[1]) if fd else -1
        file, position = self._open.get(number, (None, 0))
        if call == "openat" and names and names[0] is not None:
            self._opened(names[0], arguments, result)
        elif call == "write" and fd and number == 1:
            what, count = texts[0].split()
            self.acknowledged[what.decode()] = int(count)
        elif call == "close":
            self._open.pop(number, None)
        elif call in ("rename", "link") and None not in names:
            now = dict(self.now)
            now[str(names[1])] = now[str(names[0])]
            if call == "rename":
                del now[str(names[0])]
            self._named(now)
        elif call == "unlink" and names[0] is not None:
            self._named({name: file for name, file in self.now.items() if name != names[0]})
        elif call in ("fsync", "fdatasync") and file is not None:
            file.synced, file.pending = file.after(lambda: True), []
        elif call in ("fsync", "fdatasync") and fd and self._name(_unescaped(fd[2])) is not None:
            self.synced, self.pending = dict(self.now), []
        elif call == "pwrite64" and file is not None:
            file.pending.append((int(arguments.rpartition(", ")[2], 0), texts[0]))
        elif call == "write" and file is not None:
            file.pending.append((position, texts[0]))
            self._open[number] = file, position + len(texts[0])
        elif call == "ftruncate" and file is not None:
            file.pending.append((int(arguments.rpartition(", ")[2], 0),))

    def cut(self, random_: random.Random, place: Path) -> None:
        """Write down the folder as it may be after a power cut now."""
        share = random_.choice((0.0, 0.5, 0.9, 1.0))
        states = [self.synced, *self.pending]
        for name, file in states[random_.randrange(len(states))].items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(file.after(lambda: random_.random() < share))
            path.chmod(0o600)

    def _opened(self, name: str, arguments: str, result: int) -> None:
        if "O_CREAT" in arguments and name not in self.now:
            self._named({**self.now, name: File()})
        if name in self.now:
            self._open[result] = self.now[name], 0
        else:
            self._open.pop(result, None)  # a folder, or the WAL-index

    def _named(self, names: dict[str, File]) -> None:
        self.now = names
        self.pending.append(names)

    def _name(self, path: bytes) -> str | None:
        """Return the name of a file of the folder, None for any other."""
        text = os.fsdecode(path)
        if text != str(self.folder) and not text.startswith(f"{self.folder}/"):
            return None
        return None if text.endswith("-shm") else os.path.relpath(text, self.folder)


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()


def cut_power(setting: Setting) -> Outcome:
    """Cut the power at moments that are spread over all calls, until something is lost."""
    outcome = Outcome("power cut, sqlite and files")
    folder, random_ = setting.folder.resolve() / "data", random.Random(setting.seed)
    while not setting.is_over and not outcome.bad:
        shutil.rmtree(setting.folder, ignore_errors=True)
        with (
            keyturn.open(path=folder, password=None) as service,
            service.session(folder / "token", "t.first.x"),
        ):
            pass
        disk = Disk(folder)
        lines = _trace(folder, setting.folder / "trace", count=8)
        for call, arguments, result in lines:
            disk.apply(call, arguments, result)
            if random_.random() < 0.5:
                outcome.tried += 1
                outcome.hits += bool(disk.pending or any(f.pending for f in disk.now.values()))
                _look_after_cut(disk, random_, setting.folder / "after", outcome)
            if setting.is_over or outcome.bad:
                break
    return outcome


def _trace(folder: Path, log: Path, *, count: int) -> list[tuple[str, str, int]]:
    options = ["-f", "-qq", "-y", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run(
        ["strace", *options, sys.executable, "-c", CHANGES, str(folder), str(count)],
        check=True, stdout=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    found, begun = [], {}
    ours = "".join(f"\\x{byte:02x}" for byte in os.fsencode(folder))
    for line in log.read_text().splitlines():
        thread = line.split(maxsplit=1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)", line)
        whole = begun.pop(thread) + resumed[1] if resumed else line
        if (match := _LINE.match(whole)) and (ours in whole or match[2].startswith("1<")):
            found.append((match[1], match[2], int(match[3])))
    return found


def _look_after_cut(disk: Disk, random_: random.Random, place: Path, outcome: Outcome) -> None:
    shutil.rmtree(place, ignore_errors=True)
    disk.cut(random_, place)
    try:
        with (
            keyturn.open(path=place, password=None) as service,
            ClientSession(place / "token") as session,
        ):
            there = {change.reason for change in service.history()}
            lost = [n for n in range(disk.acknowledged["log"]) if f"reset {n}" not in there]
            token = (session.read_token() or "").split(".")
            if lost:
                outcome.bad.append(f"acknowledged, and lost: {lost}")
            if not service.audit().holds:
                outcome.bad.append("the audit does not hold")
            number = int(token[1]) if len(token) == 3 and token[1].isdigit() else -1
            if number < disk.acknowledged["token"] or len(token) != 3:
                outcome.bad.append(f"the token is {token} after {disk.acknowledged}")
            service.reset_key()
    except KeyturnError as error:
        outcome.bad.append(f"{type(error).__name__}: {error}")
