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
        _show(console, Path(folder))
    if svg is not None:
        picture = console.export_svg(title="keyturn demo")
        # Without the web fonts that rich names: a picture should not call home.
        svg.write_text(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.S), encoding="utf-8")


def _show(console: Console, folder: Path) -> None:
    from rich.text import Text

    def say(text: str) -> None:
        console.print(f"\n{text}", style="bold", markup=False)

    def fact(what: str, value: str, style: str = "") -> None:
        console.print(Text.assemble("  ", (f"{what:12} ", "dim"), (value, style)))

    password = secrets.token_urlsafe(12)
    with keyturn.open(path=folder / "data", password=password) as service:
        say("A key ring (Argon2id, AES-256-GCM) and a log (SQLite), in a new folder")
        fact("node", service.node_id)

        say("Two tokens, of half an hour each")
        tokens = {
            subject: service.create_token(expiry=1800, subject=subject)
            for subject in ("alice", "bob")
        }
        forged = tokens["alice"][:-8] + "AAAAAAAA"
        for subject, token in (*tokens.items(), ("forged", forged)):
            fact(subject, *_verdict(service, token))

        say("A client keeps its token in a file")
        path = folder / "client" / "token"
        session = service.session(path, tokens["alice"])
        same = "the same" if session.read_token() == tokens["alice"] else "another"
        fact(f"mode {path.stat().st_mode & 0o777:04o}", f"read back: {same}")

        arguments = ["reset", "--reason", "laptop stolen", "--initiator", "alice"]
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", "keyturn", "--path", str(folder / "data"), *arguments],
            env={**os.environ, "KEYTURN_PASSWORD": password},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        say(f"Another process: keyturn {shlex.join(arguments)}")
        for subject, token in tokens.items():
            fact(subject, *_verdict(service, token))

    with keyturn.open(path=folder / "data", password=password) as service:
        say("The service was closed, and rebuilt its key from the log")
        fact("a new token", *_verdict(service, service.create_token(subject="carol")))

        say("The history of the keys, each line signed and chained to the one before")
        tables.print_history(console, list(service.history()))


def _verdict(service: Service, token: str) -> tuple[str, str]:
    """Return what is known of a token, and the colour that it is shown in."""
    report = service.inspect_token(token)
    if report.refusal is None:
        return "good", "green"
    why = f" by {report.revoked_by}: {report.revoked_because}" if report.revoked_at else ""
    return f"refused, {report.refusal.value}{why}", "red"
