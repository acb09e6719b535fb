"""Where a token may be in a request, and what is said when it is elsewhere."""

from __future__ import annotations

import json

import pytest

from keyturn.web import Incoming, RequestRefusedError
from keyturn.web.credentials import Credential, find_credential

COOKIE = "__Host-session"


def found(**facts: str) -> Credential | None:
    return find_credential(Incoming(**facts), COOKIE)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_is_found_in_the_header(scheme: str) -> None:
    assert found(authorization=f"{scheme} a.b.c") == Credential("a.b.c", is_cookie=False)


@pytest.mark.parametrize(
    "header", [f"{COOKIE}=a.b.c", f'x=1; {COOKIE}="a.b.c"; y', f"x{COOKIE}=z;{COOKIE}=a.b.c"]
)
def test_the_token_is_found_in_the_cookie(header: str) -> None:
    assert found(cookie=header) == Credential("a.b.c", is_cookie=True)


@pytest.mark.parametrize("space", ["\x1c", "\x85", "\xa0", "\x0b"])
def test_a_cookie_whose_name_only_looks_like_ours_is_another(space: str) -> None:
    """Browsers let a sibling host set it: to them it has no `__Host-` prefix."""
    assert found(cookie=f"{space}{COOKIE}=a.b.c") is None
    assert found(cookie=f"{COOKIE}=a.b.c; {COOKIE}{space}=d.e.f") == Credential(
        "a.b.c", is_cookie=True
    )


@pytest.mark.parametrize(
    "facts",
    [{}, {"authorization": "Basic YTpi"}, {"cookie": "session=a.b.c"}, {"query": "token=a.b.c"}],
)
def test_what_is_elsewhere_is_no_token(facts: dict[str, str]) -> None:
    assert found(**facts) is None


def test_a_basic_password_beside_the_cookie_is_none_of_our_business() -> None:
    credential = found(authorization="Basic YTpi", cookie=f"{COOKIE}=a.b.c")

    assert credential == Credential("a.b.c", is_cookie=True)


@pytest.mark.parametrize(
    "facts",
    [
        {"authorization": "Bearer a.b.c", "cookie": f"{COOKIE}=a.b.c"},
        {"authorization": "Bearer a.b.c, Bearer a.b.c"},
        {"cookie": f"{COOKIE}=a.b.c; {COOKIE}=a.b.c"},
        {"query": "x=1&access_token=a.b.c"},
        {"query": "access%5Ftoken=a.b.c&access_token"},
        {"query": "access_token=", "authorization": "Bearer a.b.c"},
    ],
)
def test_two_tokens_or_one_in_the_address_are_a_bad_request(facts: dict[str, str]) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        found(**facts)

    answer = caught.value.answer
    assert answer.status == 400
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]
    assert json.loads(answer.body)["error"] == "invalid_request"
    assert "a.b.c" not in f"{answer} {caught.value}"


def test_what_was_found_does_not_show_the_token() -> None:
    assert "a.b.c" not in repr(found(authorization="Bearer a.b.c"))


def test_a_header_that_asgi_has_twice_is_seen_as_wsgi_joins_it() -> None:
    headers = [
        (b"authorization", b"Bearer a"),
        (b"authorization", b"Bearer b"),
        (b"cookie", b"x=1"),
        (b"cookie", b"y=\xff"),
    ]
    environ = {
        "REQUEST_METHOD": "GET",
        "HTTP_AUTHORIZATION": "Bearer a, Bearer b",
        "HTTP_COOKIE": "x=1; y=\xff",
    }

    asgi = Incoming.from_asgi({"type": "http", "method": "GET", "headers": headers})
    wsgi = Incoming.from_wsgi(environ)

    assert asgi == wsgi
    assert asgi.cookie == "x=1; y=\xff"
