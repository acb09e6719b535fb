"""The ASGI middleware: whose a request is, and what its response says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from keyturn import AsyncService
from keyturn.domain.errors import ClaimError, KeyRingNotFoundError
from keyturn.testing import ClockedService
from keyturn.web import WebOptions, per_process
from keyturn.web.asgi import KeyturnMiddleware, session_of
from keyturn.web.session import MiddlewareMissingError
from tests.web.apps import make_app

SITE = "https://example.com"
SAME = {"Sec-Fetch-Site": "same-origin"}
Clients = Callable[..., TestClient]


@pytest.fixture
def client_of(keyturn_service: ClockedService) -> Clients:
    """Makes clients of the app, with these options."""
    return lambda **options: TestClient(
        make_app(keyturn_service, WebOptions(**options)), base_url=SITE
    )


@pytest.fixture
def client(client_of: Clients) -> TestClient:
    return client_of()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"__Host-session={token}"}


# --- whose it is ---


@pytest.mark.parametrize("headers_of", [bearer, cookie])
def test_a_good_token_says_whose_request_it_is(
    client: TestClient,
    keyturn_service: ClockedService,
    headers_of: Callable[[str], dict[str, str]],
) -> None:
    token = keyturn_service.create_token(subject="alice")

    assert client.get("/me", headers=headers_of(token)).json() == {"user": "alice"}


def test_a_request_without_a_token_passes_where_none_is_required(client: TestClient) -> None:
    open_to_all, protected = client.get("/"), client.get("/me")

    assert (open_to_all.status_code, open_to_all.json()) == (200, {"user": None})
    assert protected.status_code == 401
    assert protected.headers["WWW-Authenticate"] == 'Bearer realm="keyturn"'


def test_a_host_may_require_a_token_for_everything(client_of: Clients) -> None:
    assert client_of(required=True).get("/").status_code == 401


def test_a_preflight_which_never_brings_a_token_passes_where_one_is_required(
    client_of: Clients,
) -> None:
    client = client_of(required=True)

    asked = client.options("/me", headers={"Access-Control-Request-Method": "POST"})

    assert asked.status_code == 405  # by the app
    assert client.options("/me").status_code == 401
    assert client.get("/me", headers={"Access-Control-Request-Method": "GET"}).status_code == 401


def test_cors_around_it_answers_preflights_even_if_a_token_is_required(
    keyturn_service: ClockedService,
) -> None:
    app = make_app(keyturn_service, WebOptions(required=True))
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example.com"])
    client = TestClient(app, base_url=SITE)
    origin = {"Origin": "https://app.example.com"}

    preflight = client.options("/me", headers={**origin, "Access-Control-Request-Method": "GET"})
    refused = client.get("/me", headers=origin)

    assert (preflight.status_code, refused.status_code) == (200, 401)
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_a_bearer_token_that_is_not_good_is_refused_with_the_reason(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()
    keyturn_service.end_session(token=token)

    refused = client.get("/", headers=bearer(token))

    assert refused.status_code == 401
    assert refused.json()["error"] == "invalid_token"
    assert "session ended" in refused.headers["WWW-Authenticate"]


def test_a_cookie_that_is_not_good_still_reaches_the_login(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()
    keyturn_service.reset_key()

    assert client.get("/", headers=cookie(token)).json() == {"user": None}
    assert client.post("/login", headers={**cookie(token), **SAME}).status_code == 200
    refused = client.get("/me", headers=cookie(token))
    assert "unknown key" in refused.headers["WWW-Authenticate"]


def test_a_route_may_ask_for_a_session_that_began_just_now(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    headers = bearer(keyturn_service.create_token())

    assert client.get("/recent", headers=headers).status_code == 200
    keyturn_service.clock.advance(302)
    refused = client.get("/recent", headers=headers)

    assert (refused.status_code, refused.json()["error"]) == (
        401,
        "insufficient_user_authentication",
    )
    assert 'max_age="300"' in refused.headers["WWW-Authenticate"]
    assert client.get("/me", headers=headers).status_code == 200


def test_an_app_without_the_middleware_is_told_so() -> None:
    async def route(request: Request) -> Response:
        session_of(request.scope)
        raise AssertionError

    with pytest.raises(MiddlewareMissingError, match="KeyturnMiddleware"):
        TestClient(Starlette(routes=[Route("/", route)])).get("/")


def test_an_awaited_service_will_do(keyturn_service: ClockedService) -> None:
    app = make_app(keyturn_service)
    wrapped = KeyturnMiddleware(app.router, AsyncService(keyturn_service))

    headers = bearer(keyturn_service.create_token(subject="bob"))

    assert TestClient(wrapped).get("/me", headers=headers).json() == {"user": "bob"}


# --- bad input ---


@pytest.mark.parametrize("path", ["/?access_token=x", "/me?a=b&access_token=x"])
def test_a_token_in_the_address_is_refused_and_said_why(client: TestClient, path: str) -> None:
    refused = client.get(path)

    assert refused.status_code == 400
    assert "logs" in refused.json()["error_description"]


def test_two_tokens_are_refused(client: TestClient, keyturn_service: ClockedService) -> None:
    token = keyturn_service.create_token()

    assert client.get("/", headers={**bearer(token), **cookie(token)}).status_code == 400


@pytest.mark.parametrize(
    "value", ["", "x", "x" * 100_000, "a.b.c", "\xff\xfe", "a b", "eyJ.." * 20_000]
)
def test_whatever_is_no_token_is_refused_and_not_repeated(client: TestClient, value: str) -> None:
    header = b"Bearer " + value.encode("latin-1")

    refused = client.get("/me", headers={b"Authorization": header})

    assert refused.status_code == 401
    assert len(value) < 3 or value not in refused.text + str(refused.headers)


def test_many_cookies_hide_none(client: TestClient, keyturn_service: ClockedService) -> None:
    token = keyturn_service.create_token(subject="alice")
    many = "; ".join(f"c{n}={'x' * 20}" for n in range(2_000))

    response = client.get("/me", headers={"Cookie": f"{many}; __Host-session={token}; z=1"})

    assert response.json() == {"user": "alice"}


def test_a_log_that_cannot_be_asked_is_a_503_only_for_who_has_a_token(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()
    keyturn_service.stop()

    unavailable = client.get("/", headers=bearer(token))

    assert (unavailable.status_code, unavailable.headers["Retry-After"]) == (503, "5")
    assert client.get("/").status_code == 200
    assert client.post("/login").status_code == 503


# --- cookies, and other sites ---


def test_logging_in_sets_a_cookie_that_the_browser_keeps_as_long_as_the_token_lives(
    client: TestClient,
) -> None:
    response = client.post("/login")

    session, csrf = response.headers.get_list("Set-Cookie")
    assert session == (
        f"__Host-session={response.json()['token']}; Path=/; Max-Age=86400; Secure; "
        "SameSite=Lax; HttpOnly"
    )
    assert csrf.startswith("__Host-csrf=")
    assert response.headers["Cache-Control"] == "no-store"
    assert client.get("/me").json() == {"user": "alice"}


def test_logging_out_ends_the_session_and_not_only_the_cookie(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = client.post("/login").json()["token"]

    response = client.post("/logout", headers=SAME)

    assert response.json() == {"ended": True}
    assert response.headers.get_list("Set-Cookie")[0].startswith("__Host-session=; Path=/; Max-A")
    assert not keyturn_service.verify_token(token)
    assert client.get("/me").status_code == 401
    ended = list(keyturn_service.history())[-1]
    assert (ended.initiator, ended.reason) == ("alice", "logged out")


def test_an_expired_session_is_logged_out_of_too(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = client.post("/login").json()["token"]
    keyturn_service.clock.advance(86_402)

    response = client.post("/logout", headers={**cookie(token), **SAME})

    assert response.json() == {"ended": True}


def test_who_logs_in_anew_has_the_new_session_at_once(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    client.post("/login")
    keyturn_service.clock.advance(302)

    assert client.post("/login-anew", headers=SAME).json() == {"user": "bob"}
    assert client.get("/me").json() == {"user": "bob"}


def test_logging_in_again_ends_the_session_that_it_replaces(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    first = client.post("/login").json()["token"]

    second = client.post("/login", headers=SAME).json()["token"]

    assert not keyturn_service.verify_token(first)
    assert keyturn_service.verify_token(second)
    ended = list(keyturn_service.history())[-1]
    assert (ended.initiator, ended.reason) == ("alice", "logged in again")


def test_logging_in_again_leaves_the_session_of_a_bearer_token_alone(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()

    client.post("/login", headers=bearer(token))

    assert keyturn_service.verify_token(token)


def test_a_subject_that_is_longer_than_the_record_takes_logs_in_again_and_out(
    keyturn_service: ClockedService,
) -> None:
    async def log_in(request: Request) -> Response:
        await session_of(request.scope).log_in("x" * 300)
        return JSONResponse(await session_of(request.scope).log_out())

    app = Starlette(routes=[Route("/", log_in, methods=["POST"])])
    app.add_middleware(KeyturnMiddleware, service=keyturn_service)
    first = keyturn_service.create_token(subject="x" * 300)

    answer = TestClient(app, base_url=SITE).post("/", headers={**cookie(first), **SAME})

    assert answer.json() is True
    assert {event.initiator for event in list(keyturn_service.history())[-2:]} == {"x" * 255}


def test_claims_that_no_cookie_holds_are_an_error_and_the_old_session_goes_on(
    keyturn_service: ClockedService,
) -> None:
    async def log_in(request: Request) -> Response:
        claims = {"roles": "x" * int(request.query_params["size"])}
        await session_of(request.scope).log_in("alice", claims=claims)
        return Response(status_code=204)

    app = Starlette(routes=[Route("/login", log_in, methods=["POST"])])
    app.add_middleware(KeyturnMiddleware, service=keyturn_service)
    client = TestClient(app, base_url=SITE)

    assert client.post("/login?size=2000").status_code == 204
    token = client.cookies["__Host-session"]
    with pytest.raises(ClaimError, match="4096"):
        client.post("/login?size=3500", headers=SAME)
    assert keyturn_service.verify_token(token)


def test_who_has_no_session_can_log_out(client: TestClient) -> None:
    assert client.post("/logout").json() == {"ended": False}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (SAME, 200),
        ({"Origin": SITE}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({}, 403),
    ],
)
def test_a_change_with_the_cookie_comes_from_a_page_of_the_site(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    client.post("/login")

    assert client.post("/me", headers=headers).status_code == status


def test_a_client_without_origin_sends_the_csrf_cookie_twice(client: TestClient) -> None:
    client.post("/login")

    response = client.post("/me", headers={"X-CSRF-Token": client.cookies["__Host-csrf"]})

    assert response.status_code == 200


def test_a_bearer_token_is_sent_by_no_browser_of_itself(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    headers = {**bearer(keyturn_service.create_token()), "Origin": "https://evil.test"}

    assert client.post("/me", headers=headers).status_code == 200


def test_a_page_of_another_site_logs_nobody_in(client: TestClient) -> None:
    refused = client.post("/login", headers={"Sec-Fetch-Site": "cross-site"})

    assert refused.status_code == 403
    assert "Set-Cookie" not in refused.headers


# --- sliding ---


def test_a_token_that_grows_old_is_refreshed_the_way_it_came(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    token = client.post("/login").json()["token"]
    keyturn_service.clock.advance(43_201)

    by_cookie = client.get("/")
    client.cookies.clear()
    by_header = client.get("/", headers=bearer(token))

    new = by_header.headers["Refreshed-Token"]
    assert keyturn_service.authenticate(new).sid == keyturn_service.authenticate(token).sid
    assert "Set-Cookie" not in by_header.headers
    assert "; Max-Age=86400; " in by_cookie.headers.get_list("Set-Cookie")[0]
    for response in (by_cookie, by_header):
        assert response.headers.get_list("Cache-Control") == ["no-store"]


def test_a_young_token_is_left_alone(client: TestClient, keyturn_service: ClockedService) -> None:
    response = client.get("/", headers=bearer(keyturn_service.create_token()))

    assert "Refreshed-Token" not in response.headers
    assert response.headers["Cache-Control"] == "public, max-age=60"


@pytest.mark.parametrize("headers_of", [bearer, cookie])
def test_a_refresh_that_races_a_logout_sends_nothing_and_fails_nothing(
    client: TestClient,
    keyturn_service: ClockedService,
    headers_of: Callable[[str], dict[str, str]],
) -> None:
    token = keyturn_service.create_token()
    keyturn_service.clock.advance(43_201)

    response = client.get("/end-meanwhile", headers=headers_of(token))

    assert response.status_code == 204
    assert not {"Refreshed-Token", "Set-Cookie"} & set(response.headers)


def test_logging_out_refreshes_nothing(
    client: TestClient, keyturn_service: ClockedService
) -> None:
    client.post("/login")
    keyturn_service.clock.advance(43_201)

    response = client.post("/logout", headers=SAME)

    assert all("=; " in cookie for cookie in response.headers.get_list("Set-Cookie"))


# --- a service for each process ---


def test_the_service_of_a_process_lives_as_long_as_its_app(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)

    with TestClient(make_app(sessions), base_url=SITE) as client:
        opened = sessions.opened
        assert opened is not None
        assert client.post("/login").status_code == 200

    assert opened.is_closed
    assert sessions.opened is None


def test_without_lifespan_the_first_request_opens_it(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None)

    assert TestClient(make_app(sessions), base_url=SITE).post("/login").status_code == 200
    assert sessions.opened is not None
    sessions.close()


def test_a_service_that_cannot_be_opened_keeps_the_app_from_starting(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None, create=False)
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    with pytest.raises(KeyRingNotFoundError):
        asyncio.run(make_app(sessions)({"type": "lifespan"}, receive, send))

    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "keyring.json" in sent[0]["message"]
    refused = TestClient(make_app(sessions)).get("/")
    assert refused.status_code == 503


def test_a_test_of_an_app_that_cannot_start_is_told_why(tmp_path: Path) -> None:
    sessions = per_process(path=tmp_path / "data", password=None, create=False)

    with pytest.raises(KeyRingNotFoundError), TestClient(make_app(sessions)):
        pass
