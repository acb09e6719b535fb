"""`keyturn serve`: the HTTP service."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click
from click.core import ParameterSource

from keyturn.cli.base import Command, cli, command
from keyturn.cli.parameters import PATH


class _Mode(click.ParamType[int]):
    """The mode of a file, in octal."""

    name = "mode"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            mode = int(str(value), 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o777:
            self.fail(f"{value!r} is no mode like 600 or 660", param, ctx)
        return mode


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0: any."
)
@click.option("--socket", "path", type=PATH, help="A Unix socket to listen at instead.")
@click.option("--socket-mode", type=_Mode(), default="600", help="Its mode: who may connect.")
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
    host: str,
    port: int,
    path: Path | None,
    socket_mode: int,
    client_secret_file: Path | None,
    claims: tuple[str, ...],
    trusted_origins: tuple[str, ...],
    workers: int,
    plain_http: bool,
) -> None:
    """Answer over HTTP whether tokens are good: for proxies, and for what is not Python."""
    context = click.get_current_context()
    for name in ("host", "port"):
        if path is not None and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} and --socket are two places: say one")
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
        Listening(host=host, port=port, path=path, mode=socket_mode),
        options,
        announce=lambda address: click.echo(f"listening at {address}", err=True),
        host_topics=obj.host_topics,
        accept_rollback=obj.accept_rollback,
        workers=workers,
    )
