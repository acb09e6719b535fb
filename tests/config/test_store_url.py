"""A store's URL is shown without a password, however libpq lets it be written."""

from __future__ import annotations

import pytest

from keyturn import Settings
from keyturn.config.store_url import shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql://user:secret@host:5433/db", "postgresql://user@host:5433/db"),
        ("postgres://user:secret@h1:1,h2:2/db?sslmode=x", "postgresql://user@h1:1,h2:2/db"),
        ("postgresql:///db?host=/run&password=secret", "postgresql:///db"),
        ("postgresql://host", "postgresql://host"),
        ("postgresql://user:se@cret@host/db", "postgresql://…"),
        ("postgresql://user:se#cret@host/db", "postgresql://user@host/db"),
        ("postgresql://user:se?cret@host/db", "postgresql://user@host/db"),
        ("postgresql://user:se/cret@host/db", "postgresql://…"),
        ("postgresql://host?password=sec@ret", "postgresql://…"),
        ("postgresql://user:secret@[::1]:5432/db", "postgresql://user@[::1]:5432/db"),
        ("postgresql://user:secret@[::1/db", "postgresql://…"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("memory:", "memory:"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, text: str) -> None:
    assert shown(url) == text
    assert text in repr(Settings(store=url))
