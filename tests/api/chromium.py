"""Opens a page in the real Chromium, and asks it what it sees."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / ".axe/node_modules/axe-core/axe.min.js"
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on the PATH: apt-get install chromium"
)
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="there is no axe: npm install --no-save --prefix .axe axe-core@4"
)


def chromium(file: Path, *options: str, output: str = "--dump-dom") -> str:
    """Open a page in headless Chromium, and return its DOM or what else was asked for."""
    assert CHROMIUM is not None
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars"
    flags += " disable-background-networking disable-component-update disable-sync"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [
                CHROMIUM,
                *(f"--{flag}" for flag in flags.split()),
                f"--user-data-dir={profile}",
                "--virtual-time-budget=3000",
                *options,
                output,
                file.as_uri(),
            ],
            capture_output=True,
            encoding="utf-8",
            timeout=45,
            check=True,
        ).stdout


def with_script(text: str, script: str) -> str:
    """A copy of a page whose policy allows one more script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def drive(tmp_path: Path, text: str, steps: str, *options: str) -> dict[str, Any]:
    """Run steps in a copy of a page, and return what they put into `seen`."""
    script = f"""
const $ = (css) => document.querySelector(css), $$ = (css) => [...document.querySelectorAll(css)];
const column = (n) => $$(".changes tbody tr:not([hidden])").map((r) => r.cells[n].textContent);
const seen = {{}};
const say = () => {{
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen); document.body.append(out);
}};
(async () => {{ {steps} }})().catch((error) => {{ seen.error = String(error); }}).finally(say);
"""
    file = tmp_path / "page.html"
    file.write_text(with_script(text, script), "utf-8")
    found = re.search(r'<pre id="seen">(.*?)</pre>', chromium(file, *options), re.DOTALL)
    assert found is not None
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen
