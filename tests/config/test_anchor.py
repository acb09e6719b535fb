"""The anchor: an entry for each manager that only moves forward, in a file of its own."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.config.anchor import SIZE, Anchor, folder_of
from keyturn.domain import chain
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import manager_id
from tests.domain import golden
from tests.domain.builders import history, mark_of

RING = golden.KEY_RING
MARKS = [mark_of(event) for event in history(RING, resets=29)]
OTHERS = [mark_of(event) for event in history(RING, "other", resets=2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor.json"


@pytest.fixture
def anchor(path: Path) -> Anchor:
    """An anchor that has seen the third event of the manager `default`."""
    anchor = Anchor(path, RING.node_id)
    anchor.advance("default", MARKS[2])
    return anchor


def place_of(anchor: Anchor, manager: str = "default") -> Path:
    return folder_of(anchor.path) / f"{manager_id(manager).hex}.json"


def mark_for(manager: str, position: int = 1) -> Mark:
    digest = f"{position:064x}"
    signature = chain.sign(RING, manager_id(manager), position, digest)
    return Mark(position, digest, signature)


# --- moving ------------------------------------------------------------------------------------


def test_where_the_log_was_seen_to_end_is_kept(anchor: Anchor, path: Path) -> None:
    assert Anchor(str(path), RING.node_id).read("default") == MARKS[2]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.sampled_from(MARKS), min_size=1, max_size=12))
def test_g5_it_only_moves_forward(path: Path, order: list[Mark]) -> None:
    anchor = Anchor(path, RING.node_id)
    place_of(anchor).unlink(missing_ok=True)

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


def test_an_accepted_rollback_moves_it_back(anchor: Anchor) -> None:
    anchor.replace("default", MARKS[0])

    assert anchor.read("default") == MARKS[0]


def test_an_accepted_rollback_makes_an_entry_where_none_was(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)

    anchor.replace("default", MARKS[0])

    assert anchor.read("default") == MARKS[0]


def test_managers_have_entries_of_their_own(anchor: Anchor) -> None:
    anchor.advance("other", OTHERS[0])

    assert (anchor.read("default"), anchor.read("other")) == (MARKS[2], OTHERS[0])


@pytest.mark.parametrize("flag", ["imported", "purged"])
def test_what_was_noted_beside_a_mark_is_kept(anchor: Anchor, flag: str) -> None:
    mark = msgspec.structs.replace(MARKS[2], **{flag: True})

    anchor.replace("default", mark)

    assert anchor.read("default") == mark


def test_moving_on_forgets_that_the_mark_was_imported(anchor: Anchor) -> None:
    anchor.replace("default", msgspec.structs.replace(MARKS[2], imported=True))

    anchor.advance("default", MARKS[3])

    assert anchor.read("default") == MARKS[3]


def test_a_manager_that_was_never_seen_has_no_mark(anchor: Anchor) -> None:
    assert (anchor.read("nobody"), anchor.peek("nobody")) == (None, 0)


def test_an_entry_that_was_removed_is_no_entry(anchor: Anchor) -> None:
    place_of(anchor).unlink()

    assert (anchor.read("default"), anchor.exists()) == (None, True)


def test_peeking_gives_the_position(anchor: Anchor) -> None:
    assert anchor.peek("default") == MARKS[2].position


# --- all entries -------------------------------------------------------------------------------


def test_an_audit_is_given_every_entry_by_its_managers_name(anchor: Anchor) -> None:
    purged = msgspec.structs.replace(OTHERS[0], purged=True)
    anchor.replace("other", purged)

    assert anchor.marks() == {"default": MARKS[2], "other": purged}


@pytest.mark.parametrize("name", ["x" * 100, "é" * 75, "日" * 50, "\N{KEY}" * 35])
def test_a_name_is_kept_where_it_fits(path: Path, name: str) -> None:
    anchor, mark = Anchor(path, RING.node_id), mark_for(name)

    anchor.advance(name, mark)

    assert (anchor.read(name), anchor.marks()) == (mark, {name: mark})


@pytest.mark.parametrize("name", ["\N{KEY}" * 100, "日" * 100, '"' * 100])
@pytest.mark.parametrize("position", [1, 2**63 - 1])
def test_where_the_name_does_not_fit_its_id_stands_for_it(
    path: Path, name: str, position: int
) -> None:
    anchor = Anchor(path, RING.node_id)
    mark = msgspec.structs.replace(mark_for(name, position), imported=True)

    anchor.advance(name, mark)

    assert (anchor.read(name), anchor.marks()) == (mark, {manager_id(name).hex: mark})
    assert place_of(anchor, name).stat().st_size == SIZE


def test_without_a_folder_there_are_no_entries(path: Path) -> None:
    assert Anchor(path, RING.node_id).marks() == {}


def test_what_killed_writers_left_behind_is_no_entry(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)
    anchor.create()
    (folder_of(path) / f".{manager_id('default').hex}.json.0123456789abcdef.tmp").touch()

    assert (anchor.marks(), Anchor.is_blank(path)) == ({}, True)


# --- making ------------------------------------------------------------------------------------


def test_without_a_folder_nothing_was_seen(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)

    assert (anchor.exists(), anchor.read("default"), Anchor.is_blank(path)) == (False, None, True)


def test_a_new_anchor_exists_and_is_blank(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)

    anchor.create()

    assert (anchor.exists(), Anchor.is_blank(path)) == (True, True)


def test_creating_one_again_loses_nothing(anchor: Anchor) -> None:
    anchor.create()

    assert anchor.read("default") == MARKS[2]


def test_an_anchor_that_has_seen_something_is_not_blank(anchor: Anchor) -> None:
    assert not Anchor.is_blank(anchor.path)


def test_its_folder_and_its_files_are_for_their_owner_only(anchor: Anchor) -> None:
    anchor.advance("other", OTHERS[0])
    anchor.replace("default", MARKS[0])

    folder = folder_of(anchor.path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600] * 3


def test_a_file_that_others_could_write_to_is_made_private_when_it_is_written(
    anchor: Anchor,
) -> None:
    place_of(anchor).chmod(0o666)

    anchor.advance("default", MARKS[3])

    assert stat.S_IMODE(place_of(anchor).stat().st_mode) == 0o600


def test_reading_leaves_the_evidence_as_it_is(anchor: Anchor) -> None:
    place_of(anchor).chmod(0o440)
    before = place_of(anchor).stat()

    anchor.read("default"), anchor.peek("default"), anchor.marks()

    after = place_of(anchor).stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


# --- kept promises -----------------------------------------------------------------------------


def test_an_auditor_checks_an_entry_with_the_node_id_alone(anchor: Anchor) -> None:
    entry = json.loads(place_of(anchor).read_bytes())

    assert (entry["manager"], entry["node_id"]) == ("default", RING.node_id)
    assert chain.is_signed(RING.node_id, manager_id("default"), **entry["mark"])


@pytest.mark.parametrize("position", [1, 9, 10, 2**63 - 1])
def test_g5_an_entry_is_one_line_in_one_sector(path: Path, position: int) -> None:
    anchor = Anchor(path, RING.node_id)

    anchor.advance("default", mark_for("default", position))

    content = place_of(anchor).read_bytes()
    assert (len(content), content.index(b"\n")) == (512, 511)


def test_g1_after_a_power_cut_the_older_content_is_as_good(anchor: Anchor) -> None:
    older = place_of(anchor).read_bytes()
    anchor.advance("default", MARKS[5])
    place_of(anchor).write_bytes(older)

    found = anchor.read("default")
    anchor.advance("default", MARKS[6])

    assert (found, anchor.read("default")) == (MARKS[2], MARKS[6])


def test_an_entrys_change_touches_no_file_but_its_own(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)
    mark = mark_for("default")
    names = [f"tenant {number}" for number in range(50)]

    for name in names:
        anchor.advance(name, mark)
    before = stamps(path)
    anchor.advance("tenant 7", MARKS[1])

    changed = {name for name, stamp in stamps(path).items() if stamp != before[name]}
    assert len(before) == 50
    assert changed == {place_of(anchor, "tenant 7").name}


def stamps(path: Path) -> dict[str, tuple[int, int]]:
    return {
        entry.name: (entry.stat().st_ino, entry.stat().st_mtime_ns)
        for entry in folder_of(path).glob("*.json")
    }


# --- the anchor of version 1 -------------------------------------------------------------------


def version_1(**managers: Mark) -> bytes:
    file = {"format": "keyturn anchor", "version": 1, "node_id": RING.node_id}
    return msgspec.json.format(msgspec.json.encode({**file, "managers": managers})) + b"\n"


@pytest.fixture
def old(path: Path) -> Anchor:
    """An anchor of version 1 that has seen two managers."""
    path.write_bytes(version_1(default=MARKS[2], other=OTHERS[0]))
    return Anchor(path, RING.node_id)


def test_g7_the_anchor_of_version_0_1_is_believed(path: Path) -> None:
    path.write_bytes(golden.ANCHOR)

    mark = Anchor(path, golden.NODE_ID).read("default")

    assert mark is not None
    assert (mark.position, mark.digest) == (4, golden.DIGESTS[-1])


def test_g7_an_old_anchor_is_read_and_goes_on(old: Anchor) -> None:
    before = old.path.read_bytes()
    old.advance("default", MARKS[3])

    assert (old.read("default"), old.read("other")) == (MARKS[3], OTHERS[0])
    assert (old.peek("default"), old.peek("other")) == (4, 1)
    assert old.marks() == {"default": MARKS[3], "other": OTHERS[0]}
    assert old.path.read_bytes() == before


@pytest.mark.parametrize("mark", MARKS[:3])
def test_g5_an_old_anchor_does_not_go_back(old: Anchor, mark: Mark) -> None:
    old.advance("default", mark)

    assert (old.read("default"), old.marks()["default"]) == (MARKS[2], MARKS[2])


def test_an_old_anchor_goes_back_when_a_rollback_is_accepted(old: Anchor) -> None:
    old.replace("default", MARKS[0])

    assert (old.read("default"), old.marks()["default"]) == (MARKS[0], MARKS[0])


def test_g7_an_old_anchor_says_that_a_history_was_purged(path: Path) -> None:
    mark = msgspec.structs.replace(MARKS[2], purged=True)
    path.write_bytes(version_1(default=mark))

    assert Anchor(path, RING.node_id).read("default") == mark


def test_an_old_entry_whose_managers_name_was_left_out_of_the_new_one_counts_once(
    path: Path,
) -> None:
    name = "\N{KEY}" * 100
    path.write_bytes(version_1(**{name: mark_for(name)}))
    anchor, newer = Anchor(path, RING.node_id), mark_for(name, 2)

    anchor.advance(name, newer)

    assert anchor.marks() == {manager_id(name).hex: newer}


def test_an_old_anchor_exists_and_is_blank_only_without_managers(path: Path) -> None:
    anchor = Anchor(path, RING.node_id)

    answers = []
    for content in (version_1(), version_1(default=MARKS[0])):
        path.write_bytes(content)
        answers.append((anchor.exists(), Anchor.is_blank(path)))

    assert answers == [(True, True), (True, False)]


def test_a_blank_old_anchor_of_another_node_is_no_hindrance(path: Path) -> None:
    path.write_bytes(version_1().replace(RING.node_id.encode(), b"v" + b"0" * 52))
    anchor = Anchor(path, RING.node_id)

    anchor.advance("default", MARKS[0])

    assert (anchor.read("default"), anchor.read("other")) == (MARKS[0], None)
