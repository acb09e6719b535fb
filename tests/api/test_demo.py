"""`keyturn demo` does what it says."""

from __future__ import annotations

from pathlib import Path

from tests.api.command_line import Keyturn


def test_the_demo_shows_the_main_job_on_real_parts(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"

    done = Keyturn(tmp_path)("demo", "--svg", str(picture))

    lines = done.stdout.splitlines()
    assert sum(line.split()[:2] == ["alice", "good"] for line in lines) == 1
    assert "refused, revoked by alice: laptop stolen" in done.stdout
    assert any("reset" in line and "laptop stolen" in line for line in lines[-6:])
    assert picture.read_text("utf-8").startswith("<svg")
