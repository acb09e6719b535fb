"""The pages of docs/web are code: the snippets of each run, one after the other."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn.web import WebOptions
from keyturn.web.cookies import REFRESHED_TOKEN, session_cookies
from keyturn.web.incoming import CSRF_HEADER
from keyturn.web.live import SESSION_OVER, TRY_AGAIN_LATER
from tests.warm_python import warm_python

PAGES = sorted((Path(__file__).parent.parent.parent / "docs" / "web").glob("*.md"))
NAMES = {"asgi.md", "django.md", "fastapi.md", "flask.md"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python that has imported most already, where a warning is an error."""
    folder = tmp_path_factory.mktemp("p")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "error")
        with warm_python(folder) as python:
            python.make_programs(folder)
            yield folder / "python"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name in NAMES], ids=lambda p: p.name
)
def test_the_snippets_of_a_page_run(page: Path, python: Path, tmp_path: Path) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    (tmp_path / "page.py").write_text("\n".join(snippets), "utf-8")

    done = subprocess.run(
        [python, "page.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "assert " in snippets[-1]
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_of_the_middleware_names_all_that_is_seen_of_it() -> None:
    (page,) = (page.read_text("utf-8") for page in PAGES if page.name == "asgi.md")
    for options in (WebOptions(), WebOptions(plain_http=True)):
        for cookie in session_cookies("token", 60, options):
            assert f"`{cookie.partition('=')[0]}`" in page
    for field in dataclasses.fields(WebOptions):
        default = str(field.default).removesuffix(".0")
        assert f"| `{field.name}` | `{default}` |" in page
    for word in (REFRESHED_TOKEN, CSRF_HEADER, str(SESSION_OVER), str(TRY_AGAIN_LATER)):
        assert word in page
