"""The examples of nginx, Caddy and Node, each on the real thing, with `keyturn serve` behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.web.serving import SECRET, Served, becomes_true, serving

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
AUTH = ("a host", SECRET)


def need(program: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed: apt-get install {program}")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class App(BaseHTTPRequestHandler):
    """The app behind a proxy: says which headers it got."""

    def do_GET(self) -> None:
        content = json.dumps({k.lower().replace("_", "-"): v for k, v in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    do_POST = do_GET  # noqa: N815 - as http.server calls it

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def app() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask(method: str, url: str, **options: Any) -> httpx2.Response:
    """Send a request by a connection of its own, without reading certificates for it."""
    with httpx2.Client(verify=False) as client:
        return client.request(method, url, **options)


@contextmanager
def running(*command: object, url: str, cwd: Path) -> Iterator[None]:
    """Run a server until the block ends; it answers before the block begins."""
    with (cwd / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd)},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )

    def answers() -> bool:
        assert process.poll() is None, (cwd / "server.log").read_text()
        try:
            ask("GET", url)
        except httpx2.TransportError:
            return False
        return True

    try:
        assert becomes_true(answers)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


class Site:
    """A proxy in front of a static site and of an app."""

    def __init__(self, url: str, keyturn: Served) -> None:
        self.url, self.keyturn = url, keyturn
        address = keyturn.address
        is_socket = address.startswith("/")
        self.client = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=address if is_socket else None, verify=False),
            base_url="http://keyturn" if is_socket else address,
            auth=AUTH,
        )

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def token(self, **asked: Any) -> str:
        return str(self.client.post("/tokens", json=asked).json()["token"])

    def get(self, path: str, token: str | None = None, **headers: str) -> httpx2.Response:
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        return ask("GET", f"{self.url}{path}", headers={**bearer, **headers})


@contextmanager
def nginx(folder: Path, app_port: int) -> Iterator[Site]:
    program, port = need("nginx"), free_port()
    if os.geteuid() != 0:
        pytest.skip("the nginx of Debian keeps temporary files where only root may")
    conf = (EXAMPLES / "nginx" / "nginx.conf").read_text()
    conf = conf.replace(":8080", f":{port}").replace(":9000", f":{app_port}")
    (folder / "nginx.conf").write_text(conf)
    command = [program, "-p", folder, "-c", "nginx.conf", "-g", "daemon off; user root;"]
    url = f"http://127.0.0.1:{port}"
    with (
        serving(folder, "--socket", folder / "keyturn.sock", "--claim", "role") as keyturn,
        running(*command, url=url, cwd=folder),
        Site(url, keyturn) as site,
    ):
        yield site


@contextmanager
def caddy(folder: Path, app_port: int) -> Iterator[Site]:
    program, port = need("caddy"), free_port()
    with serving(folder, "--claim", "role") as keyturn:
        file = (EXAMPLES / "caddy" / "Caddyfile").read_text()
        for before, after in ((8080, port), (9000, app_port), (8787, keyturn.port)):
            file = file.replace(f":{before}", f":{after}")
        (folder / "Caddyfile").write_text(file)
        url = f"http://127.0.0.1:{port}"
        with running(program, "run", url=url, cwd=folder), Site(url, keyturn) as site:
            yield site


PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module", params=list(PROXIES))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("p")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("the site")
    with app() as port, PROXIES[request.param](folder, port) as site:
        yield site


def test_a_proxy_shows_the_site_to_who_has_a_session(site: Site) -> None:
    token = site.token(subject="alice")

    shown = site.get("/", token)
    by_cookie = site.get("/", Cookie=f"__Host-session={token}")

    assert (shown.status_code, shown.text) == (200, "the site")
    assert by_cookie.status_code == 200
    assert "no-store" in shown.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/", "/app/"])
def test_a_proxy_shows_nothing_to_others_and_says_how_to_come_in(site: Site, path: str) -> None:
    token = site.token()
    refused = [
        site.get(path),
        site.get(path, "bad"),
        site.get(path, token, Cookie=f"__Host-session={token}"),
    ]

    assert {answer.status_code for answer in refused} == {401}
    assert all("Bearer" in answer.headers["WWW-Authenticate"] for answer in refused)


def test_a_session_that_was_ended_is_refused_by_the_next_request(site: Site) -> None:
    token = site.token()
    before = site.get("/", token).status_code
    site.client.post("/revoke", data={"token": token})

    assert (before, site.get("/", token).status_code) == (200, 401)


def test_an_app_behind_a_proxy_is_told_by_keyturn_alone_whose_the_request_is(site: Site) -> None:
    forged = {
        "Keyturn-Subject": "root",
        "Keyturn_Subject": "root",
        "Keyturn-Session": "root",
        "Keyturn_Session": "root",
        "Keyturn-Claim-Role": "admin",
        "Keyturn_Claim_Role": "admin",
    }
    without_role, with_role = site.token(subject="zoë"), site.token(claims={"role": "editor"})

    plain = site.get("/app/", without_role, **forged).json()
    editor = site.get("/app/", with_role, **forged).json()

    assert plain["keyturn-subject"] == "zo%C3%AB"
    assert not plain.get("keyturn-claim-role")
    assert editor["keyturn-claim-role"] == "editor"
    assert plain["keyturn-session"] != editor["keyturn-session"]
    assert "root" not in [*plain.values(), *editor.values()]


def test_a_proxy_lets_no_other_site_change_anything_by_a_cookie(site: Site) -> None:
    cookie = f"__Host-session={site.token()}"

    def post(origin: str) -> int:
        headers = {"Cookie": cookie, "Sec-Fetch-Site": origin}
        return ask("POST", f"{site.url}/app/", content=b"x", headers=headers).status_code

    assert (post("same-origin"), post("cross-site")) == (200, 403)


def test_a_proxy_opens_no_websocket_for_a_page_of_another_site(site: Site) -> None:
    cookie = f"__Host-session={site.token()}"

    def status(origin: str) -> int:
        headers = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Fetch-Site": origin}
        return site.get("/app/", Cookie=cookie, **headers).status_code

    assert (status("same-origin"), status("same-site")) == (200, 403)


def test_without_keyturn_a_proxy_shows_nothing(site: Site) -> None:
    """The last one: it stops the service."""
    token = site.token()
    site.keyturn.stop()

    answer = site.get("/", token)

    assert answer.status_code in (502, 503)
    assert "the site" not in answer.text


# --- Node ---------------------------------------------------------------------------------------


def test_a_host_in_node_logs_in_refreshes_and_logs_out(tmp_path: Path) -> None:
    node = need("node")
    with serving(tmp_path) as keyturn:
        process = subprocess.Popen(
            [node, EXAMPLES / "node" / "app.mjs"],
            env={
                "KEYTURN_URL": keyturn.address,
                "KEYTURN_SECRET": SECRET,
                "PORT": "0",
                "PATH": os.environ["PATH"],
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("listening at ").strip()

            token = ask("POST", f"{url}/login?user=zoë").json()["token"]
            bearer = {"Authorization": f"Bearer {token}"}
            me = ask("GET", f"{url}/me", headers=bearer).json()
            fresh = ask("POST", f"{url}/refresh", headers=bearer).json()["token"]
            ask("POST", f"{url}/logout", headers={"Authorization": f"Bearer {fresh}"})
            after = ask("GET", f"{url}/me", headers=bearer).status_code
            again = ask("POST", f"{url}/refresh", headers=bearer).status_code
            keyturn.stop()
            down = ask("GET", f"{url}/me", headers=bearer).status_code
        finally:
            process.terminate()
            process.communicate(timeout=30)

    assert (me, after, again, down) == ({"user": "zoë"}, 401, 401, 503)


@pytest.mark.parametrize(
    "path", ["nginx/nginx.conf", "caddy/Caddyfile", "node/keyturn.mjs", "node/app.mjs"]
)
def test_an_example_is_short_and_says_how_to_run_it(path: str) -> None:
    lines = (EXAMPLES / path).read_text("utf-8").splitlines()

    assert len(lines) < 100
    assert re.match(r"(#|//) .*\.$", lines[0])
    assert any("keyturn --path data serve" in line or "curl" in line for line in lines[:8])
