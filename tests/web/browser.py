"""Chromium, driven by its DevTools protocol: tabs that share one profile."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.web.servers import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on the PATH: apt-get install chromium"
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --ignore-certificate-errors --remote-debugging-port=0"
)


class Tab:
    """A tab, in which a test runs scripts."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = count(1)

    def run(self, script: str) -> Any:
        """Return the value of an expression; one that promises is awaited."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
        reply = self._ask("Runtime.evaluate", asked)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._ask("Page.navigate", {"url": url})
        self.wait_for("document.readyState", "complete")

    def wait_for(self, script: str, value: object) -> None:
        """Wait until an expression has a value."""
        seen: list[object] = [None]

        def is_so() -> bool:
            with contextlib.suppress(AssertionError):  # a page that is being loaded has no body
                seen.append(self.run(script))
            return seen[-1] == value

        with contextlib.suppress(AssertionError):
            wait_until(is_so)
        assert seen[-1] == value

    def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            reply = json.loads(self._connection.recv(timeout=30))
            if reply.get("id") == number:
                assert "result" in reply, reply
                return reply["result"]  # type: ignore[no-any-return]


class Browser:
    """A browser that runs."""

    def __init__(self, port: str, stack: contextlib.ExitStack) -> None:
        self._port = port
        self._stack = stack

    def tab(self, url: str) -> Tab:
        """Return a new tab at this address."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as reply:
            address = json.load(reply)["webSocketDebuggerUrl"]
        tab = Tab(self._stack.enter_context(connect(address, max_size=None)))
        tab.open(url)
        return tab


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run a browser with a profile of its own."""
    assert CHROMIUM is not None
    port_file = profile / "DevToolsActivePort"
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: port_file.exists() and port_file.read_text().count("\n") == 1, 60)
        with contextlib.ExitStack() as stack:
            yield Browser(port_file.read_text().splitlines()[0], stack)
    finally:
        process.terminate()
        process.wait(30)
