"""The verifier in `examples/verify`, written from docs/spec alone, agrees with Keyturn."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import keyturn
from keyturn.projections.export import export_lines
from tests.domain.builders import OLD_LOGS
from tests.domain.golden import NODE_ID
from tests.spec.make_vectors import FOLDER

VERIFIER = Path(__file__).parent.parent.parent / "examples" / "verify"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="it runs on Node")


def node(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", VERIFIER / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_agrees_with_every_vector() -> None:
    done = node("vectors.mjs", FOLDER)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 wrong\n")


@pytest.mark.parametrize("name", sorted(path.name for path in OLD_LOGS.iterdir()))
def test_it_finds_every_old_log_good(name: str) -> None:
    done = node("verify.mjs", OLD_LOGS / name, "--node", NODE_ID)

    assert (done.returncode, done.stderr) == (0, "")


class Kept:
    """A log of a service as a file, and a checkpoint of it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.checkpoint = folder / "log.jsonl", folder / "checkpoint"
        with keyturn.open(path=folder / "data", password=None) as service:
            service.end_session(service.create_token(subject="alice"), reason="logged out")
            service.rotate_key(overlap=3600, reason="monthly")
            service.reset_key(reason="laptop stolen")
            self.node_id = service.node_id
            self.checkpoint.write_text(f"{service.checkpoint()}\n")
            self.lines = [*export_lines(service.log.rows(), self.node_id)]

    def verify(self, lines: list[bytes]) -> subprocess.CompletedProcess[str]:
        self.file.write_bytes(b"".join(lines))
        return node("verify.mjs", self.file, "--node", self.node_id, "--against", self.checkpoint)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


def closed(lines: list[bytes]) -> list[bytes]:
    """The lines with a last one that is right for them."""
    end = {"events": len(lines) - 1, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    return [*lines, json.dumps(end, separators=(",", ":")).encode() + b"\n"]


def test_it_finds_a_new_log_good_against_its_checkpoint(kept: Kept) -> None:
    done = kept.verify(kept.lines)

    assert (done.returncode, done.stdout) == (0, f"good: 4 events of {kept.node_id}\n")


def test_it_finds_a_reason_that_was_altered(kept: Kept) -> None:
    lines = [line.replace(b"laptop stolen", b"as planned!!!") for line in kept.lines]

    done = kept.verify(closed(lines[:-1]))

    assert (done.returncode, done.stdout) == (1, "bad: line 5: its signature is wrong\n")


def test_it_finds_that_an_event_was_taken_out(kept: Kept) -> None:
    done = kept.verify(closed([*kept.lines[:2], *kept.lines[3:-1]]))

    assert done.returncode == 1
    assert "line 3: events before it are missing" in done.stdout


def test_it_finds_by_the_checkpoint_that_the_end_was_cut_off(kept: Kept) -> None:
    done = kept.verify(closed(kept.lines[:-2]))

    assert done.returncode == 1
    assert "does not hold the event that the checkpoint has seen" in done.stdout


def test_it_finds_that_a_log_is_another_nodes(kept: Kept) -> None:
    done = node("verify.mjs", OLD_LOGS / "v2.jsonl", "--node", kept.node_id)

    assert done.returncode == 1
    assert "not that of an export of this node" in done.stdout
