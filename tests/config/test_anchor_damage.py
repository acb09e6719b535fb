"""A damaged, altered or foreign anchor: refused, and never written over by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyturn.config.anchor import Anchor
from keyturn.domain.errors import AnchorError
from tests.domain import golden
from tests.domain.builders import history, mark_of

RING = golden.KEY_RING
MARKS = [mark_of(event) for event in history(RING, resets=29)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor.json"


@pytest.fixture
def anchor(path: Path) -> Anchor:
    """An anchor that has seen the third event of the manager `default`."""
    anchor = Anchor(path, RING.node_id)
    anchor.advance("default", MARKS[2])
    return anchor


def flips(content: bytes, positions: range) -> Iterator[bytes]:
    for position in positions:
        for bit in range(8):
            flipped = bytes([content[position] ^ (1 << bit)])
            yield content[:position] + flipped + content[position + 1 :]


def test_g5_an_anchor_with_any_bit_flipped_is_refused(anchor: Anchor) -> None:
    content = anchor.path.read_bytes()
    name = content.index(b"default")  # under another name it is the entry of another manager

    for altered in flips(content, range(name)):
        anchor.path.write_bytes(altered)
        with pytest.raises(AnchorError):
            anchor.read("default")
    for altered in flips(content, range(name + len(b"default"), len(content) - 1)):
        anchor.path.write_bytes(altered)
        with pytest.raises(AnchorError):
            anchor.read("default")


@pytest.mark.parametrize(
    "changes",
    [
        {"position": 4},
        {"position": 2**70},
        {"position": -1},
        {"digest": "0" * 64},
        {"digest": ""},
        {"signature": ""},
        {"signature": MARKS[3].signature},
        {"signature": "é"},
    ],
    ids=str,
)
def test_g5_an_altered_entry_is_refused(anchor: Anchor, changes: dict[str, Any]) -> None:
    anchor.replace("default", msgspec.structs.replace(MARKS[2], **changes))

    with pytest.raises(AnchorError, match="was altered"):
        anchor.read("default")


def test_g5_an_entry_of_another_manager_is_refused(anchor: Anchor) -> None:
    anchor.advance("other", MARKS[2])

    with pytest.raises(AnchorError, match="'other'"):
        anchor.read("other")


def test_g5_the_anchor_of_another_node_is_refused(anchor: Anchor) -> None:
    other = Anchor(anchor.path, "v" + "0" * 52)

    with pytest.raises(AnchorError, match="another node"):
        other.read("default")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        golden.ANCHOR.replace(b'"version": 1', b'"version": 2'),
        golden.ANCHOR.replace(b"keyturn anchor", b"keyturn key ring"),
        golden.ANCHOR.replace(b'"position": 4', b'"position": "4"'),
        golden.ANCHOR.replace(b'"position": 4', b'"position": 4.5'),
        golden.ANCHOR[:100],
    ],
    ids=lambda content: repr(content[:12]),
)
def test_g5_a_damaged_anchor_is_refused_and_not_written_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    anchor = Anchor(path, RING.node_id)

    with pytest.raises(AnchorError):
        anchor.read("default")
    with pytest.raises(AnchorError):
        anchor.advance("default", MARKS[0])

    assert path.read_bytes() == content


def test_a_damaged_anchor_is_replaced_when_the_log_is_accepted_as_it_is(path: Path) -> None:
    path.write_bytes(b"damaged")
    anchor = Anchor(path, RING.node_id)

    anchor.replace("default", MARKS[0])

    assert anchor.read("default") == MARKS[0]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("x")])
def test_what_is_not_a_regular_file_is_no_anchor(path: Path, make: Any) -> None:
    make(path)

    with pytest.raises(AnchorError):
        Anchor(path, RING.node_id).read("default")


def test_an_anchor_that_cannot_be_written_says_so(path: Path) -> None:
    path.parent.joinpath("file").touch()
    anchor = Anchor(path.parent / "file" / "anchor.json", RING.node_id)

    with pytest.raises(AnchorError, match="cannot be written"):
        anchor.advance("default", MARKS[0])
