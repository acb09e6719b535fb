"""Flask, Django and plain WSGI say and do what the ASGI middleware does: one contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient
from django.test.utils import override_settings
from django.urls import path

from keyturn import Service
from keyturn.domain.errors import DurationError
from keyturn.testing import ClockedService
from keyturn.web import RequestRefusedError, WebOptions, per_process
from keyturn.web import django as web_django
from keyturn.web import flask as web_flask
from keyturn.web.session import MiddlewareMissingError
from keyturn.web.wsgi import KeyturnMiddleware, session_of
from tests.web.django_settings import configure_django

configure_django()

NEWS = ["data: 1\n\n", "data: 2\n\n"]
SAME = {"Sec-Fetch-Site": "same-origin"}


# --- three apps with the same routes ---


def plain_app(service: Any, options: WebOptions) -> Any:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        session, route = session_of(environ), environ["PATH_INFO"]
        headers = [("Content-Type", "application/json"), ("Cache-Control", "public")]
        body: object = None
        if route == "/":
            body = None if environ["keyturn"] is None else environ["keyturn"].subject
        elif route == "/me":
            body = session.require().subject
        elif route == "/recent":
            body = session.require(300).subject
        elif route == "/login":
            body = session.log_in("alice")
        elif route == "/logout":
            body = session.log_out()
        elif route == "/end-meanwhile":
            body = service.end_session(sid=session.require().sid)
        elif route == "/news":
            start_response("200 OK", [("content-type", "Text/Event-Stream; charset=utf-8")])
            return (part.encode() for part in NEWS)
        start_response("200 OK", headers)
        return [json.dumps(body).encode()]

    return KeyturnMiddleware(app, service, options)


def generator_app(service: Service, options: WebOptions) -> Any:
    """The same, as a generator: it starts its response with its first part."""
    plain = plain_app(service, options)

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield from plain.app(environ, start_response)

    return KeyturnMiddleware(app, service, options)


def flask_app(service: Service, options: WebOptions) -> Any:
    app = flask.Flask(__name__)
    web_flask.init_app(app, service, options)
    session = web_flask.current_session

    @app.route("/", methods=["GET", "POST"])
    def index() -> flask.Response:
        who = flask.request.environ["keyturn"]
        return flask.jsonify(None if who is None else who.subject)

    @app.route("/me", methods=["GET", "POST"])
    @web_flask.session_required
    def me() -> flask.Response:
        return flask.jsonify(session().require().subject)

    @app.get("/recent")
    @web_flask.session_required(max_age=300)
    def recent() -> flask.Response:
        return flask.jsonify(session().require().subject)

    @app.post("/login")
    def login() -> flask.Response:
        return flask.jsonify(session().log_in("alice"))

    @app.post("/logout")
    def logout() -> flask.Response:
        return flask.jsonify(session().log_out())

    @app.get("/end-meanwhile")
    def end_meanwhile() -> flask.Response:
        return flask.jsonify(service.end_session(sid=session().require().sid))

    @app.get("/async-me")
    @web_flask.session_required
    async def async_me() -> flask.Response:
        return flask.jsonify(session().require().subject)

    @app.get("/news")
    def news() -> flask.Response:
        return flask.Response(iter(NEWS), content_type="text/event-stream")

    return app


def django_app(service: Service, options: WebOptions) -> Any:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        with override_settings(KEYTURN_SERVICE=service, KEYTURN_OPTIONS=options):
            return WSGIHandler()(environ, start_response)

    return app


def reply(value: object) -> HttpResponse:
    return JsonResponse(value, safe=False)


def index(request: HttpRequest) -> HttpResponse:
    return reply(None if request.keyturn is None else request.keyturn.subject)


@web_django.session_required
def me(request: HttpRequest) -> HttpResponse:
    return reply(request.keyturn.subject)


@web_django.session_required(max_age=300)
def recent(request: HttpRequest) -> HttpResponse:
    return reply(request.keyturn.subject)


def login(request: HttpRequest) -> HttpResponse:
    return reply(web_django.session_of(request).log_in("alice"))


def logout(request: HttpRequest) -> HttpResponse:
    return reply(web_django.session_of(request).log_out())


def end_meanwhile(request: HttpRequest) -> HttpResponse:
    return reply(settings.KEYTURN_SERVICE.end_session(sid=request.keyturn.sid))


def news(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(NEWS), content_type="text/event-stream")


@web_django.session_required(max_age=300)
async def async_me(request: HttpRequest) -> HttpResponse:
    return reply(request.keyturn.subject)


async def async_news(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        for part in NEWS:
            yield part

    return StreamingHttpResponse(parts(), content_type="text/event-stream")


urlpatterns = [
    path("async-me", async_me),
    path("async-news", async_news),
    path("", index),
    path("me", me),
    path("recent", recent),
    path("login", login),
    path("logout", logout),
    path("end-meanwhile", end_meanwhile),
    path("news", news),
]


# --- a client ---


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value.strip() for found, value in self.headers if found.lower() == name.lower()]


Client = Callable[..., Reply]


def client_of(app: Any) -> Client:
    checked = validator(app)

    def send(
        route: str,
        method: str = "GET",
        after_a_part: Callable[[], object] = lambda: None,
        **headers: str,
    ) -> Reply:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "SCRIPT_NAME": ""}
        environ["PATH_INFO"], _, environ["QUERY_STRING"] = route.partition("?")
        environ.update({f"HTTP_{n.upper().replace('-', '_')}": v for n, v in headers.items()})
        setup_testing_defaults(environ)
        started: list[Any] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            started[:] = [status, headers]
            return lambda data: None

        body = checked(environ, start_response)
        parts = []
        for part in body:
            parts.append(part)
            after_a_part()
        body.close()
        return Reply(int(started[0][:3]), started[1], b"".join(parts))

    return send


@pytest.fixture(
    params=[plain_app, generator_app, flask_app, django_app],
    ids=["wsgi", "generator", "flask", "django"],
)
def app_of(request: pytest.FixtureRequest) -> Callable[[Service, WebOptions], Any]:
    return request.param


@pytest.fixture
def client(app_of: Callable[..., Any], keyturn_service: ClockedService) -> Client:
    return client_of(app_of(keyturn_service, WebOptions()))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"__Host-session={token}"}


# --- the contract ---


def test_a_good_token_says_whose_request_it_is(
    client: Client, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token(subject="alice")

    assert client("/me", **bearer(token)).json == "alice"
    assert client("/", **cookie(token)).json == "alice"
    assert client("/").json is None


def test_others_are_refused(client: Client, keyturn_service: ClockedService) -> None:
    token = keyturn_service.create_token()
    keyturn_service.end_session(token=token)

    without, bad, dead = client("/me"), client("/", **bearer(token)), client("/", **cookie(token))

    assert (without.status, without.all("WWW-Authenticate")) == (401, ['Bearer realm="keyturn"'])
    assert (bad.status, bad.json["error"]) == (401, "invalid_token")
    assert dead.json is None
    assert "session ended" in client("/me", **cookie(token)).all("WWW-Authenticate")[0]


def test_a_route_may_ask_for_a_session_that_began_just_now(
    client: Client, keyturn_service: ClockedService
) -> None:
    headers = bearer(keyturn_service.create_token(subject="alice"))

    assert client("/recent", **headers).json == "alice"
    keyturn_service.clock.advance(302)
    refused = client("/recent", **headers)

    assert 'max_age="300"' in refused.all("WWW-Authenticate")[0]


def test_logging_in_and_out(client: Client, keyturn_service: ClockedService) -> None:
    logged_in = client("/login", "POST")
    token = logged_in.json
    logged_out = client("/logout", "POST", **cookie(token), **SAME)

    session, csrf = sorted(logged_in.all("Set-Cookie"), reverse=True)
    assert session.startswith(f"__Host-session={token}; ")
    assert csrf.startswith("__Host-csrf=")
    parts = {part.strip().lower() for part in session.split(";")[1:]}
    assert parts == {"path=/", "max-age=86400", "secure", "httponly", "samesite=lax"}
    assert logged_in.all("Cache-Control") == ["no-store"]
    assert logged_out.json is True
    assert all("max-age=0" in cookie.lower() for cookie in logged_out.all("Set-Cookie"))
    assert not keyturn_service.verify_token(token)


def test_logging_in_again_ends_the_session_that_it_replaces(
    client: Client, keyturn_service: ClockedService
) -> None:
    first = client("/login", "POST").json

    second = client("/login", "POST", **cookie(first), **SAME).json

    assert not keyturn_service.verify_token(first)
    assert keyturn_service.verify_token(second)


def test_another_site_changes_nothing(client: Client, keyturn_service: ClockedService) -> None:
    token = keyturn_service.create_token()

    assert client("/", "POST", **cookie(token), Origin="https://evil.test").status == 403
    assert client("/login", "POST", Origin="https://evil.test").status == 403


def test_another_site_opens_no_websocket_where_the_server_speaks_that(
    client: Client, keyturn_service: ClockedService
) -> None:
    headers = {**cookie(keyturn_service.create_token()), "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ=="}

    assert client("/", Origin="https://evil.test", **headers).status == 403
    assert client("/", **SAME, **headers).status == 200


def test_an_old_token_is_refreshed_the_way_it_came(
    client: Client, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token(subject="alice")
    keyturn_service.clock.advance(43_201)

    by_cookie, by_header = client("/", **cookie(token)), client("/", **bearer(token))

    (new,) = by_header.all("Refreshed-Token")
    assert keyturn_service.authenticate(new).sid == keyturn_service.authenticate(token).sid
    assert len(by_cookie.all("Set-Cookie")) == 2
    assert by_cookie.all("Cache-Control") == by_header.all("Cache-Control") == ["no-store"]


def test_a_refresh_that_races_a_logout_sends_nothing(
    client: Client, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()
    keyturn_service.clock.advance(43_201)

    reply = client("/end-meanwhile", **bearer(token))

    assert (reply.status, reply.all("Refreshed-Token")) == (200, [])


def test_a_log_that_cannot_be_asked_is_a_503(
    client: Client, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()
    keyturn_service.stop()

    unavailable = client("/", **bearer(token))

    assert (unavailable.status, unavailable.all("Retry-After")) == (503, ["5"])
    assert client("/").status == 200


def test_bad_input_is_a_bad_request(client: Client, keyturn_service: ClockedService) -> None:
    token = keyturn_service.create_token()

    assert client("/?access_token=x").status == 400
    assert client("/", **bearer(token), **cookie(token)).status == 400
    assert client("/", **bearer("\xff" * 9_000)).status == 401


def test_a_stream_of_events_ends_with_its_session(
    client: Client, keyturn_service: ClockedService
) -> None:
    token = keyturn_service.create_token()

    def end() -> None:
        keyturn_service.end_session(token=token)

    whole = client("/news", **bearer(token)).body
    cut = client("/news", after_a_part=end, **bearer(token)).body

    assert (whole, cut) == (b"data: 1\n\ndata: 2\n\n", b"data: 1\n\n")


@pytest.mark.parametrize("app", [flask_app, django_app])
def test_an_async_view_may_require_a_session(app: Any, keyturn_service: ClockedService) -> None:
    client = client_of(app(keyturn_service, WebOptions()))

    good = client("/async-me", **bearer(keyturn_service.create_token(subject="alice")))

    assert (good.json, client("/async-me").status) == ("alice", 401)


@pytest.mark.parametrize("is_ended", [False, True])
def test_an_async_stream_of_django_under_asgi_ends_with_its_session(
    keyturn_service: ClockedService, is_ended: bool
) -> None:
    token = keyturn_service.create_token()

    async def parts() -> list[bytes]:
        found = []
        headers = {"Authorization": f"Bearer {token}"}
        response = await AsyncClient().get("/async-news", headers=headers)
        async for part in response:
            found.append(part)
            if is_ended:
                await asyncio.to_thread(keyturn_service.end_session, token=token)
        return found

    with override_settings(KEYTURN_SERVICE=keyturn_service, KEYTURN_OPTIONS=WebOptions()):
        found = asyncio.run(parts())

    assert found == [part.encode() for part in (NEWS[:1] if is_ended else NEWS)]


def test_a_session_may_be_required_for_everything(
    app_of: Callable[..., Any], keyturn_service: ClockedService
) -> None:
    client = client_of(app_of(keyturn_service, WebOptions(required=True)))

    preflight = {"Access-Control-Request-Method": "POST"}  # which never brings a token

    assert client("/").status == 401
    assert client("/", "OPTIONS").status == 401
    assert client("/", "OPTIONS", **preflight).status == 200


@pytest.mark.parametrize("required", [web_flask.session_required, web_django.session_required])
def test_an_age_that_is_none_is_an_error_where_the_view_is_made(required: Any) -> None:
    with pytest.raises(DurationError, match="max_age"):
        required(max_age=-1)


def test_the_log_says_why_the_service_cannot_be_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = per_process(path=tmp_path / "data", password=None, create=False)

    answered = client_of(plain_app(sessions, WebOptions()))("/")

    assert answered.status == 503
    assert "keyring.json" in caplog.text


def test_the_answer_to_head_has_no_body(keyturn_service: ClockedService) -> None:
    head = client_of(plain_app(keyturn_service, WebOptions(required=True)))("/", "HEAD")

    assert (head.status, head.body) == (401, b"")


def test_what_is_not_wrapped_is_told_so() -> None:
    with pytest.raises(MiddlewareMissingError):
        session_of({})
    with pytest.raises(MiddlewareMissingError):
        web_django.session_of(HttpRequest())
    assert not issubclass(MiddlewareMissingError, RequestRefusedError)
