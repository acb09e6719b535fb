"""`keyturn serve` as a process: sockets, workers, signals, its log, and raw bytes."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from keyturn.domain.errors import SettingsError
from keyturn.web.serve.running import MAX_HEADERS, Listening, listener
from tests.api.command_line import Keyturn
from tests.web.serving import PASSWORD, SECRET, Served, becomes_true, serving

AUTH = ("a client", SECRET)
TRUSTED = "https://app.example.com"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")  # short: the path of a socket has 104 bytes at most


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    """Two workers, whose log says all there is."""
    with serving(folder, "--workers", 2, "--trusted-origin", TRUSTED) as served:
        yield served


@pytest.fixture
def keyturn(folder: Path, served: Served) -> Iterator[Keyturn]:
    """The command line in this process, on the data that is served."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    command_line = Keyturn(folder / "data")
    command_line.environment["KEYTURN_PASSWORD"] = PASSWORD
    yield command_line
    for signum, handler in before.items():
        signal.signal(signum, handler)


def new_token(served: Served) -> str:
    answer = ask("POST", f"{served.address}/tokens", json={"subject": "alice"}, auth=AUTH)
    return str(answer.json()["token"])


def ask(method: str, url: str, **options: Any) -> httpx2.Response:
    """Send a request by a connection of its own, which may come to another worker."""
    with httpx2.Client(verify=False) as client:
        return client.request(method, url, **options)


