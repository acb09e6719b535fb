"""`keyturn serve`: the HTTP service."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from keyturn.cli.base import Command, cli, command
from keyturn.cli.parameters import PATH


def mode(text: str) -> int:
    """Return the mode of a file, which is written in octal."""
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise click.BadParameter(f"{text!r} is no mode like 600 or 660")
    return value


@cli.command()
@click.option("--host", help="The address to listen at; 127.0.0.1 if not given.")
@click.option("--port", type=click.IntRange(0, 65535), help="8787 if not given; 0: any.")
@click.option("--socket", "path", type=PATH, help="A Unix socket to listen at instead.")
@click.option("--socket-mode", type=mode, default="600", help="Its mode: who may connect.")
@click.option(
    "--client-secret-file",
    type=PATH,
    help="The secret of clients; without it only /auth, health and metrics are served.",
)
@click.option(
    "--claim", "claims", multiple=True, help="A claim that /auth puts into a header; repeatable."
)
@click.option(
    "--trusted-origin",
    "trusted_origins",
    multiple=True,
    help="Another origin whose pages may change something with the cookie; repeatable.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="How many processes.")
@click.option("--plain-http", is_flag=True, help="For development: cookies without TLS.")
@command
def serve(
    obj: Command,
    host: str | None,
    port: int | None,
    path: Path | None,
    socket_mode: int,
    client_secret_file: Path | None,
    claims: tuple[str, ...],
    trusted_origins: tuple[str, ...],
    workers: int,
    plain_http: bool,
) -> None:
    """Answer over HTTP whether tokens are good: for proxies, and for what is not Python."""
    if path is not None and (host is not None or port is not None):
        raise click.UsageError("--socket is a place to listen at, as --host and --port are")
    for name in ("starlette", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise click.UsageError(f"this needs {name}: pip install 'keyturn[web]'")
    from keyturn.web.options import WebOptions
    from keyturn.web.serve.app import ServeOptions
    from keyturn.web.serve.client_secret import read_client_secrets
    from keyturn.web.serve.running import Listening, run

    options = ServeOptions(
        claims=claims,
        secrets=None if client_secret_file is None else read_client_secrets(client_secret_file),
        web=WebOptions(plain_http=plain_http, trusted_origins=trusted_origins),
        log_requests=obj.settings.log_level in ("debug", "info"),
    )
    run(
        obj.settings,
        obj.password(),
        Listening(
            host=host or "127.0.0.1",
            port=8787 if port is None else port,
            path=path,
            mode=socket_mode,
        ),
        options,
        announce=lambda address: click.echo(f"listening at {address}", err=True),
        host_topics=obj.host_topics,
        accept_rollback=obj.accept_rollback,
        workers=workers,
    )
