"""How Keyturn speaks: structlog over the standard library's logging.

A host that configured structlog is left alone: its processors get our events. Otherwise ours
turn them into records of the standard logger "keyturn", which says nothing below WARNING until
somebody sets a level or a handler. No processor here prints local variables of a traceback,
as some do: they may hold a secret.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SECRET_NAMES = frozenset({"password", "token", "session_token", "secret", "key"})

Logger = structlog.typing.FilteringBoundLogger


def get_logger() -> Logger:
    """Return a logger."""
    if structlog.is_configured():
        logger: Logger = structlog.get_logger("keyturn")
        return logger
    return structlog.wrap_logger(
        logging.getLogger("keyturn"),
        processors=[
            structlog.stdlib.filter_by_level,
            redact,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], sort_keys=True),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def configure_for_command_line(level: str) -> None:
    """Send log lines of at least this level to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("keyturn")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False


def redact(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Take out what must never be logged, should it get here at all (a structlog processor)."""
    for name, value in event_dict.items():
        if name in _SECRET_NAMES:
            event_dict[name] = "[removed]"
        elif isinstance(value, str):
            event_dict[name] = _TOKEN.sub("[token]", value)
    return event_dict
