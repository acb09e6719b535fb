"""The endpoints of `keyturn serve`, by the ASGI application itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient

import keyturn
from keyturn.domain.errors import LogUnavailableError, SettingsError
from keyturn.web.serve import bodies
from keyturn.web.serve.app import ServeOptions, create_app
from keyturn.web.serve.client_secret import ClientSecrets, read_client_secrets
from keyturn.web.serve.forward_auth import claim_header, header_value
from tests.web.serving import SECRET

AUTH = ("anybody", SECRET)


@pytest.fixture
def secrets(tmp_path: Path) -> ClientSecrets:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\nthe-one-before-it-which-is-still-good-too\n")
    file.chmod(0o600)
    return read_client_secrets(file)


@pytest.fixture
def client(secrets: ClientSecrets) -> Iterator[TestClient]:
    options = ServeOptions(claims=("role", "team_id"), secrets=secrets)
    app = create_app(lambda: keyturn.open_async(store="memory:", password=None), options)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def new_token(client: TestClient, **asked: Any) -> str:
    response = client.post("/tokens", json=asked, auth=AUTH)
    assert response.status_code == 200, response.text
    return str(response.json()["token"])


def ask(client: TestClient, token: str, **headers: str) -> Any:
    return client.get("/auth", headers={"Authorization": f"Bearer {token}", **headers})


# --- what proxies ask ---------------------------------------------------------------------------


def test_a_good_token_is_a_204_that_says_whose_it_is(client: TestClient) -> None:
    token = new_token(client, subject="alice", claims={"role": "admin", "team_id": 7})

    answer = ask(client, token)

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Keyturn-Subject"] == "alice"
    assert answer.headers["Keyturn-Claim-Role"] == "admin"
    assert answer.headers["Keyturn-Claim-Team-Id"] == "7"
    assert answer.headers["Cache-Control"] == "no-store"
    sid = client.post("/introspect", data={"token": token}, auth=AUTH).json()["sid"]
    assert answer.headers["Keyturn-Session"] == sid


def test_each_header_is_always_there_so_that_a_proxy_overwrites_a_clients(
    client: TestClient,
) -> None:
    answer = ask(client, new_token(client, subject="alice"))

    assert (answer.headers["Keyturn-Claim-Role"], answer.headers["Keyturn-Claim-Team-Id"]) == (
        "",
        "",
    )


@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b=c", "zoë ☃", " % ", "\x00\x7f", "\u2028"])
def test_no_subject_or_claim_begins_a_header_and_each_arrives_whole(
    client: TestClient, text: str
) -> None:
    answer = ask(client, new_token(client, subject=text, claims={"role": text}))

    assert answer.status_code == 204
    assert "Set-Cookie" not in answer.headers
    assert unquote(answer.headers["Keyturn-Subject"]) == text
    assert unquote(answer.headers["Keyturn-Claim-Role"]) == text


def test_a_claim_that_is_no_text_is_json() -> None:
    assert json.loads(unquote(header_value(["ä", {"b": 1}]).decode())) == ["ä", {"b": 1}]


@pytest.mark.parametrize("name", ["a b", "", "a:b", "é", "-x", "a\n"])
def test_a_claim_whose_name_can_be_no_header_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        claim_header(name)


def test_two_claims_of_one_header_are_refused() -> None:
    with pytest.raises(SettingsError, match="the same header"):
        create_app(
            lambda: keyturn.open_async(store="memory:", password=None),
            ServeOptions(claims=("team_id", "team-id")),
        )


def test_no_token_or_a_bad_one_is_a_401_that_says_why(client: TestClient) -> None:
    nothing = client.get("/auth")
    bad = ask(client, "bad")

    assert nothing.status_code == 401
    assert nothing.headers["WWW-Authenticate"] == 'Bearer realm="keyturn"'
    assert bad.status_code == 401
    assert bad.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


def test_two_tokens_at_once_are_a_401_since_nginx_makes_a_500_of_a_400(
    client: TestClient,
) -> None:
    token = new_token(client)

    answer = ask(client, token, Cookie=f"__Host-session={token}")

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Forwarded-Method": "GET"}, 204),
        ({"X-Forwarded-Method": "GET", "Sec-Fetch-Site": "cross-site"}, 204),
        ({"X-Forwarded-Method": "POST", "Sec-Fetch-Site": "same-origin"}, 204),
        ({"X-Forwarded-Method": "POST", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Forwarded-Method": "DELETE", "Origin": "https://evil.example"}, 403),
        ({"X-Forwarded-Method": "POST"}, 403),
    ],
)
def test_a_cookie_is_enough_unless_another_site_sends_what_changes_something(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    cookie = f"__Host-session={new_token(client)}"

    assert client.get("/auth", headers={"Cookie": cookie, **headers}).status_code == status


@pytest.mark.parametrize(("origin", "status"), [("same-origin", 204), ("same-site", 403)])
def test_a_websocket_is_opened_by_a_page_of_the_site_alone(
    client: TestClient, origin: str, status: int
) -> None:
    headers = {
        "Cookie": f"__Host-session={new_token(client)}",
        "X-Forwarded-Method": "GET",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-Fetch-Site": origin,
    }

    assert client.get("/auth", headers=headers).status_code == status


def test_a_proxy_that_does_not_say_the_method_is_let_in_with_a_bearer_token_alone(
    client: TestClient,
) -> None:
    token = new_token(client)

    refused = client.get("/auth", headers={"Cookie": f"__Host-session={token}"})

    assert (refused.status_code, ask(client, token).status_code) == (403, 204)
    assert "X-Forwarded-Method" in refused.json()["error_description"]


def test_of_two_methods_none_is_believed(client: TestClient) -> None:
    headers = [
        ("Cookie", f"__Host-session={new_token(client)}"),
        ("Sec-Fetch-Site", "cross-site"),
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Method", "GET"),
    ]

    assert client.get("/auth", headers=headers).status_code == 403


# --- introspection and revocation ---------------------------------------------------------------


def test_introspection_tells_what_a_good_token_claims(client: TestClient) -> None:
    token = new_token(client, subject="alice", expiry=60, claims={"active": "no", "a": [1]})

    told = client.post("/introspect", data={"token": token}, auth=AUTH).json()

    assert told["active"] is True
    assert (told["sub"], told["a"], told["exp"] - told["iat"]) == ("alice", [1], 60)
    assert told["token_type"] == "Bearer"


def test_introspection_tells_nothing_of_a_bad_token(client: TestClient) -> None:
    told = client.post("/introspect", data={"token": "ü"}, auth=AUTH)

    assert (told.status_code, told.json()) == (200, {"active": False})


def test_revocation_ends_the_session_with_all_its_tokens(client: TestClient) -> None:
    token = new_token(client)
    refreshed = client.post("/refresh", json={"token": token}, auth=AUTH).json()["token"]

    statuses = [
        client.post("/revoke", data={"token": each}, auth=AUTH).status_code
        for each in (token, token, "no token")
    ]

    assert statuses == [200, 200, 200]
    assert ask(client, refreshed).status_code == 401


# --- tokens for other languages -----------------------------------------------------------------


def test_a_refreshed_token_is_of_the_same_session(client: TestClient) -> None:
    token = new_token(client, subject="alice")

    answer = client.post("/refresh", json={"token": token, "expiry": 5}, auth=AUTH)

    refreshed = answer.json()["token"]
    assert answer.headers["Cache-Control"] == "no-store"
    sids = {ask(client, each).headers["Keyturn-Session"] for each in (token, refreshed)}
    assert len(sids) == 1


def test_a_token_that_is_not_good_is_not_refreshed(client: TestClient) -> None:
    answer = client.post("/refresh", json={"token": "bad"}, auth=AUTH)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "asked",
    [
        {"subject": ""},
        {"subject": 5},
        {"expiry": -1},
        {"expiry": "soon"},
        {"claims": {"sub": "mallory"}},
        {"claims": []},
        {"claim": {}},
        {"claims": {"much": "x" * 9000}},
        [],
    ],
)
def test_what_cannot_be_in_a_token_is_a_400(client: TestClient, asked: object) -> None:
    answer = client.post("/tokens", json=asked, auth=AUTH)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_an_answer_that_its_client_does_not_read_is_not_followed_by_another() -> None:
    sent: list[str] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    app = create_app(
        lambda: keyturn.open_async(store="memory:", password=None), ServeOptions(timeout=0.05)
    )
    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": []}
    asyncio.run(asyncio.wait_for(app({**scope, "query_string": b""}, receive, send), 20))

    assert sent == ["http.response.start", "http.response.body"]


# --- bad input ----------------------------------------------------------------------------------

FORMS, JSONS = ["/introspect", "/revoke"], ["/tokens", "/refresh"]


@pytest.mark.parametrize("path", FORMS + JSONS)
def test_bad_bodies_have_their_status(client: TestClient, path: str) -> None:
    good = "application/json" if path in JSONS else "application/x-www-form-urlencoded"
    other = "text/plain"

    def post(content: bytes, kind: str) -> int:
        headers = {"Content-Type": kind}
        return client.post(path, content=content, headers=headers, auth=AUTH).status_code

    assert post(b"{", good) == 400
    assert post(b"\xff\xfe", good) == 400
    assert post(b"[" * 60_000, good) == 400
    assert post(b"&" * 60_000, good) == 400
    assert post(b"token=a&token=b", good) == 400
    assert post(b"token=a", other) == 415
    assert post(b"x" * 10_000_000, good) == 413
    assert client.get(path, auth=AUTH).status_code == 405


def test_a_body_that_does_not_come_is_a_408(
    secrets: ClientSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.01)
    options = ServeOptions(secrets=secrets)
    app = create_app(lambda: keyturn.open_async(store="memory:", password=None), options)
    headers = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/tokens",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing_comes() -> Any:
        await asyncio.Event().wait()

    asyncio.run(app(scope, nothing_comes, send))  # type: ignore[arg-type]

    assert sent[0]["status"] == 408


def test_an_answer_never_repeats_a_token(client: TestClient) -> None:
    token = new_token(client)

    answer = client.post("/refresh", json={"token": f"{token}x"}, auth=AUTH)

    assert token not in answer.text


def test_a_fault_of_ours_is_a_500_without_a_traceback(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr(keyturn.AsyncService, "create_token", fail)

    answer = client.post("/tokens", json={}, auth=AUTH)

    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert "detail" not in answer.text


# --- when the log cannot be asked ---------------------------------------------------------------


def test_a_log_that_cannot_be_read_is_a_503_to_all_but_health(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = new_token(client)

    async def unreadable(*_: object, **__: object) -> None:
        raise LogUnavailableError("gone")

    for name in ("authenticate", "end_session", "create_token", "refresh_token"):
        monkeypatch.setattr(keyturn.AsyncService, name, unreadable)
    answers = [
        ask(client, token),
        client.get("/readyz"),
        *(client.post(path, data={"token": token}, auth=AUTH) for path in FORMS),
        *(client.post(path, json={"token": token}, auth=AUTH) for path in JSONS[1:]),
        client.post("/tokens", json={}, auth=AUTH),
    ]

    assert {answer.status_code for answer in answers} == {503}
    assert all(answer.headers["Retry-After"] for answer in answers)
    assert client.get("/healthz").status_code == 200


def test_a_service_that_does_not_answer_in_time_is_a_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(keyturn.AsyncService, "verify_token", hang)
    options = ServeOptions(timeout=0.01)
    app = create_app(lambda: keyturn.open_async(store="memory:", password=None), options)

    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 503


# --- who may ask --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*FORMS, *JSONS, "/openapi.json"])
def test_all_but_auth_health_and_metrics_need_the_client_secret(
    client: TestClient, path: str
) -> None:
    method = "GET" if path == "/openapi.json" else "POST"

    answers = [
        client.request(method, path),
        client.request(method, path, auth=("anybody", "wrong")),
        client.request(method, path, headers={b"Authorization": b"Basic \xff"}),
        client.request(method, path, headers={"Authorization": "Basic !"}),
        client.request(method, path, headers={"Authorization": f"Digest {SECRET}"}),
    ]

    assert {answer.status_code for answer in answers} == {401}
    for free in ("/healthz", "/readyz", "/metrics"):
        assert client.get(free).status_code == 200


@pytest.mark.parametrize("secret", [SECRET, "the-one-before-it-which-is-still-good-too"])
def test_the_secret_is_taken_as_basic_or_bearer(client: TestClient, secret: str) -> None:
    as_bearer = client.get("/openapi.json", headers={"Authorization": f"bearer {secret}"})
    as_basic = client.get("/openapi.json", auth=("", secret))

    assert (as_bearer.status_code, as_basic.status_code) == (200, 200)


def test_wrong_secrets_are_limited_and_a_right_one_is_let_in_all_the_same(
    client: TestClient,
) -> None:
    wrong = [
        client.get("/openapi.json", auth=("", f"wrong-{number}")).status_code
        for number in range(12)
    ]

    assert wrong == [401] * 10 + [429] * 2
    assert client.get("/openapi.json", auth=AUTH).status_code == 200


def test_without_a_secret_nothing_else_is_served() -> None:
    app = create_app(lambda: keyturn.open_async(store="memory:", password=None), ServeOptions())

    with TestClient(app) as client:
        assert client.post("/tokens", json={}).status_code == 404
        assert client.get("/auth").status_code == 401


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (SECRET, 0o620, "others can write to it"),
        ("short", 0o600, "at least 32 characters"),
        (f"{SECRET}\nshort", 0o600, "at least 32 characters"),
        ("", 0o600, "at least 32 characters"),
        ("ü" * 40, 0o600, "is not ASCII"),
        ("x" * 5000, 0o600, "larger"),
    ],
)
def test_a_secret_file_that_will_not_do_is_refused(
    tmp_path: Path, content: str, mode: int, why: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(content)
    file.chmod(mode)

    with pytest.raises(SettingsError, match=why) as caught:
        read_client_secrets(file)

    assert not content or content not in str(caught.value)


# --- what it says of itself ---------------------------------------------------------------------


def test_the_openapi_document_names_every_path(client: TestClient) -> None:
    document = client.get("/openapi.json", auth=AUTH).json()

    for path, methods in document["paths"].items():
        for method in methods:
            assert client.request(method, path, auth=AUTH).status_code not in (404, 405)
    assert {"NewToken", "Refresh", "MintedToken", "Problem"} <= set(
        document["components"]["schemas"]
    )
    headers = document["paths"]["/auth"]["get"]["responses"]["204"]["headers"]
    assert "Keyturn-Claim-Role" in headers


def test_the_figures_count_what_was_done(client: TestClient) -> None:
    token = new_token(client)
    ask(client, token)
    ask(client, "bad")

    lines = client.get("/metrics").text.splitlines()
    again = client.get("/metrics").text.splitlines()

    for line in (
        "keyturn_tokens_created_total 1.0",
        "keyturn_tokens_accepted_total 1.0",
        'keyturn_tokens_refused_total{reason="malformed"} 1.0',
        "keyturn_log_position 1.0",
    ):
        assert line in lines
        assert line in again
