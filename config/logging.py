"""How Keyturn speaks: structlog, with key-value events.

A host that configured structlog gets our events through its own processors, whenever it did so.
Otherwise ours turn them into records of the standard logger "keyturn", which says nothing below
WARNING until somebody sets a level. A traceback goes out as text: some processors print the
local variables of its frames, which may hold a secret.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TypeAlias

import structlog
from structlog.typing import FilteringBoundLogger

HostLogger: TypeAlias = FilteringBoundLogger | structlog.stdlib.BoundLogger
"""A logger that a host may pass: any of structlog's."""

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SECRET_NAMES = frozenset({"password", "token", "session_token", "secret", "key"})
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_stdlib_logger = logging.getLogger("keyturn")
_own_logger: HostLogger = structlog.wrap_logger(
    _stdlib_logger,
    processors=[structlog.processors.KeyValueRenderer(key_order=["event"], sort_keys=True)],
    wrapper_class=structlog.stdlib.BoundLogger,
)


class Logger:
    """A structlog logger with bound values, of which nothing that is raised comes back.

    A processor may have a bug and a sink a full disk, and a token is good or not all the same.
    The guard is around the logger: structlog's public interface has no place inside from which
    everything can be caught that a host's wrapper class, processors and sink may raise.

    Args:
        passed: the one that a host passed; None: for each line the one that the host configured
            by then, or ours.
        values: what every line says besides its own.
    """

    __slots__ = ("_passed", "_values")

    def __init__(self, passed: HostLogger | None, values: dict[str, object]) -> None:
        self._passed = passed
        self._values = values

    def bind(self, **values: object) -> Logger:
        """Return a logger whose lines say these values too."""
        return Logger(self._passed, {**self._values, **values})

    def debug(self, event: str, **values: object) -> None:
        self._log("debug", event, values)

    def info(self, event: str, **values: object) -> None:
        self._log("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        self._log("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        self._log("error", event, values)

    def _log(self, method: str, event: str, values: dict[str, object]) -> None:
        try:
            logger = self._passed
            if logger is None:
                if structlog.is_configured():
                    # Anew each time: one that is kept may keep an old configuration.
                    logger = structlog.get_logger("keyturn")
                elif _stdlib_logger.isEnabledFor(_LEVELS[method]):
                    logger = _own_logger
                else:
                    return
            if values.pop("exc_info", None):
                values["exception"] = traceback.format_exc()
            getattr(logger, method)(**redacted({**self._values, **values, "event": event}))
        except Exception:  # noqa: BLE001, S110 - whatever it is, nothing of ours fails by it
            pass


def get_logger(**initial_values: object) -> Logger:
    """Return Keyturn's own logger.

    Args:
        initial_values: what every line says besides its own.
    """
    return Logger(None, initial_values)


def safe(passed: HostLogger | Logger | None) -> Logger:
    """Return the logger that a host passed, of which nothing comes back; None: Keyturn's own."""
    return passed if isinstance(passed, Logger) else Logger(passed, {})


def configure_for_command_line(level: str) -> None:
    """Send log lines of at least this level to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    _stdlib_logger.addHandler(handler)
    _stdlib_logger.setLevel(level.upper())
    _stdlib_logger.propagate = False


def redacted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a line without what must never be logged."""
    return {name: _redacted(name, value) for name, value in values.items()}


def _redacted(name: str, value: Any) -> Any:
    if name in _SECRET_NAMES:
        return "[removed]"
    return without_tokens(value) if isinstance(value, str) else value


def without_tokens(text: str) -> str:
    """Return the text with everything that looks like a token taken out."""
    return _TOKEN.sub("[token]", text) if "eyJ" in text else text
