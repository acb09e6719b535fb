"""The examples of each framework, behind the server that their users have."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import keyturn
from tests.web.servers import free_address, process_of

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class App(NamedTuple):
    address: str
    folder: Path


class Browser:
    """A client that keeps cookies, and says what a browser says of its own pages."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookies: dict[str, str] = {}

    @property
    def headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": cookies, "Origin": f"http://{self.address}"}

    def get(self, path: str) -> tuple[int, str]:
        return self.send("GET", path)

    def post(self, path: str, **body: str) -> tuple[int, str]:
        return self.send("POST", path, json.dumps(body))

    def send(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        headers = {**self.headers, "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        text = response.read().decode()
        connection.close()
        return response.status, text


def logged_in(address: str) -> Browser:
    browser = Browser(address)
    assert browser.post("/login", user="alice", password="wonderland") == (204, "")
    return browser


SERVERS = {
    "fastapi": "uvicorn --app-dir {examples} --workers 2 --port {port} fastapi_app:app",
    "flask": "gunicorn --pythonpath {examples} --preload -w 2 -b {address} flask_app:app",
    "django": "gunicorn --pythonpath {examples} --preload -w 2 -b {address} "
    "django_app:application",
}


@pytest.fixture(scope="module", params=SERVERS)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """Each example with two workers; gunicorn loads it before it forks them."""
    folder, address = tmp_path_factory.mktemp(request.param), free_address()
    port = address.partition(":")[2]
    command = SERVERS[request.param].format(examples=EXAMPLES, address=address, port=port)
    with process_of(*command.split(), cwd=folder, address=address):
        yield App(address, folder)


def test_a_session_goes_its_way_in_all_workers(app: App) -> None:
    stranger = Browser(app.address)

    assert stranger.post("/login", user="alice", password="?")[0] == 401
    assert stranger.get("/me")[0] == 401
    browser = logged_in(app.address)
    before = dict(browser.cookies)
    assert [json.loads(browser.get("/me")[1]) for _ in range(8)] == [{"user": "alice"}] * 8
    assert browser.post("/password")[0] == 200
    assert browser.post("/logout")[0] == 204
    browser.cookies = before
    assert {browser.get("/me")[0] for _ in range(8)} == {401}


@pytest.mark.parametrize("app", ["fastapi"], indirect=True, scope="module")
def test_a_logout_in_one_worker_closes_the_sockets_in_all(app: App) -> None:
    address = app.address
    browser = logged_in(address)
    headers = browser.headers
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(news(address, headers)) for _ in range(8)]
        assert [socket.recv(timeout=20) for socket in sockets] == ["welcome, alice"] * 8

        browser.post("/logout")

        assert {close_code(socket) for socket in sockets} == {4401}


def test_a_reset_on_the_command_line_ends_all(app: App) -> None:
    browser = logged_in(app.address)

    with keyturn.open(path=app.folder / "data", password=None) as service:
        service.reset_key(reason="laptop stolen")

    assert {browser.get("/me")[0] for _ in range(8)} == {401}


def news(address: str, headers: dict[str, str]) -> ClientConnection:
    return connect(f"ws://{address}/news", additional_headers=headers)


def close_code(socket: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=20)
    return closed.value.rcvd.code if closed.value.rcvd else None


def test_fifteen_lines_of_the_fastapi_app_are_keyturn_s_at_most() -> None:
    text = (EXAMPLES / "fastapi_app.py").read_text("utf-8").partition('"""\n\n')[2]
    ours = re.compile(r"keyturn|sessions|options|log_in|log_out|Depends|who\b", re.I)

    assert len([line for line in text.splitlines() if ours.search(line)]) <= 15
