"""Writes `docs/spec/vectors`: `python -m tests.spec.make_vectors`.

Released vectors do not change: add to them. Everything in here is public and fixed, so the files
come out the same each time.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from keyturn.config.anchor import Anchor
from keyturn.config.local_key_ring import KeyRing
from keyturn.domain import chain
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import manager_id
from keyturn.domain.stored_events import read_event
from tests.domain.builders import old_rows
from tests.spec.building import NODE, OTHER, RING, Vector, bad, good
from tests.spec.vectors_of_logs import events, exports
from tests.spec.vectors_of_secrets import key_rings, sealed_keys, tokens

FOLDER = Path(__file__).parent.parent.parent / "docs" / "spec" / "vectors"
TAG = "keyturn-checkpoint-v1"


def node_ids() -> list[Vector]:
    keys = [bytes(32), bytes([255]) * 32, bytes(range(32))]
    return [
        good("the id of the identity in all vectors", node_id=NODE, public_key=public_key(RING)),
        *(good("any 32 bytes", node_id=text, public_key=key.hex()) for key, text in (
            (key, "v" + base64.b32hexencode(key).decode().rstrip("=").lower()) for key in keys
        )),
        bad("it has upper case", node_id=NODE.upper()),
        bad("another multibase code stands in front", node_id="b" + NODE[1:]),
        bad("it is too short", node_id=NODE[:-1]),
        bad("it is too long", node_id=NODE + "0"),
        bad("it has padding", node_id=NODE[:-4] + "===="),
        bad("w is no character of base32hex", node_id=NODE[:-1] + "w"),
        bad("the four unused bits at the end are not zero", node_id=NODE[:-1] + "h"),
    ]  # fmt: skip


def streams() -> list[Vector]:
    names = ("default", "a", "Zoë", "管理", "a/b", " x ", "n" * 100)
    return [good("a name", manager=n, stream=manager_id(n).hex) for n in names] + [
        bad("an empty name", manager=""),
        bad("only spaces", manager="  "),
        bad("more than 100 characters", manager="n" * 101),
        bad("a line feed is not printable", manager="a\nb"),
    ]


def public_key(ring: KeyRing) -> str:
    return base64.b32hexdecode(ring.node_id[1:].upper() + "====").hex()


def checkpoints() -> list[Vector]:
    line = str(Checkpoint.of(read_event(old_rows("v2.jsonl")[-1])))
    purge = str(Checkpoint.of(read_event(old_rows("v2.jsonl", "purged")[0])))
    _, node_id, name, position, digest, at, _ = line.split(" ")
    odd = chain.sign(RING, manager_id("Zoë/1 2"), 7, "ab" * 32)
    spelt = f"{TAG} {NODE} Zo%C3%AB%2F1%202 7 {'ab' * 32} 2026-01-01T00:00:00Z {odd}"
    return [
        good("the end of the old log", line=line, manager=name, position=int(position)),
        good("a purge", line=purge, manager="purged", position=2),
        good("a name with other characters", line=spelt, manager="Zoë/1 2", position=7),
        bad("hex in lower case", line=spelt.replace("%C3%AB", "%c3%ab")),
        bad("another position", line=line.replace(f" {position} ", " 15 ")),
        bad("another digest", line=line.replace(digest, "0" * 64)),
        bad("another name", line=line.replace(f" {name} ", " a ")),
        bad("another node", line=line.replace(node_id, OTHER.node_id)),
        bad("a leading zero", line=line.replace(f" {position} ", f" 0{position} ")),
        bad("an offset instead of Z", line=line.replace(at, at.replace("Z", "+00:00"))),
        bad("two spaces", line=line.replace(" ", "  ", 1)),
        bad("a part too few", line=line.rpartition(" ")[0]),
        bad("another tag", line=line.replace(TAG, "keyturn-checkpoint-v2")),
    ]


def anchors() -> list[Vector]:
    head = read_event(old_rows("v2.jsonl")[-1])
    mark = Mark(head.originator_version, head.digest, head.signature)
    anchor = Anchor("unused", NODE)
    file = f"{manager_id('default').hex}.json"
    content = anchor._encode("default", mark).decode()
    long_name = "管" * 90
    id_ = manager_id(long_name)
    of_long = Mark(3, "cd" * 32, chain.sign(RING, id_, 3, "cd" * 32))
    zero = Mark(0, "0" * 64, chain.sign(RING, manager_id("default"), 0, "0" * 64))
    shared = {"node_id": NODE, "file": file}
    begins = anchor._encode("default", zero).decode()
    imported = anchor._encode("default", Mark(*mark_values(mark), imported=True)).decode()
    return [
        good("the end of the old log", **shared, manager="default", position=14, content=content),
        good("the stream was about to begin", **shared, manager="default", position=0,
             content=begins),
        good("an import put it there", **shared, manager="default", position=14,
             content=imported),
        good("the name does not fit, and is left out", node_id=NODE, file=f"{id_.hex}.json",
             manager=long_name, position=3, content=anchor._encode(long_name, of_long).decode()),
        bad("the position was altered", **shared, manager="default",
            content=content.replace('"position":14', '"position":13')),
        bad("the file has 511 bytes", **shared, manager="default", content=content[:-2] + "\n"),
        bad("it lies under another stream's name", node_id=NODE, manager="a", content=content,
            file=f"{manager_id('a').hex}.json"),
        bad("a member that there is not", **shared, manager="default",
            content=content.replace('{"format"', '{"a":1,"format"').replace("      \n", "\n")),
        bad("it is of another node", node_id=OTHER.node_id, file=file, manager="default",
            content=content),
    ]  # fmt: skip


def mark_values(mark: Mark) -> tuple[int, str, str]:
    return mark.position, mark.digest, mark.signature


FILES: dict[str, tuple[str, Callable[[], list[Vector]]]] = {
    "node_ids": ("node ids, and the public keys (hex) that they spell", node_ids),
    "streams": ("names of managers, and the ids of their streams", streams),
    "sealed_keys": ("sealed session keys, and the keys (hex) in them", sealed_keys),
    "events": ("rows of a log, each by itself: a state is text, byte for byte", events),
    "exports": ("whole logs, line by line", exports),
    "checkpoints": ("checkpoints, each by itself", checkpoints),
    "anchors": ("files of an anchor: of a manager, under a name", anchors),
    "key_rings": ("key rings, with a password, and their secrets (hex)", key_rings),
    "tokens": ("tokens under one key (hex), at a time in seconds", tokens),
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (about, vectors) in FILES.items():
        text = json.dumps({"about": about, "vectors": vectors()}, indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
