"""A FastAPI app: login, logout, a protected route, and a live connection that ends with it.

    pip install keyturn fastapi uvicorn websockets
    uvicorn --app-dir examples --workers 2 fastapi_app:app

Its only user is alice, her password is wonderland. Run `keyturn --path data reset` beside it:
every session and every live connection ends, in each worker. Over plain HTTP browsers need
`KeyturnMiddleware(…, options=WebOptions(plain_http=True))`, as set by PLAIN_HTTP=1 here.
"""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from keyturn.web import WebOptions, per_process
from keyturn.web.fastapi import Authenticated, KeyturnMiddleware, log_in, log_out, session

sessions = per_process(path="data", password=None)
options = WebOptions(plain_http=os.environ.get("PLAIN_HTTP") == "1")
app = FastAPI()
app.add_middleware(KeyturnMiddleware, service=sessions, options=options)


class Credentials(BaseModel):
    """What a user types."""

    user: str
    password: str


@app.post("/login", status_code=204)
async def login(request: Request, given: Credentials) -> None:
    """Log in; the host's own way to know its users goes here."""
    if (given.user, given.password) != ("alice", "wonderland"):
        raise HTTPException(401, "wrong user or password")
    await log_in(request, given.user)


@app.post("/logout", status_code=204)
async def logout(request: Request) -> None:
    """End the session: its live connections are closed, too."""
    await log_out(request)


@app.get("/me")
async def me(who: Annotated[Authenticated, Depends(session)]) -> dict[str, str]:
    """Say whose session it is."""
    return {"user": who.subject}


@app.post("/password")
async def change_password(
    who: Annotated[Authenticated, Depends(session(max_age=300))],
) -> dict[str, str]:
    """Do what takes a login within the last five minutes."""
    return {"changed": who.subject}


@app.websocket("/news")
async def news(websocket: WebSocket, who: Annotated[Authenticated, Depends(session)]) -> None:
    """Be a live connection. It is closed with 4401 when its session ends."""
    await websocket.accept()
    await websocket.send_text(f"welcome, {who.subject}")
    async for text in websocket.iter_text():
        await websocket.send_text(text)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """Show what a page does."""
    return """<!doctype html><title>news</title><p id="state">closed</p><script>
function listen() {
  const socket = new WebSocket(`ws${location.protocol.slice(4)}//${location.host}/news`);
  socket.onmessage = (message) => { state.textContent = message.data; };
  socket.onclose = (closed) => { state.textContent = `${closed.code} ${closed.reason}`; };
}
listen();
</script>"""
