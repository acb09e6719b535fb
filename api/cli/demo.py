"""`keyturn demo`: the main job, on real parts, in a temporary folder."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import keyturn
from keyturn import Service, show
from keyturn.cli import tables

WIDTH = 104


def run(svg: Path | None = None) -> None:
    """Show the main job on standard output.

    Args:
        svg: where to put a picture of it, too.
    """
    console = show.console(record=svg is not None, width=WIDTH if svg else None)
    with tempfile.TemporaryDirectory(prefix="keyturn-demo-") as folder:
        _Demo(console, Path(folder)).run()
    if svg is not None:
        picture = console.export_svg(title="keyturn demo")
        # Without the web fonts that rich names: a picture should not call home.
        svg.write_text(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.S), encoding="utf-8")


class _Demo:
    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._folder = folder
        self._password = secrets.token_urlsafe(12)

    def run(self) -> None:
        with keyturn.open(path=self._folder / "data", password=self._password) as service:
            self._say("A key ring (Argon2id, AES-256-GCM) and a log (SQLite), in a new folder")
            self._fact("node", service.node_id)
            self._issue_and_verify(service)
            self._keep_in_a_file(service)
            self._reset_elsewhere(service)
        with keyturn.open(path=self._folder / "data", password=self._password) as service:
            self._say("The service was closed, and rebuilt its key from the log")
            token = service.create_token(subject="carol")
            self._fact("a new token", self._verdict(service, token))
            self._say("The history of the keys, each line signed and chained to the one before")
            self._console.print(
                tables.history_table(list(service.history()), self._console.width)
            )

    def _issue_and_verify(self, service: Service) -> None:
        self._say("Two tokens, of half an hour each")
        self._tokens = [
            service.create_token(expiry=1800, subject=subject) for subject in ("alice", "bob")
        ]
        for token in self._tokens:
            self._fact(_subject(service, token), self._verdict(service, token))
        forged = self._tokens[0][:-8] + "AAAAAAAA"
        self._fact("forged", self._verdict(service, forged))

    def _keep_in_a_file(self, service: Service) -> None:
        path = self._folder / "client" / "token"
        session = service.session(path, self._tokens[0])
        same = "the same" if session.read_token() == self._tokens[0] else "another"
        self._say("A client keeps its token in a file")
        self._fact(f"mode {path.stat().st_mode & 0o777:04o}", f"read back: {same}")

    def _reset_elsewhere(self, service: Service) -> None:
        command = [sys.executable, "-m", "keyturn", "--path", str(self._folder / "data")]
        arguments = ["reset", "--reason", "laptop stolen", "--initiator", "alice"]
        environment = {**os.environ, "KEYTURN_PASSWORD": self._password}
        subprocess.run(  # noqa: S603
            [*command, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True
        )
        self._say(f"Another process: keyturn {shlex.join(arguments)}")
        for token in self._tokens:
            self._fact(_subject(service, token), self._verdict(service, token))

    def _verdict(self, service: Service, token: str) -> Text:
        if service.verify_token(token):
            return Text("good", "green")
        report = service.inspect_token(token)
        assert report.refusal is not None
        why = f" by {report.revoked_by}: {report.revoked_because}" if report.revoked_at else ""
        return Text(f"refused, {report.refusal.value}{why}", "red")

    def _say(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", "bold"))

    def _fact(self, what: str, value: Text | str) -> None:
        self._console.print(
            Text("  ").append(f"{what:12} ", "dim").append_text(Text.assemble(value))
        )


def _subject(service: Service, token: str) -> str:
    claims = service.inspect_token(token).claims
    return "" if claims is None else str(claims["sub"])
