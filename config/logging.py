"""How Keyturn speaks: structlog over the standard library's logging.

A host that configured structlog is left alone: its processors get our events. Otherwise ours
turn them into records of the standard logger "keyturn", which says nothing below WARNING until
somebody sets a level or a handler. No processor here prints local variables of a traceback,
as some do: they may hold a secret.

structlog takes a tenth of a second to import, so it is loaded with the first line that anybody
is going to see.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Protocol

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SECRET_NAMES = frozenset({"password", "token", "session_token", "secret", "key"})
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_stdlib_logger = logging.getLogger("keyturn")


class Logger(Protocol):
    """What we ask of a logger; any of structlog's will do."""

    def debug(self, event: str, **values: Any) -> Any: ...
    def info(self, event: str, **values: Any) -> Any: ...
    def warning(self, event: str, **values: Any) -> Any: ...
    def error(self, event: str, **values: Any) -> Any: ...


def get_logger() -> Logger:
    """Return Keyturn's own logger."""
    return _LazyLogger()


def configure_for_command_line(level: str) -> None:
    """Send log lines of at least this level to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    _stdlib_logger.addHandler(handler)
    _stdlib_logger.setLevel(level.upper())
    _stdlib_logger.propagate = False


def redact(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Take out what must never be logged, should it get here at all (a structlog processor)."""
    for name, value in event_dict.items():
        if name in _SECRET_NAMES:
            event_dict[name] = "[removed]"
        elif isinstance(value, str):
            event_dict[name] = without_tokens(value)
    return event_dict


def without_tokens(text: str) -> str:
    """Return the text with everything that looks like a token taken out."""
    return _TOKEN.sub("[token]", text)


class _LazyLogger:
    """Keyturn's own logger."""

    def debug(self, event: str, **values: Any) -> None:
        _log("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        _log("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        _log("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        _log("error", event, values)


def _log(method: str, event: str, values: dict[str, Any]) -> None:
    structlog = sys.modules.get("structlog")
    # Another thread may be in the middle of importing it.
    is_configured = getattr(structlog, "is_configured", None)
    if structlog is not None and is_configured is not None and is_configured():
        if values.pop("exc_info", None):
            values["exception"] = traceback.format_exc()  # as text: it has no local variables
        getattr(structlog.get_logger("keyturn"), method)(event, **redact(None, method, values))
    elif _stdlib_logger.isEnabledFor(_LEVELS[method]):
        getattr(_own_logger(), method)(event, **values)


def _own_logger() -> Logger:
    import structlog

    logger: Logger = structlog.wrap_logger(
        _stdlib_logger,
        processors=[
            redact,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], sort_keys=True),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger
