"""An agent that issues sessions, and a CLI that keeps one in a token file.

    python examples/agent_and_cli.py agent FOLDER      # in one terminal; Ctrl-C ends it
    python examples/agent_and_cli.py login FOLDER      # in another one
    python examples/agent_and_cli.py greet FOLDER      # from many at once, if you like
    python examples/agent_and_cli.py reset FOLDER      # all log in again

Each call refreshes the token and writes the new one only in place of the one that it read. Of
two calls at once the second to write leaves the first one's token there, and both have their
answer; a logout is not undone by a call that was under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import sys
from pathlib import Path

import keyturn

Answer = dict[str, str]


class Agent(socketserver.ThreadingUnixStreamServer):
    """Answers a request a line, of whoever may open its socket: this user."""

    daemon_threads = True

    def __init__(self, path: Path, service: keyturn.Service) -> None:
        self.service = service
        path.unlink(missing_ok=True)
        super().__init__(str(path), Request)

    def answer(self, what: str, token: str | None) -> Answer:
        """Do what is asked, for who has a good token."""
        if what == "login":
            return {"token": self.service.create_token(expiry=900, subject=f"uid {os.getuid()}")}
        try:
            fresh = self.service.refresh_token(token)
        except keyturn.TokenRefusedError as refused:
            return {"error": f"{refused.reason.value}: log in again"}
        if what == "reset":
            self.service.reset_key(reason="asked for on the command line")
            return {"said": "all sessions are over"}
        return {"said": "hello", "token": fresh}


class Request(socketserver.StreamRequestHandler):
    """One request: a line of JSON, and a line of JSON in reply."""

    server: Agent

    def handle(self) -> None:
        """Answer it (in a thread of its own: the service may be used from any)."""
        request = json.loads(self.rfile.readline(64 * 1024))
        answer = self.server.answer(request["what"], request["token"])
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def serve(folder: Path) -> None:
    """Be the agent."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        contextlib.suppress(KeyboardInterrupt),
        keyturn.open(path=folder / "data", password=None) as service,
        Agent(folder / "agent.sock", service) as agent,
    ):
        print("ready", flush=True)
        agent.serve_forever()


def call(folder: Path, what: str) -> Answer:
    """Be the CLI: send what is asked with the token, and keep the token that comes back."""
    with keyturn.ClientSession(folder / "token") as session:
        before = session.read_token()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(folder / "agent.sock"))
            connection.sendall(json.dumps({"what": what, "token": before}).encode() + b"\n")
            answer: Answer = json.loads(connection.makefile().readline())
        if "token" in answer:
            session.write_token(answer["token"], replacing=before)
    return answer


if __name__ == "__main__":
    command, place = sys.argv[1], Path(sys.argv[2])
    if command == "agent":
        serve(place)
    else:
        said = call(place, command)
        print(said.get("error") or said.get("said") or "logged in")
        sys.exit("error" in said)
