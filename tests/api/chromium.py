"""Opens pages in the real Chromium, one browser for many of them, and asks what it sees."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / ".axe/node_modules/axe-core/axe.min.js"
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on the PATH: apt-get install chromium"
)
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="there is no axe: npm install --no-save --prefix .axe axe-core@4"
)
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars "
    "disable-background-networking disable-component-update disable-sync remote-debugging-pipe"
)
STEPS = """(async () => {
  const $ = (css) => document.querySelector(css);
  const $$ = (css) => [...document.querySelectorAll(css)];
  const column = (n) => $$(".changes tbody tr:not([hidden])").map((r) => r.cells[n].textContent);
  const seen = {};
  %s
  return seen;
})()"""


class Browser:
    """A Chromium that is spoken to in the DevTools protocol, through a pipe."""

    def __init__(self, commands: IO[bytes], replies: IO[bytes], folder: Path) -> None:
        self._commands = commands
        self._replies = replies
        self._file = folder / "page.html"
        self._numbers = itertools.count(1)

    def drive(
        self,
        text: str,
        steps: str,
        *,
        width: int = 800,
        height: int = 1000,
        scheme: str = "light",
    ) -> dict[str, Any]:
        """Run steps in a page, and return what they put into `seen`."""
        with self._page(text, width, height, scheme) as page:
            found = self._evaluate(page, STEPS % steps)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        seen: dict[str, Any] = found["result"]["value"]
        return seen

    def picture(self, text: str, steps: str, *, width: int, height: int) -> bytes:
        """Return a picture of a page in which steps were run, as PNG."""
        with self._page(text, width, height, "light") as page:
            self._evaluate(page, STEPS % steps)
            return base64.b64decode(self._ask("Page.captureScreenshot", page)["data"])

    def _evaluate(self, page: str, expression: str) -> dict[str, Any]:
        return self._ask(
            "Runtime.evaluate", page, expression=expression, awaitPromise=True, returnByValue=True
        )

    @contextmanager
    def _page(self, text: str, width: int, height: int, scheme: str) -> Iterator[str]:
        """Open a page, and yield the session that speaks with it once it is loaded."""
        self._file.write_text(text, "utf-8")
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        page = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._ask("Emulation.setDeviceMetricsOverride", page, **size)
        self._ask("Emulation.setEmulatedMedia", page, features=[feature])
        self._ask("Emulation.setFocusEmulationEnabled", page, enabled=True)
        self._ask("Page.enable", page)
        self._ask("Page.navigate", page, url=self._file.as_uri())
        while self._reply().get("method") != "Page.loadEventFired":
            pass
        yield page
        self._ask("Target.closeTarget", targetId=target)

    def _ask(self, method: str, page: str | None = None, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if page is not None:
            message["sessionId"] = page
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (reply := self._reply()).get("id") != number:
            pass
        result: dict[str, Any] = reply["result"]
        return result

    def _reply(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._replies.read(1)) != b"\0":
            assert byte, "Chromium ended"
            text += byte
        reply: dict[str, Any] = json.loads(text)
        return reply


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Yield a browser. Its pipes are its descriptors 3 and 4."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        flags = [f"--{flag}" for flag in [*FLAGS.split(), f"user-data-dir={name}"]]
        command = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >&2', "sh", CHROMIUM, *flags]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Browser(process.stdin, process.stdout, Path(name))
            finally:
                process.terminate()
