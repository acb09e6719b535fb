"""The anchor: it only moves forward, and an entry that was not signed is of no use."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.config import anchor as anchor_module
from keyturn.config.anchor import Anchor, Mark
from keyturn.domain import provenance
from keyturn.domain.errors import AnchorError
from keyturn.domain.session_keys import manager_id
from tests.domain import golden
from tests.domain.builders import history, mark_of

RING = golden.KEY_RING
MARKS = [mark_of(event) for event in history(RING, resets=29)]
OTHERS = [mark_of(event) for event in history(RING, "other", resets=2)]

WRITER = """
import json, sys
from pathlib import Path
from keyturn.config.anchor import Anchor, Mark
folder, node_id, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
marks = [Mark(**mark) for mark in json.loads(sys.argv[4])]
anchor = Anchor(folder / "anchor.json", node_id)
(folder / f"ready-{name}").touch()
while not (folder / "go").exists():
    pass
for mark in marks:
    anchor.advance("default", mark)
    assert anchor.read("default").position >= mark.position
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor.json"


@pytest.fixture
def anchor(path: Path) -> Anchor:
    """An anchor that has seen the third event of the manager `default`."""
    anchor = Anchor(path, RING.node_id)
    anchor.advance("default", MARKS[2])
    return anchor


def as_json(marks: list[Mark]) -> str:
    return msgspec.json.encode(marks).decode()


# --- moving ------------------------------------------------------------------------------------


def test_where_the_log_was_seen_to_end_is_kept(anchor: Anchor, path: Path) -> None:
    assert Anchor(str(path), RING.node_id).read("default") == MARKS[2]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.sampled_from(MARKS), min_size=1, max_size=12))
def test_g5_it_only_moves_forward(path: Path, order: list[Mark]) -> None:
    path.unlink(missing_ok=True)
    anchor = Anchor(path, RING.node_id)

    seen: list[Any] = []
    for mark in order:
        anchor.advance("default", mark)
        seen.append(anchor.read("default"))

    farthest = [max(order[: n + 1], key=lambda mark: mark.position) for n in range(len(order))]
    assert seen == farthest


def test_g5_another_event_at_the_same_position_does_not_replace_the_mark(anchor: Anchor) -> None:
    fork = mark_of(history(RING, resets=2)[2])  # sealed anew, so another digest

    anchor.advance("default", fork)

    assert anchor.read("default") == MARKS[2] != fork


def test_g5_it_only_moves_forward_when_two_processes_move_it(path: Path) -> None:
    orders = {"odd": MARKS[::2], "even": MARKS[1::2]}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path.parent), RING.node_id, name, as_json(marks)]
        )
        for name, marks in orders.items()
    ]
    while len(list(path.parent.glob("ready-*"))) < 2:
        time.sleep(0.01)
    (path.parent / "go").touch()

    anchor, seen = Anchor(path, RING.node_id), [0]
    while any(process.poll() is None for process in processes):
        mark = anchor.read("default")
        seen.append(mark.position if mark else 0)

    assert [process.wait() for process in processes] == [0, 0]
    assert seen == sorted(seen)
    assert anchor.read("default") == MARKS[-1]


def test_an_accepted_roll_back_moves_it_back(anchor: Anchor) -> None:
    anchor.replace("default", MARKS[0])

    assert anchor.read("default") == MARKS[0]


def test_managers_have_entries_of_their_own(anchor: Anchor) -> None:
    anchor.advance("other", OTHERS[0])

    assert (anchor.read("default"), anchor.read("other")) == (MARKS[2], OTHERS[0])


def test_a_purged_history_keeps_its_last_mark_and_need_not_reach_it(anchor: Anchor) -> None:
    mark = msgspec.structs.replace(MARKS[2], purged=True)

    anchor.replace("default", mark)

    assert anchor.read("default") == mark
    assert "default" not in anchor.marks()


def test_a_manager_that_was_never_seen_has_no_mark(anchor: Anchor) -> None:
    assert anchor.read("nobody") is None


# --- making ------------------------------------------------------------------------------------


def test_without_a_file_nothing_was_seen(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)

    assert (anchor.exists(), anchor.read("default"), Anchor.is_blank(path)) == (False, None, True)


def test_a_new_anchor_exists_and_is_blank(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)

    anchor.create()

    assert (anchor.exists(), Anchor.is_blank(path)) == (True, True)


def test_creating_one_again_loses_nothing(anchor: Anchor) -> None:
    anchor.create()

    assert anchor.read("default") == MARKS[2]


def test_g5_a_new_anchor_is_not_put_over_that_of_another_node(anchor: Anchor, path: Path) -> None:
    before = path.read_bytes()

    Anchor(path, "v" + "0" * 52).create()

    assert path.read_bytes() == before


def test_a_blank_anchor_of_another_node_is_made_this_nodes(path: Path) -> None:
    Anchor(path, "v" + "0" * 52).create()

    Anchor(path, RING.node_id).create()

    assert Anchor(path, RING.node_id).read("default") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff"])
def test_a_damaged_anchor_is_not_blank(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert not Anchor.is_blank(path)


def test_an_anchor_that_has_seen_something_is_not_blank(anchor: Anchor) -> None:
    assert not Anchor.is_blank(anchor.path)


@pytest.mark.parametrize("position", [0, 9])
def test_its_mode_is_0600_however_it_was_written(anchor: Anchor, position: int) -> None:
    anchor.replace("default", MARKS[position])

    assert stat.S_IMODE(anchor.path.stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_made_private(anchor: Anchor) -> None:
    anchor.path.chmod(0o644)

    anchor.read("default")

    assert stat.S_IMODE(anchor.path.stat().st_mode) == 0o600


# --- kept promises -----------------------------------------------------------------------------


def test_an_auditor_checks_the_file_with_the_node_id_alone(anchor: Anchor) -> None:
    file = json.loads(anchor.path.read_bytes())

    signed = [
        provenance.is_signed(RING.node_id, manager_id(name), **mark)
        for name, mark in file["managers"].items()
    ]

    assert signed == [True]


def test_g7_the_anchor_of_version_0_1_is_believed(path: Path) -> None:
    path.write_bytes(golden.ANCHOR)

    mark = Anchor(path, golden.NODE_ID).read("default")

    assert mark is not None
    assert (mark.position, mark.digest) == (4, golden.DIGESTS[-1])


def test_an_anchor_that_would_be_too_large_to_read_again_is_not_written(
    anchor: Anchor, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_module, "_LIMIT", path.stat().st_size + 100)

    with pytest.raises(AnchorError, match="no room for another manager"):
        anchor.advance("other", OTHERS[0])

    assert anchor.read("default") == MARKS[2]
    anchor.advance("default", MARKS[3])
