"""The cookies of a session."""

from __future__ import annotations

import pytest

from keyturn.domain.errors import ClaimError
from keyturn.web import WebOptions
from keyturn.web.cookies import cleared_cookies, session_cookies


def test_the_token_is_in_a_cookie_that_no_script_reads_and_no_other_host_sets() -> None:
    session, csrf = session_cookies("a.b.c", 60, WebOptions())

    assert session == ("__Host-session=a.b.c; Path=/; Max-Age=60; Secure; SameSite=Lax; HttpOnly")
    assert csrf.startswith("__Host-csrf=")
    assert csrf.endswith("; Path=/; Max-Age=60; Secure; SameSite=Lax")


def test_a_cookie_that_browsers_drop_is_an_error() -> None:
    most = 4_096 - len("__Host-session")

    assert session_cookies("x" * most, 60, WebOptions())
    with pytest.raises(ClaimError, match="too large for a cookie"):
        session_cookies("x" * (most + 1), 60, WebOptions())


def test_a_token_for_ever_is_kept_until_the_browser_closes() -> None:
    assert "Max-Age" not in session_cookies("a.b.c", None, WebOptions())[0]


def test_plain_http_takes_a_switch_and_other_names() -> None:
    for cookie in session_cookies("a.b.c", 60, WebOptions(plain_http=True)):
        assert cookie.startswith("dev-")
        assert "Secure" not in cookie


def test_a_refresh_keeps_the_csrf_token_of_the_browser_but_not_any_text() -> None:
    first = session_cookies("a.b.c", 60, WebOptions())[1].partition(";")[0]

    again = session_cookies("d.e.f", 60, WebOptions(), f"x=1; {first}")[1]

    assert again.partition(";")[0] == first
    for forged in ("x\r\nSet-Cookie", "x\r\nSet-Cookie".ljust(24, "x"), "x" * 23, "é" * 24):
        sent = session_cookies("d.e.f", 60, WebOptions(), f"__Host-csrf={forged}")[1]
        assert forged not in sent
        assert "\n" not in sent


def test_both_cookies_are_cleared() -> None:
    cleared = cleared_cookies(WebOptions())

    assert [cookie.partition(";")[0] for cookie in cleared] == ["__Host-session=", "__Host-csrf="]
    assert all("; Max-Age=0; " in cookie for cookie in cleared)
