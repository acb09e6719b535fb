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
from typing import TYPE_CHECKING

import click

import keyturn
from keyturn import Service, show
from keyturn.cli import tables
from keyturn.cli.base import cli
from keyturn.cli.parameters import PATH

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 104


@cli.command()
@click.option("--svg", type=PATH, help="Also write it as a picture.")
def demo(svg: Path | None) -> None:
    """Show what Keyturn does, in a temporary folder."""
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
            self._fact("a new token", *_verdict(service, token))
            self._say("The history of the keys, each line signed and chained to the one before")
            tables.print_history(self._console, list(service.history()))

    def _issue_and_verify(self, service: Service) -> None:
        self._say("Two tokens, of half an hour each")
        self._tokens = {
            subject: service.create_token(expiry=1800, subject=subject)
            for subject in ("alice", "bob")
        }
        forged = self._tokens["alice"][:-8] + "AAAAAAAA"
        for subject, token in (*self._tokens.items(), ("forged", forged)):
            self._fact(subject, *_verdict(service, token))

    def _keep_in_a_file(self, service: Service) -> None:
        path = self._folder / "client" / "token"
        session = service.session(path, self._tokens["alice"])
        same = "the same" if session.read_token() == self._tokens["alice"] else "another"
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
        for subject, token in self._tokens.items():
            self._fact(subject, *_verdict(service, token))

    def _say(self, text: str) -> None:
        self._console.print(f"\n{text}", style="bold", markup=False)

    def _fact(self, what: str, value: str, style: str = "") -> None:
        from rich.text import Text

        self._console.print(Text.assemble("  ", (f"{what:12} ", "dim"), (value, style)))


def _verdict(service: Service, token: str) -> tuple[str, str]:
    """Return what is known of a token, and the colour that it is shown in."""
    report = service.inspect_token(token)
    if report.refusal is None:
        return "good", "green"
    why = f" by {report.revoked_by}: {report.revoked_because}" if report.revoked_at else ""
    return f"refused, {report.refusal.value}{why}", "red"
