"""The web: what the middleware adds to a request, and how fast a reset closes WebSockets.

`create` makes the app whose WebSockets are closed; uvicorn runs it in two processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

import keyturn
from keyturn import AsyncService
from keyturn.web import per_process
from keyturn.web.asgi import App, KeyturnMiddleware
from tests.benchmarks.measure import Figure, figure
from tests.web.servers import free_address, process_of

SOCKETS, WORKERS = 1_000, 2
HEADERS = {
    "host": "example.com",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-US,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "sec-fetch-site": "same-origin",
}


def web_figures(service: keyturn.Service, data: Path) -> Iterator[Figure]:
    """Yield the figures of the middleware."""
    for what, name in {"a Bearer token": "authorization", "the cookie": "cookie"}.items():
        start = "Bearer " if name == "authorization" else "theme=dark; __Host-session="
        yield asyncio.run(added(service, what, {name: start + service.create_token()}))
    yield asyncio.run(added(service, "no token", {}))
    yield closing(service, data)


async def added(service: keyturn.Service, what: str, headers: dict[str, str]) -> Figure:
    """Measure an empty Starlette request by ASGI calls, with the middleware and without."""
    with_it = Starlette(routes=[Route("/", empty)], middleware=[middleware(service)])
    without = Starlette(routes=[Route("/", empty)])
    for app in (with_it, without):
        assert await once(app, headers) == 204
    turns = []
    for _ in range(100):
        turns.append(await seconds(with_it, headers) - await seconds(without, headers))
    median = statistics.median(turns)
    return figure(f"middleware, {what}", [(median, 25e-6)], "at most", goal=1)


def middleware(service: keyturn.Service) -> Middleware:
    return Middleware(KeyturnMiddleware, service=AsyncService(service))


async def empty(_: Request) -> Response:
    return Response(status_code=204)


async def seconds(app: App, headers: dict[str, str], calls: int = 100) -> float:
    """Return how much time of this thread a request takes; other processes have no part in it."""
    started = time.thread_time()
    for _ in range(calls):
        await once(app, headers)
    return (time.thread_time() - started) / calls


async def once(app: App, headers: dict[str, str]) -> int:
    """Make one request, and return its status."""
    sent = [(n.encode(), v.encode("latin-1")) for n, v in {**HEADERS, **headers}.items()]
    status = 0

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": sent,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return status


# --- WebSockets ---


def create() -> Starlette:
    """Return the app that uvicorn runs, on the log that KEYTURN_PATH names."""
    sessions = per_process(password=None, create=False)
    return Starlette(
        routes=[Route("/", empty), WebSocketRoute("/", idle)],
        middleware=[Middleware(KeyturnMiddleware, service=sessions)],
    )


async def idle(websocket: WebSocket) -> None:
    """Accept, say by whom, and wait."""
    await websocket.accept()
    await websocket.send_text(str(os.getpid()))
    await websocket.receive_text()


def closing(service: keyturn.Service, data: Path) -> Figure:
    """Measure how long after a reset 1,000 idle WebSockets of two workers are closed."""
    address = free_address()
    port = address.partition(":")[2]
    command = f"uvicorn --workers {WORKERS} --port {port} --factory tests.benchmarks.web:create"
    os.environ["KEYTURN_PATH"] = str(data)
    root = Path(__file__).parent.parent.parent
    with process_of(*command.split(), cwd=root, address=address):
        took = asyncio.run(reset_and_wait(service, f"ws://{address}/"))
    return figure(f"a reset closes {SOCKETS:,} WebSockets", [(took, 1.0)], "at most", goal=1)


async def reset_and_wait(service: keyturn.Service, url: str) -> float:
    """Open the WebSockets, reset the key, and return the seconds until all are closed."""
    headers = {"Authorization": f"Bearer {service.create_token()}"}
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        for _ in range(SOCKETS):
            connection = connect(url, additional_headers=headers, ping_interval=None)
            sockets.append(await stack.enter_async_context(connection))
        workers = {await socket.recv() for socket in sockets}
        assert len(workers) == WORKERS, f"{workers} is not {WORKERS} workers"
        started = time.perf_counter()
        await asyncio.to_thread(service.reset_key)
        await asyncio.gather(*(socket.wait_closed() for socket in sockets))
        took = time.perf_counter() - started
        assert {socket.close_code for socket in sockets} == {4401}
    return took
