"""A Starlette app behind the middleware, with a route for everything that it offers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from keyturn import Service
from keyturn.web import PerProcess, WebOptions
from keyturn.web.asgi import KeyturnMiddleware, session_of


async def index(request: Request) -> Response:
    who = request.scope["keyturn"]
    headers = {"Cache-Control": "public, max-age=60"}
    return JSONResponse({"user": None if who is None else who.subject}, headers=headers)


async def me(request: Request) -> Response:
    return JSONResponse({"user": (await session_of(request.scope).require()).subject})


async def recent(request: Request) -> Response:
    return JSONResponse({"user": (await session_of(request.scope).require(300)).subject})


async def log_in(request: Request) -> Response:
    token = await session_of(request.scope).log_in("alice", claims={"role": "admin"})
    return JSONResponse({"token": token})


async def log_in_anew(request: Request) -> Response:
    session = session_of(request.scope)
    await session.log_in("bob")
    return JSONResponse({"user": (await session.require(max_age=300)).subject})


async def log_out(request: Request) -> Response:
    return JSONResponse({"ended": await session_of(request.scope).log_out()})


async def end_meanwhile(request: Request) -> Response:
    """Have the session end while its request is served, as by another tab."""
    service: Service = request.app.state.service
    await asyncio.to_thread(service.end_session, sid=request.scope["keyturn"].sid)
    return Response(status_code=204)


async def news(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        yield "data: welcome\n\n"
        await asyncio.Event().wait()

    await session_of(request.scope).require()
    return StreamingResponse(lines(), media_type="text/event-stream")


async def socket(websocket: WebSocket) -> None:
    who = await session_of(websocket.scope).require()
    await websocket.accept()
    await websocket.send_text(who.subject)
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def open_socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("welcome")
    await session_of(websocket.scope).require()


def make_app(service: Service | PerProcess, options: WebOptions = WebOptions()) -> Starlette:  # noqa: B008
    app = Starlette(
        routes=[
            Route("/", index, methods=["GET", "POST"]),
            Route("/me", me, methods=["GET", "POST"]),
            Route("/recent", recent),
            Route("/login", log_in, methods=["POST"]),
            Route("/login-anew", log_in_anew, methods=["POST"]),
            Route("/logout", log_out, methods=["POST"]),
            Route("/end-meanwhile", end_meanwhile),
            Route("/news", news),
            WebSocketRoute("/socket", socket),
            WebSocketRoute("/open-socket", open_socket),
        ]
    )
    app.state.service = service
    app.add_middleware(KeyturnMiddleware, service=service, options=options)
    return app
