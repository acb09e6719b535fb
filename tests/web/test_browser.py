"""A real browser: its cookies, its two tabs, and a page of another origin."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

import keyturn
from tests.web.browser import Browser, Tab, chromium, needs_chromium
from tests.web.servers import free_address, process_of, uvicorn_of

pytestmark = needs_chromium
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
LOGIN = """fetch("/login", {method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({user: "alice", password: "wonderland"})}).then((r) => r.status)"""
LOGOUT = 'fetch("/logout", {method: "POST"}).then((r) => r.status)'
ME = 'fetch("/me").then((r) => r.status)'
STATE = "document.getElementById('state').textContent"


class Site(NamedTuple):
    """The FastAPI example behind TLS: its origin, another one, and the folder of its data."""

    url: str
    elsewhere: str
    data: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, address = tmp_path_factory.mktemp("site"), free_address()
    tls = certificate(folder)
    port = address.partition(":")[2]
    command = f"uvicorn --app-dir {EXAMPLES} --port {port} fastapi_app:app"
    for name, value in tls.items():
        command += f" --{name.replace('_', '-')} {value}"
    evil = Starlette(routes=[Route("/", lambda _: HTMLResponse("<title>evil</title>"))])
    with (
        process_of(*command.split(), cwd=folder, address=address, scheme="https"),
        uvicorn_of(evil, **tls) as elsewhere,
    ):
        yield Site(f"https://{address}", f"https://{elsewhere}", folder / "data")


@pytest.fixture(scope="module")
def browser(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser, which goes before the site does: its connections hold up a server."""
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def certificate(folder: Path) -> dict[str, Any]:
    """Make a certificate for this machine, and return it as uvicorn wants it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"ssl_certfile": str(folder / "cert.pem"), "ssl_keyfile": str(folder / "key.pem")}


def logged_in(browser: Browser, site: Site) -> tuple[Tab, Tab]:
    """Log in in one tab, and return two whose sockets are open."""
    one = browser.tab(site.url)
    assert one.run(LOGIN) == 204
    one.open(site.url)  # a reload goes on with the session
    two = browser.tab(site.url)
    for tab in (one, two):
        tab.wait_for(STATE, "welcome, alice")
    return one, two


def test_no_script_of_a_page_can_read_the_token(browser: Browser, site: Site) -> None:
    one, _ = logged_in(browser, site)

    cookies = one.run("document.cookie")

    assert "__Host-session" not in cookies
    assert cookies.startswith("__Host-csrf=")
    assert one.run(ME) == 200


def test_a_logout_in_one_tab_ends_the_socket_of_the_other(browser: Browser, site: Site) -> None:
    one, two = logged_in(browser, site)

    assert one.run(LOGOUT) == 204

    for tab in (one, two):
        tab.wait_for(STATE, "4401 session ended")
    assert two.run(ME) == 401
    two.open(site.url)
    two.wait_for(STATE, "4401 this needs a session: log in")


def test_a_reset_ends_both(browser: Browser, site: Site) -> None:
    one, two = logged_in(browser, site)

    with keyturn.open(path=site.data, password=None, create=False) as service:
        service.reset_key(reason="laptop stolen")

    for tab in (one, two):
        tab.wait_for(STATE, "4401 unknown key")


def test_a_page_of_another_origin_neither_changes_nor_listens(
    browser: Browser, site: Site
) -> None:
    one, _ = logged_in(browser, site)
    evil = browser.tab(site.elsewhere)

    listened = evil.run(
        f"""new Promise((done) => {{
            const socket = new WebSocket("{site.url.replace("https", "wss")}/news");
            socket.onmessage = (message) => done(message.data);
            socket.onclose = (closed) => done(closed.code);
        }})"""
    )
    evil.run(
        f"""const form = document.createElement("form");
        form.method = "POST"; form.action = "{site.url}/logout";
        document.body.append(form); form.submit()"""
    )
    evil.wait_for("document.body.textContent.includes('cross_site_request')", True)

    assert listened == 1006
    assert one.run(ME) == 200
