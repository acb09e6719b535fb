"""A damaged, altered or foreign anchor: refused, and never written over by itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyturn.config import files
from keyturn.config.anchor import Anchor, folder_of
from keyturn.domain.errors import AnchorError
from keyturn.domain.session_keys import manager_id
from tests.domain import golden
from tests.domain.builders import history, mark_of

RING = golden.KEY_RING
MARKS = [mark_of(event) for event in history(RING, resets=29)]
OTHER = mark_of(history(RING, "other", resets=0)[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor.json"


@pytest.fixture
def anchor(path: Path) -> Anchor:
    """An anchor that has seen the third event of the manager `default`."""
    anchor = Anchor(path, RING.node_id)
    anchor.advance("default", MARKS[2])
    return anchor


@pytest.fixture
def place(anchor: Anchor) -> Path:
    """The file of the manager `default`."""
    return place_of(anchor, "default")


def place_of(anchor: Anchor, manager: str) -> Path:
    return folder_of(anchor.path) / f"{manager_id(manager).hex}.json"


def flips(content: bytes) -> Iterator[bytes]:
    """Yield it with one bit flipped: a bit of each byte, and each bit of some."""
    for position, byte in enumerate(content):
        bit = 1 << position % 8
        yield content[:position] + bytes([byte ^ bit]) + content[position + 1 :]


def test_an_entry_that_is_read_beside_a_write_is_read_again_once_that_is_done(
    anchor: Anchor, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = place.read_bytes()
    place.write_bytes(whole[:100] + bytes(len(whole) - 100))

    @contextlib.contextmanager
    def when_the_writer_is_done(fd: int, path: Path, *, timeout: float) -> Iterator[None]:
        place.write_bytes(whole)
        yield

    monkeypatch.setattr(files, "locked_fd", when_the_writer_is_done)

    assert anchor.read("default") == MARKS[2]


# --- refused -----------------------------------------------------------------------------------


def test_g5_an_entry_with_any_bit_flipped_is_refused(anchor: Anchor, place: Path) -> None:
    for altered in flips(place.read_bytes()):
        place.write_bytes(altered)
        with pytest.raises(AnchorError):
            anchor.read("default")


@pytest.mark.parametrize(
    "changes",
    [
        {"position": 4},
        {"position": 2**64},
        {"position": -1},
        {"digest": "0" * 64},
        {"digest": ""},
        {"signature": ""},
        {"signature": MARKS[3].signature},
        {"signature": "é"},
    ],
    ids=range(8),
)
def test_g5_an_altered_entry_is_refused(anchor: Anchor, changes: dict[str, Any]) -> None:
    anchor.replace("default", msgspec.structs.replace(MARKS[2], **changes))

    with pytest.raises(AnchorError, match="was altered"):
        anchor.read("default")
    with pytest.raises(AnchorError, match="was altered"):
        anchor.marks()


def test_g5_a_mark_of_another_manager_is_refused(anchor: Anchor) -> None:
    anchor.advance("other", MARKS[2])

    with pytest.raises(AnchorError, match="was altered"):
        anchor.read("other")


def test_g5_the_file_of_another_manager_is_refused(anchor: Anchor, place: Path) -> None:
    place.rename(place_of(anchor, "other"))

    with pytest.raises(AnchorError, match="another manager, 'default'"):
        anchor.read("other")


def test_g5_the_anchor_of_another_node_is_refused(anchor: Anchor) -> None:
    other = Anchor(anchor.path, "v" + "0" * 52)

    with pytest.raises(AnchorError, match="another node"):
        other.read("default")
    with pytest.raises(AnchorError, match="another node"):
        other.advance("default", MARKS[3])


def test_the_refusal_names_the_file_and_how_to_accept_the_log(
    anchor: Anchor, place: Path
) -> None:
    place.write_bytes(b"{}")

    with pytest.raises(AnchorError) as caught:
        anchor.read("default")

    hints = (str(place), "accept_rollback=True", "--accept-rollback")
    assert caught.value.path == str(place)
    assert all(hint in str(caught.value) for hint in hints)


def damages(content: bytes) -> Iterator[bytes]:
    yield b""
    yield b"{}".ljust(512)
    yield b"null".ljust(512)
    yield b"[" * 512
    yield b"[" * 1_000_000
    yield bytes(512)
    yield content[:511]
    yield content + b" "
    yield content.replace(b'"version":2', b'"version":3')
    yield content.replace(b"keyturn anchor", b"keyturn anchov")
    yield content.replace(b'"position":3', b'"position":"3"').replace(b"  ", b"", 1)
    yield content.replace(b'"position":3', b'"position":3.5').replace(b"  ", b"", 1)
    yield content.replace(b'"default"', rb'"\ud800"')


@pytest.mark.parametrize("number", range(13))
def test_g5_a_damaged_entry_is_refused_and_not_written_over(
    anchor: Anchor, place: Path, number: int
) -> None:
    damaged = list(damages(place.read_bytes()))[number]
    assert damaged != place.read_bytes()
    place.write_bytes(damaged)

    with pytest.raises(AnchorError):
        anchor.read("default")
    with pytest.raises(AnchorError):
        anchor.advance("default", MARKS[5])
    with pytest.raises(AnchorError):
        anchor.marks()
    assert anchor.peek("default") == 0

    assert place.read_bytes() == damaged


def test_g5_a_damaged_entry_is_no_blank_anchor(place: Path, path: Path) -> None:
    place.write_bytes(b"")

    assert not Anchor.is_blank(path)


def test_a_damaged_entry_leaves_the_others_good(anchor: Anchor, place: Path) -> None:
    anchor.advance("other", OTHER)

    place.write_bytes(b"")

    assert anchor.read("other") == OTHER


# --- accepted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(13))
def test_a_damaged_entry_is_replaced_when_the_log_is_accepted_as_it_is(
    anchor: Anchor, place: Path, number: int
) -> None:
    place.write_bytes(list(damages(place.read_bytes()))[number])

    anchor.replace("default", MARKS[0])

    assert anchor.read("default") == MARKS[0]


# --- not a file of ours ------------------------------------------------------------------------


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("x")])
@pytest.mark.parametrize("which", ["the entry", "the old anchor"])
def test_what_is_not_a_regular_file_is_no_anchor(
    path: Path, make: Callable[[Path], None], which: str
) -> None:
    anchor = Anchor(path, RING.node_id)
    anchor.create()
    make(place_of(anchor, "default") if which == "the entry" else path)

    with pytest.raises(AnchorError):
        anchor.read("default")
    with pytest.raises(AnchorError):
        anchor.advance("default", MARKS[0])
    assert anchor.peek("default") == 0


def test_an_entry_is_not_written_through_a_symlink(anchor: Anchor, place: Path) -> None:
    target = place.with_name("target")
    place.rename(target)
    place.symlink_to(target)
    before = target.read_bytes()

    with pytest.raises(AnchorError):
        anchor.replace("default", MARKS[5])

    assert target.read_bytes() == before


def use(anchor: Anchor) -> Iterator[Callable[[], object]]:
    yield anchor.create
    yield anchor.marks
    yield lambda: anchor.read("default")
    yield lambda: anchor.advance("default", MARKS[0])
    yield lambda: anchor.replace("default", MARKS[0])


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("parent", ["a file", "a file/deeper", "x" * 300, "dangling"])
def test_an_anchor_where_none_can_be_says_so(
    path: Path, parent: str, number: int, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    anchor = Anchor(tmp_path / parent / "anchor.json", RING.node_id)
    operation = list(use(anchor))[number]
    if parent == "dangling" and number in (1, 2):
        return  # nothing is there, so nothing was seen

    with pytest.raises(AnchorError):
        operation()
    assert anchor.peek("default") == 0


# --- the anchor of version 1 -------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"\xff",
        golden.ANCHOR.replace(b'"version": 1', b'"version": 2'),
        golden.ANCHOR.replace(b"keyturn anchor", b"keyturn key ring"),
        golden.ANCHOR.replace(b'"position": 4', b'"position": "4"'),
        golden.ANCHOR.replace(b'"position": 4', b'"position": 4.5'),
        golden.ANCHOR[:100],
    ],
    ids=lambda content: repr(content[:12]),
)
def test_g5_a_damaged_old_anchor_is_refused_until_the_log_is_accepted(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    anchor = Anchor(path, RING.node_id)

    with pytest.raises(AnchorError, match="accept_rollback"):
        anchor.read("default")
    with pytest.raises(AnchorError, match="accept_rollback"):
        anchor.advance("default", MARKS[0])
    assert (anchor.peek("default"), Anchor.is_blank(path)) == (0, False)
    anchor.replace("default", MARKS[0])

    assert (anchor.read("default"), path.read_bytes()) == (MARKS[0], content)


def test_g5_an_altered_old_entry_is_refused(path: Path) -> None:
    path.write_bytes(golden.ANCHOR.replace(b'"position": 4', b'"position": 3'))
    anchor = Anchor(path, golden.NODE_ID)

    with pytest.raises(AnchorError, match="was altered"):
        anchor.read("default")
    with pytest.raises(AnchorError, match="was altered"):
        anchor.marks()


def test_g5_the_old_anchor_of_another_node_is_refused(path: Path) -> None:
    path.write_bytes(golden.ANCHOR)

    with pytest.raises(AnchorError, match="another node"):
        Anchor(path, "v" + "0" * 52).read("default")


def test_g5_an_old_anchor_is_not_put_out_of_force_by_a_new_one(path: Path) -> None:
    path.write_bytes(golden.ANCHOR)

    Anchor(path, "v" + "0" * 52).create()

    with pytest.raises(AnchorError, match="another node"):
        Anchor(path, "v" + "0" * 52).read("default")
