"""docs/web/serve.md and client.md are code: their snippets run, and name all there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import keyturn
from keyturn.cli.serve import serve
from keyturn.web.serve import openapi
from tests.web.test_httpx_auth import PASSWORD, Host, serving
from tests.web.test_serve_examples import free_port, need

DOCS = Path(__file__).parent.parent.parent / "docs" / "web"
SERVE, CLIENT = ((DOCS / name).read_text("utf-8") for name in ("serve.md", "client.md"))


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    need("curl")
    [block] = re.findall(r"^```console\n(.*?)^```", SERVE, re.M | re.S)
    port = free_port()
    commands = "\n".join(re.findall(r"^\$ (.+)", block, re.M)).replace("8787", str(port))
    commands = commands.replace(" serve ", f" serve --port {port} ")
    listens = f"until (: > /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.02; done"
    commands = commands.replace("curl -s --retry", f"{listens}\ncurl -s --retry")  # after 1 s
    scripts = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"set -m\n{commands}\nwait"],
        cwd=tmp_path,
        env={**environment, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "keyturn-subject: alice" in done.stdout
    assert "keyturn-claim-role: admin" in done.stdout


def test_the_client_of_the_page_logs_in(tmp_path: Path) -> None:
    [snippet] = re.findall(r"^```python\n(.*?)^```", CLIENT, re.M | re.S)
    with keyturn.open(store="memory:", password=None) as service:
        for host in serving(Host(service)):
            code = snippet.replace("http://127.0.0.1:8000", host.url)
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", code],
                cwd=tmp_path,
                env={**os.environ, "KEYTURN_PASSWORD": PASSWORD},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            with keyturn.ClientSession(tmp_path / "client" / "token") as session:
                assert (done.stdout, done.stderr) == ("200\n", "")
                assert service.verify_token(session.read_token())


def test_every_path_and_option_is_on_the_page() -> None:
    paths = list(openapi.document(())["paths"])
    options = [option for parameter in serve.params for option in parameter.opts]

    assert [name for name in paths if name not in SERVE] == []
    assert [name for name in options if name not in SERVE] == []
