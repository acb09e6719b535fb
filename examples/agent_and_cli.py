"""An agent that issues sessions over a Unix socket, and a CLI that keeps one in a token file.

    pip install httpx starlette uvicorn
    python examples/agent_and_cli.py FOLDER agent       # in one terminal; Ctrl-C ends it
    python examples/agent_and_cli.py FOLDER unlock      # in another one
    python examples/agent_and_cli.py FOLDER greet       # from many at once, if you like
    python examples/agent_and_cli.py FOLDER lock        # this client
    python examples/agent_and_cli.py FOLDER lock all    # every client, at once

A script sets KEYTURN_PASSWORD or KEYTURN_TOKEN: then nobody is asked.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import socket
import sys
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import keyturn
from keyturn.web.client import TokenFileAuth


def make_agent(service: keyturn.Service) -> Starlette:
    """Return the agent: it answers who has the password or a good token."""
    sessions = keyturn.AsyncService(service)

    async def fresh_token(request: Request) -> str:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            if await sessions.check_password(base64.b64decode(given).decode()[1:]):
                return await sessions.create_token(expiry=900)
            raise HTTPException(401, "this is not the password")
        try:
            return await sessions.refresh_token(given)
        except keyturn.TokenRefusedError as refused:
            raise HTTPException(401, f"{refused.reason.value}: unlock it again") from refused

    async def answer(request: Request) -> Response:
        token = await fresh_token(request)
        if request.url.path in ("/unlock", "/greet"):
            return PlainTextResponse("hello", headers={"Refreshed-Token": token})
        if request.url.path == "/lock":
            await sessions.end_session(token, reason="locked")
        else:
            await sessions.reset_key(reason="all were locked")
        return PlainTextResponse("locked")

    paths = ("/unlock", "/greet", "/lock", "/lock-all")
    return Starlette(routes=[Route(path, answer, methods=["POST"]) for path in paths])


def serve(folder: Path) -> None:
    """Be the agent."""
    password = os.environ.get("KEYTURN_PASSWORD") or ask_password()
    os.umask(0o077)  # only this user may open the socket
    (folder / "agent.sock").unlink(missing_ok=True)
    with keyturn.open(path=folder / "data", password=password) as service:
        listener = socket.create_server(str(folder / "agent.sock"), family=socket.AF_UNIX)
        print("ready", flush=True)
        uvicorn.Server(uvicorn.Config(make_agent(service), access_log=False)).run([listener])


def call(folder: Path, command: str) -> bool:
    """Be the CLI: print what the agent says, and return whether it did it."""
    unix = httpx.HTTPTransport(uds=str(folder / "agent.sock"))
    with httpx.Client(transport=unix) as http, keyturn.ClientSession(folder / "token") as session:
        http.auth = TokenFileAuth(session, ask_password, plain_http=True)
        answer = http.post(f"http://agent/{command.replace(' ', '-')}", timeout=30)
        if command.startswith("lock"):
            session.clear_token()
    print(answer.text)
    return answer.is_success


def ask_password() -> str | None:
    """Ask for it, or read it from a pipe."""
    return (getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().strip()) or None


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if sys.argv[2:] == ["agent"]:
            serve(Path(sys.argv[1]))
        elif not call(Path(sys.argv[1]), " ".join(sys.argv[2:])):
            sys.exit(1)
