"""The README and the pages of docs/ as code: their blocks, and how they are run."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import keyturn
from tests.warm_python import SCRIPTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PASSWORD = "correct horse"  # of every page, so that a shell need not be told it on each
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?:[^\n]*title=\"(?P<title>[^\"]+)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: where it stands.
        line: the line of its fence.
        language: of the fence.
        title: the name of the file that it is, if it has one.
        text: what stands in it.
    """

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def pages() -> list[Path]:
    """Return the README and every page of docs/."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return the path of a page from the top of the repository."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page, in order: all, or those of some languages."""
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            found["title"],
            textwrap.dedent(found["text"]),
        )
        for found in _FENCE.finditer(text)
        if not languages or found["language"] in languages
    ]


def run_page(blocks: list[Block], folder: Path, programs: Path) -> str:
    """Run the blocks in order, all in one folder; return what they printed.

    Python runs in this process, in a module of its own for each block; `console` in a shell. A
    `sh` is a server, on port 8000 as the page says it: it runs until the next one, or the end.
    What has a title is written to a file of that name, or is a piece of an example. A `text` is
    what was printed before it. Programs in the folder `programs` go before others.
    """
    printed = ""
    port = free_port()
    (folder / "examples").symlink_to(ROOT / "examples")
    first = blocks[0]
    if (
        first.language == "console" and " init" not in first.text
    ):  # it tells of a host that is there
        keyturn.open(path=folder / "data", password=PASSWORD).close()
    with contextlib.ExitStack() as server:
        for block in (replace(b, text=b.text.replace("8000", port)) for b in blocks):
            if block.title is not None and block.title.startswith("examples/"):
                example = (ROOT / block.title).read_text("utf-8")
                assert unindented(block.text) in unindented(example), block.place
            elif block.title is not None:
                (folder / block.title).write_text(block.text, "utf-8")
            elif block.language == "python":
                printed += run_python(block)
            elif block.language == "console":
                printed += run_console(block, folder, programs)
            elif block.language == "sh":
                server.close()
                server.enter_context(running(block, folder, port))
            elif block.language == "text":
                for line in block.text.splitlines():
                    assert line.startswith("pip install ") or is_shown(line, printed), (
                        f"{block.place}: nobody printed {line!r}"
                    )
    return printed


def run_python(block: Block) -> str:
    """Run it as a program is run, in this process; return what it printed."""
    if "settings.configure(" in block.text:  # Django's are for good, and for a whole process
        done = subprocess.run(
            [sys.executable, "-c", block.text],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: {done.stderr}"
        return done.stdout
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    module = ModuleType("__main__")
    with as_main(module), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, vars(module))
    return printed.getvalue()


@contextlib.contextmanager
def as_main(module: ModuleType) -> Iterator[None]:
    """Let a module be the program: its classes are looked up there."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def run_console(block: Block, folder: Path, programs: Path) -> str:
    """Run its commands in one shell; what stands below them must be printed. Return that."""
    lines = block.text.splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho\n".join(commands)],
        cwd=folder,
        env=environment(programs),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}: {done.stdout}{done.stderr}"
    for line in lines:
        if not line.startswith("$ "):
            assert is_shown(line, done.stdout), f"{block.place}: nobody printed {line!r}"
    return done.stdout


@contextlib.contextmanager
def running(block: Block, folder: Path, port: str) -> Iterator[None]:
    """Run a server, once it answers at this port or has said that it is ready."""
    with (folder / "server.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {block.text}"],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not (answers(port) or "ready\n" in Path(log.name).read_text("utf-8")):
                assert process.poll() is None, Path(log.name).read_text("utf-8")
                assert time.monotonic() < deadline, f"{block.place}: it did not answer in time"
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def answers(port: str) -> bool:
    """Return whether a server answers at a port of this machine, without an error of its own."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
    except OSError:
        return False
    return True


def free_port() -> str:
    """Return a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


def environment(*programs: Path) -> dict[str, str]:
    """Return the environment of a reader's shell: these programs, our own, and the password."""
    path = os.pathsep.join([*map(str, programs), str(SCRIPTS), os.environ["PATH"]])
    return {**os.environ, "KEYTURN_PASSWORD": PASSWORD, "PATH": path, "PYTHONUNBUFFERED": "1"}


def unindented(text: str) -> str:
    """Return the text with each of its lines moved to the margin."""
    return re.sub(r"^ +", "", text, flags=re.M)


def is_shown(line: str, printed: str) -> bool:
    """Return whether a line was printed; `…` in it stands for anything."""
    pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
    return re.search(rf"^\s*{pattern}\s*$", printed, re.M) is not None
