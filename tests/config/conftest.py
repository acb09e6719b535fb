"""A log at a path of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keyturn
from keyturn import EventLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def open_log(path: Path) -> Iterator[Callable[[], EventLog]]:
    """Open the log at `path`; all are closed in the end."""
    with contextlib.ExitStack() as stack:

        def open_it() -> EventLog:
            log = keyturn.open_event_log(f"sqlite:///{path}")
            stack.callback(log.close)
            return log

        yield open_it
