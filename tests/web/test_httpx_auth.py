"""The httpx auth class, against a real server, with both libraries that are called httpx."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import keyturn
from keyturn import ClientSession
from keyturn.domain.errors import SettingsError
from keyturn.web.client import PlainHTTPError, TokenFileAuth
from keyturn.web.cookies import REFRESHED_TOKEN

PASSWORD = "correct horse"


class Host(ThreadingHTTPServer):
    """Knows who has the password or a good token, and sends a fresh one back."""

    daemon_threads = True

    def __init__(self, service: keyturn.Service) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.service = service
        self.seen: list[str | None] = []
        self.bodies: list[bytes] = []
        self.elsewhere = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def token_for(self, authorization: str | None) -> str | None:
        kind, _, rest = (authorization or "").partition(" ")
        if kind == "Basic":
            password = base64.b64decode(rest).decode().partition(":")[2]
            return self.service.create_token() if password == PASSWORD else None
        try:
            return self.service.refresh_token(rest)
        except keyturn.TokenRefusedError:
            return None


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        self.server.seen.append(self.headers["Authorization"])
        token = self.server.token_for(self.headers["Authorization"])
        if self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", self.server.elsewhere)
        elif token is None:
            self.send_response(401)
        else:
            self.send_response(200)
            self.send_header(REFRESHED_TOKEN, token)
        if self.path == "/planted":
            self.send_header(REFRESHED_TOKEN, "planted.by.another")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - as http.server calls it

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    with keyturn.open(store="memory:", password=None) as service:
        yield from serving(Host(service))


def serving(server: Host) -> Iterator[Host]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientSession]:
    monkeypatch.delenv("KEYTURN_TOKEN", raising=False)
    monkeypatch.delenv("KEYTURN_PASSWORD", raising=False)
    with ClientSession(tmp_path / "token") as session:
        yield session


@pytest.fixture(params=[httpx, httpx2], ids=lambda library: library.__name__)
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


class Person:
    """Who is asked for a password."""

    def __init__(self, answer: str | None = PASSWORD) -> None:
        self.answer, self.asked = answer, 0

    def __call__(self) -> str | None:
        self.asked += 1
        return self.answer


def test_the_token_of_the_file_is_sent_and_the_refreshed_one_kept(
    host: Host, session: ClientSession, library: Any
) -> None:
    first = host.service.create_token()
    session.write_token(first)

    with library.Client(auth=TokenFileAuth(session)) as client:
        status = client.get(host.url).status_code

    assert (status, host.seen) == (200, [f"Bearer {first}"])
    assert session.read_token() not in (None, first)


async def get(library: Any, url: str, auth: TokenFileAuth, times: int = 1) -> list[int]:
    import anyio

    statuses = []

    async def once(client: Any) -> None:
        statuses.append((await client.get(url)).status_code)

    async with library.AsyncClient(auth=auth) as client, anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(once, client)
    return statuses


def test_it_is_the_same_for_async_clients_of_which_one_asks_for_all(
    host: Host, session: ClientSession, library: Any
) -> None:
    import anyio

    person = Person()

    statuses = anyio.run(get, library, host.url, TokenFileAuth(session, person), 5)

    assert (statuses, person.asked) == ([200] * 5, 1)
    assert host.service.verify_token(session.read_token())


def test_a_401_asks_for_the_password_once_and_sends_all_of_it_again(
    host: Host, session: ClientSession, library: Any
) -> None:
    person = Person()

    with library.Client(auth=TokenFileAuth(session, person)) as client:
        parts = (part for part in [b"one", b"two"])
        first = client.post(host.url, content=parts, headers={"Content-Length": "6"})
        second = client.get(host.url)

    assert (first.status_code, second.status_code, person.asked) == (200, 200, 1)
    assert host.bodies == [b"onetwo", b"onetwo", b""]
    assert host.service.verify_token(session.read_token())


@pytest.mark.parametrize(("answer", "tries"), [("wrong", 2), (None, 1)])
def test_a_wrong_password_or_none_leaves_the_401(
    host: Host, session: ClientSession, answer: str | None, tries: int
) -> None:
    person = Person(answer)

    with httpx2.Client(auth=TokenFileAuth(session, person)) as client:
        status = client.get(host.url).status_code

    assert (status, person.asked, len(host.seen)) == (401, 1, tries)
    assert session.read_token() is None


@pytest.mark.parametrize("variable", ["KEYTURN_TOKEN", "KEYTURN_PASSWORD"])
def test_what_the_environment_says_is_sent_and_nobody_is_asked(
    host: Host, session: ClientSession, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "wrong")
    person = Person()

    with httpx2.Client(auth=TokenFileAuth(session, person)) as client:
        status = client.get(host.url).status_code

    assert (status, person.asked, len(host.seen)) == (401, 0, 1)


def test_a_token_of_the_environment_stays_out_of_the_file(
    host: Host, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_TOKEN", host.service.create_token())

    with httpx2.Client(auth=TokenFileAuth(session)) as client:
        status = client.get(host.url).status_code

    assert (status, session.read_token()) == (200, None)


def test_white_space_around_the_token_of_the_environment_is_left_out(
    host: Host, session: ClientSession, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_TOKEN", f" {host.service.create_token()}\r\n")

    with library.Client(auth=TokenFileAuth(session)) as client:
        assert client.get(host.url).status_code == 200


@pytest.mark.parametrize("token", ["s3cr\u00e9t-token", "s3cret\r\nX: token", "s3cret\udcff"])
def test_what_is_no_token_in_the_environment_is_an_error_that_does_not_show_it(
    host: Host, session: ClientSession, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_TOKEN", token)

    with (
        httpx2.Client(auth=TokenFileAuth(session)) as client,
        pytest.raises(SettingsError, match="KEYTURN_TOKEN") as caught,
    ):
        client.get(host.url)

    assert "s3cr" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert host.seen == []


def test_a_password_of_the_environment_is_sent_as_its_bytes(
    session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_PASSWORD", "correct\udcff")

    request = next(TokenFileAuth(session).sync_auth_flow(httpx2.Request("GET", "https://a")))

    assert base64.b64decode(request.headers["Authorization"].split()[1]) == b":correct\xff"


def test_a_password_of_the_environment_logs_in(
    host: Host, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_PASSWORD", PASSWORD)

    with httpx2.Client(auth=TokenFileAuth(session)) as client:
        client.get(host.url)

    assert host.service.verify_token(session.read_token())


def test_what_the_caller_set_is_left_alone(host: Host, session: ClientSession) -> None:
    mine = host.service.create_token()
    session.write_token(mine)

    with httpx2.Client(auth=TokenFileAuth(session, Person())) as client:
        status = client.get(host.url, headers={"Authorization": "Bearer other"}).status_code

    assert (status, host.seen) == (401, ["Bearer other"])
    assert session.read_token() == mine


def test_a_refresh_that_comes_after_a_logout_is_not_kept(
    host: Host, session: ClientSession
) -> None:
    session.write_token(host.service.create_token())

    def log_out(_: object) -> None:
        session.clear_token()

    hooks = {"response": [log_out]}
    with httpx2.Client(auth=TokenFileAuth(session), event_hooks=hooks) as client:
        status = client.get(host.url).status_code

    assert (status, session.read_token()) == (200, None)


def test_another_server_gets_no_token_and_plants_none(
    host: Host, session: ClientSession, library: Any
) -> None:
    first = host.service.create_token()
    session.write_token(first)
    [other] = others = [Host(host.service)]
    person = Person()

    for _ in serving(other):
        host.elsewhere = f"{other.url}/planted"
        auth = TokenFileAuth(session, person)
        with library.Client(auth=auth, follow_redirects=True) as client:
            status = client.get(f"{host.url}/moved").status_code

    assert (status, others[0].seen, person.asked) == (401, [None], 0)
    assert session.read_token() == first


def test_another_origin_than_the_first_gets_no_token_and_no_password(
    host: Host, session: ClientSession, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, other = Person(), Host(host.service)
    session.write_token(host.service.create_token())

    for _ in serving(other):
        with library.Client(auth=TokenFileAuth(session, person)) as client:
            first = client.get(host.url).status_code
            kept = session.read_token()
            by_token = client.get(f"{other.url}/planted").status_code
            monkeypatch.setenv("KEYTURN_PASSWORD", PASSWORD)
            by_password = client.get(other.url).status_code

    assert (first, by_token, by_password, person.asked) == (200, 401, 401, 0)
    assert (other.seen, session.read_token()) == ([None, None], kept)


def test_the_origin_may_be_given(host: Host, session: ClientSession, library: Any) -> None:
    session.write_token(host.service.create_token())
    elsewhere = TokenFileAuth(session, origin="https://example.com:443")
    here = TokenFileAuth(session, origin=host.url)

    with library.Client() as client:
        statuses = [client.get(host.url, auth=auth).status_code for auth in (elsewhere, here)]

    assert (statuses, host.seen[0]) == ([401, 200], None)


@pytest.mark.parametrize("origin", ["example.com", "ftp://a", "https://a/b", "https://[", ""])
def test_what_is_no_origin_is_refused(session: ClientSession, origin: str) -> None:
    with pytest.raises(SettingsError, match="one like https://"):
        TokenFileAuth(session, origin=origin)


def test_a_token_goes_over_plain_http_to_another_machine_only_if_told(
    session: ClientSession, library: Any
) -> None:
    seen: list[str | None] = []

    def answer(request: Any) -> Any:
        seen.append(request.headers.get("Authorization"))
        return library.Response(200)

    session.write_token("a.b.c")
    with library.Client(transport=library.MockTransport(answer)) as client:
        with pytest.raises(PlainHTTPError, match="plain_http"):
            client.get("http://example.com/?secret=x", auth=TokenFileAuth(session))
        client.get("http://example.com", auth=TokenFileAuth(session, plain_http=True))
        for url in ("https://example.com", "http://[::1]:80", "http://app.localhost"):
            client.get(url, auth=TokenFileAuth(session))

    assert seen == ["Bearer a.b.c"] * 4


def test_a_token_that_cannot_be_kept_does_not_spoil_the_answer(
    host: Host, session: ClientSession, tmp_path: Path
) -> None:
    session.write_token(host.service.create_token())

    def put_a_folder_there(_: object) -> None:
        (tmp_path / "token").unlink()
        (tmp_path / "token").mkdir()

    hooks = {"response": [put_a_folder_there]}
    with httpx2.Client(auth=TokenFileAuth(session), event_hooks=hooks) as client:
        status = client.get(host.url).status_code

    assert status == 200


def test_the_token_in_the_environment_is_no_setting() -> None:
    assert keyturn.Settings.load(environ={"KEYTURN_TOKEN": "a token"}) == keyturn.Settings.load(
        environ={}
    )