def talk(served: Served, *parts: bytes) -> bytes:
    """Send bytes, and return what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_it_listens_at_loopback_unless_told(served: Served) -> None:
    assert served.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("origin", "status"), [(TRUSTED, 204), (f"{TRUSTED}.evil.test", 403)])
def test_the_pages_of_a_trusted_origin_may_change_something(
    served: Served, origin: str, status: int
) -> None:
    headers = {
        "Cookie": f"__Host-session={new_token(served)}",
        "X-Forwarded-Method": "POST",
        "Origin": origin,
    }

    assert ask("GET", f"{served.address}/auth", headers=headers).status_code == status


def test_each_worker_refuses_a_session_that_another_one_ended(served: Served) -> None:
    token = new_token(served)
    headers = {"Authorization": f"Bearer {token}"}

    def statuses() -> set[int]:  # each client may come to another worker
        return {
            ask("GET", f"{served.address}/auth", headers=headers).status_code for _ in range(12)
        }

    before = statuses()
    ask("POST", f"{served.address}/revoke", data={"token": token}, auth=AUTH)

    assert (before, statuses()) == ({204}, {401})


def test_the_figures_are_those_of_all_workers(served: Served) -> None:
    def created() -> int:
        text = ask("GET", f"{served.address}/metrics").text
        return int(float(re.findall(r"^keyturn_tokens_created_total (\S+)", text, re.M)[0]))

    for _ in range(8):
        new_token(served)

    assert becomes_true(
        lambda: {created() for _ in range(6)} == {served.log.count("'/tokens' status=200")}
    )


def test_an_answer_is_not_held_back_for_an_acknowledgement() -> None:
    with listener(Listening(port=0)) as sock:
        address = sock.getsockname()
        with socket.create_connection(address), sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_worker_that_dies_is_replaced(served: Served) -> None:
    def workers() -> list[str]:
        return re.findall(r"Started server process \[(\d+)\]", served.log)

    assert becomes_true(lambda: len(workers()) >= 2)
    before = len(workers())

    os.kill(int(workers()[0]), signal.SIGKILL)

    assert becomes_true(lambda: len(workers()) > before)
    assert {ask("GET", f"{served.address}/readyz").status_code for _ in range(8)} == {200}


def test_http_1_0_is_answered(served: Served) -> None:
    token = new_token(served)

    answer = talk(served, f"GET /auth HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 204")
    assert b"keyturn-subject: alice" in answer


def test_headers_of_over_32_kib_are_refused_before_they_end(served: Served) -> None:
    head = b"GET /auth HTTP/1.1\r\nHost: a\r\nX: "

    answer = talk(served, head + b"x" * (MAX_HEADERS - len(head)), b"x")

    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"no http at all\r\n\r\n", 400),
        (b"GET /auth HTTP/1.1\r\nHost: a\r\nCookie: " + b"a=b; " * 5000 + b"\r\n", 401),
        (b"GET /\xff\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST /tokens HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n", 401),
        (b"BREW /auth HTTP/1.1\r\nHost: a\r\n", 405),
    ],
)
def test_strange_requests_have_their_status(
    served: Served, request_bytes: bytes, status: int
) -> None:
    if not request_bytes.endswith(b"\r\n\r\n"):
        request_bytes += b"Connection: close\r\n\r\n"

    answer = talk(served, request_bytes)

    assert answer.split(b" ", 2)[1] == str(status).encode()
    assert b"Traceback" not in answer


def test_nothing_in_the_log_is_a_token_a_secret_or_a_traceback(served: Served) -> None:
    token = new_token(served)
    bearer = {"Authorization": f"Bearer {token}"}

    ask("GET", f"{served.address}/auth?access_token={token}", headers=bearer)
    ask("GET", f"{served.address}/{token}", headers={"Cookie": f"__Host-session={token}"})
    ask("POST", f"{served.address}/introspect", data={"token": f"{token}x"}, auth=AUTH)
    ask("POST", f"{served.address}/refresh", content=token, auth=AUTH)
    ask("POST", f"{served.address}/tokens", json={"subject": token}, auth=("", f"{SECRET}x"))

    last = "a wrong client secret was refused"
    assert becomes_true(lambda: "path='/[token]'" in served.log and last in served.log)
    assert token.split(".")[1] not in served.log
    assert SECRET not in served.log
    assert PASSWORD not in served.log
    assert "Traceback" not in served.log


def test_the_log_has_one_format(served: Served) -> None:
    new_token(served)

    lines = served.lines[1:]

    assert lines
    assert [line for line in lines if not re.match(r"[A-Z]+ event='", line)] == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_request_under_way_end_and_then_stops(
    folder: Path, signum: signal.Signals
) -> None:
    body = f"token={'x' * 10}".encode()
    head = (
        "POST /introspect HTTP/1.1\r\nHost: a\r\n"
        f"Authorization: Bearer {SECRET}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    ).encode()
    with serving(folder) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
            connection.sendall(head + body[:5])
            ask("GET", f"{served.address}/healthz")  # by then it has begun
            served.process.send_signal(signum)
            assert becomes_true(lambda: "Shutting down" in served.log)
            connection.sendall(body[5:])
            answer = connection.recv(65536)
        code = served.wait()

    assert answer.startswith(b"HTTP/1.1 200")
    assert (code, "Traceback" in served.log) == (0, False)


def test_a_unix_socket_is_as_told_takes_the_place_of_a_dead_one_and_goes_in_the_end(
    folder: Path,
) -> None:
    path = folder / "k.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))

    with serving(folder, "--socket", path, "--socket-mode", "660") as served:
        found = stat.S_IMODE(path.stat().st_mode)
        transport = httpx2.HTTPTransport(uds=str(path), verify=False)
        with httpx2.Client(transport=transport, base_url="http://keyturn") as client:
            ready = client.get("/readyz").status_code
        served.stop()

    assert (found, ready) == (0o660, 200)
    assert not path.exists()


def test_a_unix_socket_is_for_its_owner_unless_told(folder: Path) -> None:
    path = folder / "own.sock"
    with listener(Listening(path=path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_that_stops_leaves_the_socket_of_the_next_one_alone(folder: Path) -> None:
    """Its own is closed first, and requests under way may take seconds."""
    here = Listening(path=folder / "next.sock")
    stopping = listener(here)
    stopping.__enter__().close()

    with listener(here), socket.socket(socket.AF_UNIX) as client:
        stopping.__exit__(None, None, None)

        client.connect(str(here.path))

    assert not (folder / "next.sock").exists()


def test_what_is_no_dead_socket_is_left_alone(folder: Path) -> None:
    path = folder / "file"
    path.write_text("mine")

    with (
        pytest.raises(SettingsError, match="cannot listen at"),
        listener(Listening(path=path)),
    ):
        pass

    assert path.read_text() == "mine"


def test_a_wrong_password_is_said_once_with_the_code_of_the_command_line(
    keyturn: Keyturn,
) -> None:
    keyturn.environment["KEYTURN_PASSWORD"] = "wrong"

    done = keyturn("serve", "--port", "0", "--workers", "2", code=os.EX_NOPERM)

    assert done.stderr.count("password") == 1


def test_a_claim_that_can_be_no_header_is_said_once_before_it_listens(keyturn: Keyturn) -> None:
    done = keyturn("serve", "--port", "0", "--claim", "a b", code=os.EX_CONFIG)

    assert "can be no header" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_beside_a_socket_is_refused(keyturn: Keyturn, folder: Path) -> None:
    done = keyturn("serve", "--socket", str(folder / "k.sock"), "--port", "1", code=os.EX_USAGE)

    assert "--socket is a place to listen at, as --host and --port are" in done.stderr


def test_a_client_that_never_reads_does_not_hold_up_the_others(served: Served) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                deaf.send(request * 100)

        statuses = {ask("GET", f"{served.address}/readyz").status_code for _ in range(6)}

    assert statuses == {200}
