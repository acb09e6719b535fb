"""`/auth` of `keyturn serve` beside an empty endpoint of the same server, over keep-alive."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keyturn
from tests.benchmarks.measure import Figure, compare

CONNECTIONS = 8


def serve_figures(data: Path) -> Iterator[Figure]:
    """Yield how many requests of each the server answers in the same time."""
    with keyturn.open(path=data, password=None) as service:
        token = service.create_token(subject="alice")
    command = [sys.executable, "-m", "tests.benchmarks.serve", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with contextlib.ExitStack() as stack:
            stack.callback(server.terminate)
            connections = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(CONNECTIONS)
            ]
            for path, peer, goal, end in (
                ("/healthz", "an empty endpoint of it", 0.85, b"}"),
                ("/empty", "one of bare Starlette", None, b"\r\n\r\n"),
            ):
                yield compare(
                    f"GET /auth of keyturn serve, {CONNECTIONS} at once",
                    asking(connections, "/auth", token, b"\r\n\r\n"),
                    asking(connections, path, token, end),
                    peer,
                    goal=goal,
                    is_speedup=True,
                    calls=100,
                )


def asking(
    connections: list[socket.socket], path: str, token: str, end: bytes
) -> Callable[[], None]:
    """Return what sends a request on each connection, and reads the answers to their end."""
    text = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    request = text.encode("ascii")

    def ask() -> None:
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 20")
            while not answer.endswith(end):
                answer = connection.recv(65536)
                assert answer

    return ask


def main(data: str) -> None:
    """Be the server: `keyturn serve`'s application, and an empty one beside it."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send

    from keyturn.web.serve.app import ServeOptions, create_app
    from keyturn.web.serve.running import Listening, listener

    async def nothing(_: Request) -> Response:
        return Response(status_code=204)

    empty = Starlette(routes=[Route("/empty", nothing)])
    served = create_app(lambda: keyturn.open_async(path=data, password=None), ServeOptions())

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        app = empty if scope.get("path") == "/empty" else served
        await app(scope, receive, send)

    config = uvicorn.Config(both, lifespan="on", http="h11", log_level="error", access_log=False)
    with listener(Listening(port=0)) as sock:
        print(sock.getsockname()[1], flush=True)
        uvicorn.Server(config).run([sock])


if __name__ == "__main__":
    main(sys.argv[1])
