"""An agent that issues sessions, and a CLI that keeps one in a token file.

    export KEYTURN_PASSWORD=…                           # or the CLI asks for it
    python examples/agent_and_cli.py FOLDER agent       # in one terminal; Ctrl-C ends it
    python examples/agent_and_cli.py FOLDER unlock      # in another one
    python examples/agent_and_cli.py FOLDER greet       # from many at once, if you like
    python examples/agent_and_cli.py FOLDER lock        # this client
    python examples/agent_and_cli.py FOLDER lock all    # every client, at once

A call refreshes the token, and writes the new one only in place of the one that it read.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import socketserver
import sys
from pathlib import Path

import keyturn


class Agent(socketserver.ThreadingUnixStreamServer):
    """Answers a request a line, of whoever may open its socket: this user."""

    daemon_threads = True

    def __init__(self, path: Path, service: keyturn.Service) -> None:
        self.service = service
        path.unlink(missing_ok=True)
        super().__init__(str(path), Request)

    def answer(self, what: str, token: str | None, password: str | None) -> dict[str, str]:
        """Do what is asked, for who has the password or a good token."""
        if what == "unlock":
            if not self.service.check_password(password):
                return {"error": "this is not the password"}
            return {"said": "unlocked", "token": self.service.create_token(expiry=900)}
        try:
            fresh = self.service.refresh_token(token)
        except keyturn.TokenRefusedError as refused:
            return {"error": f"{refused.reason.value}: unlock it again"}
        if what == "greet":
            return {"said": "hello", "token": fresh}
        if what == "lock all":
            self.service.reset_key(reason=what)
        else:
            self.service.end_session(token, reason=what)
        return {"said": "locked"}


class Request(socketserver.StreamRequestHandler):
    """One request: a line of JSON, and a line of JSON in reply."""

    server: Agent

    def handle(self) -> None:
        """Answer it (in a thread of its own: the service may be used from any)."""
        answer = self.server.answer(**json.loads(self.rfile.readline(64 * 1024)))
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def call(folder: Path, what: str, password: str | None = None) -> dict[str, str]:
    """Be the CLI: send what is asked with the token, and keep the token that comes back."""
    with keyturn.ClientSession(folder / "token") as session:
        before = session.read_token()
        request = {"what": what, "token": before, "password": password}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(folder / "agent.sock"))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, str] = json.loads(connection.makefile().readline())
        if "token" in answer:
            session.write_token(answer["token"], replacing=before)
        elif what.startswith("lock"):
            session.clear_token()
    return answer


if __name__ == "__main__":
    place, command = Path(sys.argv[1]), " ".join(sys.argv[2:])
    needs_it = command in ("agent", "unlock")
    secret = (os.environ.get("KEYTURN_PASSWORD") or getpass.getpass()) if needs_it else None
    if command == "agent":
        with (
            contextlib.suppress(KeyboardInterrupt),
            keyturn.open(path=place / "data", password=secret) as service,
            Agent(place / "agent.sock", service) as agent,
        ):
            print("ready", flush=True)
            agent.serve_forever()
    else:
        said = call(place, command, secret)
        print(said.get("error") or said["said"])
        sys.exit("error" in said)
