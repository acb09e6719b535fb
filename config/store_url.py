"""The URL of a log: which kind of store it names, and how to show it without its password."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, SupportsIndex
from urllib.parse import unquote

MEMORY: Final = "memory:"
"""The URL of a log in memory."""

SQLITE: Final = "sqlite:///"
POSTGRES: Final = ("postgresql://", "postgres://")

WHAT_THERE_IS: Final = (
    "sqlite:///PATH (four slashes for an absolute path; ? and # are written %3F and %23), "
    "postgresql://USER@HOST/DATABASE or memory:"
)

_HOST = r"(?:\[[^]@]*\]|[^]\[:,/?@]*)(?::\d*)?"
_HOSTS = rf"{_HOST}(?:,{_HOST})*"
_POSTGRES_PARTS = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^:@/?]*)(?::[^@/]*)?@)?"
    rf"(?P<place>{_HOSTS}/[^?@]*(?=\?|$)|{_HOSTS}(?=\?[^@]*$|$))(?:\?.*)?",
    re.DOTALL,
)
"""As libpq divides a URL, and not RFC 3986: a password may hold ?, # and [, but no / or @."""


class StoreURL(str):
    """The URL of a log. Neither its repr nor a part that a logger cuts out shows a password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown(self))

    def __getitem__(self, part: SupportsIndex | slice) -> str:
        return shown(self)[part]


def is_store(url: str) -> bool:
    """Return whether a URL names a store that we know."""
    return url == MEMORY or is_postgres(url) or sqlite_path(url) is not None


def is_postgres(url: str) -> bool:
    """Return whether a URL names a PostgreSQL database."""
    return url.startswith(POSTGRES)


def is_divisible(url: str) -> bool:
    """Return whether it can be told what of a PostgreSQL URL is the password, and what is not."""
    return _POSTGRES_PARTS.fullmatch(url) is not None


def sqlite_path(url: str) -> Path | None:
    """Return the SQLite file that a URL names, None if it names none."""
    path = unquote(url.removeprefix(SQLITE))
    if not url.startswith(SQLITE) or "?" in url or "#" in url or "\0" in path:
        return None
    return Path(path) if path else None


def shown(url: str) -> str:
    """Return what to call a log in messages: user, host and database of a PostgreSQL one."""
    path = sqlite_path(url)
    if path is not None:
        return str(path)
    if not is_postgres(url):
        return MEMORY if url == MEMORY else "…"
    parts = _POSTGRES_PARTS.fullmatch(url)
    if parts is None:
        return "postgresql://…"  # any part of it may be the password's
    user = parts["user"]
    return f"postgresql://{'' if user is None else user + '@'}{parts['place']}"
