"""A request that another site forged is refused; those of the site's own pages pass."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.web import Incoming, RequestRefusedError, WebOptions
from keyturn.web.csrf import refuse_forged

TRUSTING = WebOptions(trusted_origins=("https://app.example.com",))


def is_refused(options: WebOptions = WebOptions(), **facts: Any) -> bool:  # noqa: B008
    try:
        refuse_forged(Incoming(**{"method": "POST", "host": "example.com", **facts}), options)
    except RequestRefusedError as error:
        return error.answer.status == 403
    return False


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        ({"fetch_site": "same-origin", "origin": "https://example.com"}, False),
        ({"fetch_site": "same-origin", "origin": "http://behind.proxy"}, False),
        ({"fetch_site": "none"}, False),
        ({"fetch_site": "same-site", "origin": "https://evil.example.com"}, True),
        ({"fetch_site": "cross-site", "origin": "https://evil.test"}, True),
        ({"fetch_site": "cross-site", "origin": "https://example.com"}, True),
        ({"fetch_site": "anything"}, True),
        ({"origin": "https://example.com"}, False),
        ({"origin": "https://EXAMPLE.com"}, False),
        ({"origin": "https://example.com:8443"}, True),
        ({"origin": "https://example.com.evil.test"}, True),
        ({"origin": "null"}, True),
        ({"origin": "https://[", "host": ""}, True),
        ({"origin": "null", "host": ""}, True),
    ],
)
def test_the_browser_says_whose_page_it_was(facts: dict[str, str], refused: bool) -> None:
    assert is_refused(**facts) is refused


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_passes_from_everywhere(method: str) -> None:
    assert not is_refused(method=method, fetch_site="cross-site")


def test_a_websocket_from_another_site_is_refused() -> None:
    assert is_refused(method="GET", is_websocket=True, origin="https://evil.test")


def test_a_trusted_origin_passes() -> None:
    facts = {"fetch_site": "same-site", "origin": "https://app.example.com"}

    assert not is_refused(TRUSTING, **facts)
    assert is_refused(TRUSTING, **{**facts, "origin": "https://app.example.com.evil.test"})


@pytest.mark.parametrize(
    ("cookie", "header", "refused"),
    [
        ("__Host-csrf=abc", "abc", False),
        ("__Host-csrf=abc", "abd", True),
        ("__Host-csrf=abc", "", True),
        ("__Host-csrf=", "", True),
        ("", "abc", True),
        ("__Host-csrf=abc; __Host-csrf=abd", "abc", True),
        ("__Host-csrf=\xff", "\xff", False),
        (" \t__Host-csrf\t=abc", "abc", False),
        ("\xa0__Host-csrf=abc", "abc", True),
        ("\x85__Host-csrf=abc", "abc", True),
        ("__Host-csrf=abc", "abc\xa0", True),
    ],
)
def test_where_nobody_says_the_cookie_is_sent_twice(
    cookie: str, header: str, refused: bool
) -> None:
    assert is_refused(cookie=cookie, csrf_token=header) is refused
