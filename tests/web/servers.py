"""Real servers for the tests: uvicorn in a thread of the test, others as processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

UNCHECKED = ssl.create_default_context()
UNCHECKED.check_hostname = False
UNCHECKED.verify_mode = ssl.CERT_NONE


@contextlib.contextmanager
def uvicorn_of(app: Any, **config: Any) -> Iterator[str]:
    """Serve an app by uvicorn in a thread; yield its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        options = {
            "log_level": "error",
            "timeout_graceful_shutdown": 5,
            "ws": "websockets-sansio",
        }
        server = uvicorn.Server(uvicorn.Config(app, **options, **config))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


@contextlib.contextmanager
def process_of(
    *arguments: str, cwd: Path, address: str, scheme: str = "http"
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module as a server, once it answers."""
    with tempfile.TemporaryFile("w+") as output:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=cwd,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"{scheme}://{address}/"
            wait_until(lambda: process.poll() is not None or answers(url), 60)
            if process.poll() is not None:
                output.seek(0)
                pytest.fail(output.read())
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def free_address() -> str:
    """Return a host and a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def answers(url: str) -> bool:
    """Whether a server answers, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=5, context=UNCHECKED).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition, and fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
