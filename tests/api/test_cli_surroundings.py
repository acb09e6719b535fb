"""The command line in surroundings that are not those of a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keyturn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with keyturn.open(path=tmp_path / "data", password=None) as service:
        service.reset_key("smörgåsbord ☃")
    return tmp_path / "data"


def run(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the shell, in which `keyturn` is the command line."""
    script = f'keyturn() {{ "{sys.executable}" -m keyturn --path "{folder}" "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **environ},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def test_an_old_locale_shows_characters_that_it_lacks_in_another_way(folder: Path) -> None:
    done = run("keyturn history", folder, PYTHONUTF8="0", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert "sm\\xf6rg\\xe5sbord" in done.stdout.replace("\n", "")


@pytest.mark.parametrize(
    "standard_input",
    ["<&-", "</dev/null", "< <(head -c 20000 /dev/urandom)", r"< <(printf 'a\0b\xff\xfe')"],
    ids=["closed", "nothing", "binary", "UTF-16"],
)
def test_whatever_comes_as_a_token_is_refused_in_one_line(
    folder: Path, standard_input: str
) -> None:
    done = run(f"keyturn token verify - {standard_input}", folder)

    assert done.returncode == 1
    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_path_that_is_too_long_is_one_line(folder: Path) -> None:
    done = run(f"keyturn --path {'n' * 300} init", folder)

    assert "File name too long" in done.stderr
    assert len(done.stderr.splitlines()) == 1
