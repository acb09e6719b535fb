"""Vectors of the log: single events, and whole logs as exports."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from keyturn.config.local_key_ring import KeyRing
from keyturn.domain import chain
from keyturn.domain.session_keys import manager_id
from keyturn.domain.stored_events import read_event
from keyturn.projections.export import lines_of
from tests.domain.builders import OLD_LOGS, old_rows
from tests.spec.building import COMPACT, NODE, OTHER, RING, Vector, bad, good


def row_of(stored: Any) -> Vector:
    return {
        "originator_id": stored.originator_id.hex,
        "originator_version": stored.originator_version,
        "topic": stored.topic,
        "state": stored.state.decode(),
    }


def signed(row: Vector, ring: KeyRing = RING, **changes: object) -> Vector:
    """The row with other fields (... leaves one out), signed anew."""
    fields = {**json.loads(row["state"]), **changes}
    fields = {name: value for name, value in fields.items() if value is not ...}
    id_, position = UUID(row["originator_id"]), row["originator_version"]
    digest = chain.digest(row["topic"], id_, position, fields)
    fields["signature"] = chain.sign(ring, id_, position, digest)
    return {**row, "state": chain.encode_state(fields).decode()}


def events() -> list[Vector]:
    v1, v2 = old_rows("v1.jsonl"), old_rows("v2.jsonl")
    all_rows = [*v1, *v2, *old_rows("v2.jsonl", "purged")]
    row, reset = row_of(v2[1]), row_of(v1[1])
    state = row["state"]

    def replaced(old: str, new: str) -> Vector:
        assert old in state
        return {**row, "state": state.replace(old, new)}

    signature = json.loads(state)["signature"]
    stray = signature[:-1] + "B"
    rows = [
        ("a field was altered", replaced("logout", "logoff")),
        ("it stands at another position", {**row, "originator_version": 3}),
        ("it stands in another stream", {**row, "originator_id": manager_id("a").hex}),
        ("it has another topic", {**row, "topic": "keyturn.KeysDestroyed"}),
        ("its topic is not one of Keyturn's", signed({**row, "topic": "keyturn.Unknown"})),
        ("its signature is altered", replaced(signature, "A" + signature[1:])),
        ("its signature has another spelling: unused bits", replaced(signature, stray)),
        ("its signature has padding", replaced(signature, signature + "==")),
        ("white space: not canonical", replaced('"reason":', '"reason": ')),
        ("an escape without need: not canonical", replaced("logout", "\\u006cogout")),
        ("a member twice", replaced('"since":1', '"since":1,"since":1')),
        ("members out of order", {**row, "state": reversed_members(state)}),
        ("the state is not whole", {**row, "state": state[:-1]}),
        ("a field that there is not, although signed", signed(row, extra=1)),
        ("a field is missing, although signed", signed(row, sid=...)),
        ("a number is text, although signed", signed(row, since="1")),
        ("a text is a number, although signed", signed(row, reason=7)),
        ("a fraction, although signed", signed(row, since=1.5)),
        ("a version to come, although signed", signed(row, class_version=3)),
        ("it stands in a stream that is not its manager's", signed(row, manager="a")),
        ("another node signed it", signed(row, OTHER, node_id=OTHER.node_id)),
        ("another node signed it in this one's name", signed(row, OTHER)),
    ]
    return [
        *(good(f"of an old log: {r.topic} at {r.originator_version}", node_id=NODE, row=row_of(r),
               digest=read_event(r).digest) for r in all_rows),
        good("text with all kinds of characters", node_id=NODE,
             row=(other := signed(reset, reason="\x00\x1f\x7f\"\\/é\u2028😀")),
             digest=digest_of(other)),
        good("a time without a fraction", node_id=NODE,
             row=(whole := signed(reset, timestamp="2025-01-01T12:01:00Z")),
             digest=digest_of(whole)),
        *(bad(why, node_id=NODE, row=each) for why, each in rows),
    ]  # fmt: skip


def digest_of(row: Vector) -> str:
    fields = json.loads(row["state"])
    return chain.digest(
        row["topic"], UUID(row["originator_id"]), row["originator_version"], fields
    )


def reversed_members(state: str) -> str:
    members = dict(reversed(json.loads(state).items()))
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False)


# --- whole logs ------------------------------------------------------------------------------


def lines_with(rows: list[Vector], node_id: str = NODE) -> list[str]:
    head = json.dumps({"format": "keyturn export", "version": 1, "node_id": node_id}, **COMPACT)
    lines = [head + "\n", *(line_of(row) for row in rows)]
    return [*lines, closing(lines)]


def line_of(row: Vector) -> str:
    rest = {name: value for name, value in row.items() if name != "state"}
    return json.dumps(rest, **COMPACT)[:-1] + ',"state":' + row["state"] + "}\n"


def closing(lines: list[str]) -> str:
    sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()
    return json.dumps({"events": len(lines) - 1, "sha256": sha256}, **COMPACT) + "\n"


def exports() -> list[Vector]:
    old = {}
    for path in sorted(OLD_LOGS.iterdir()):
        with path.open("rb") as file:
            old[path.stem] = [line.decode() for line in lines_of(file)]
    first, second, third, *_ = map(row_of, old_rows("v2.jsonl"))
    purge, after = map(row_of, old_rows("v2.jsonl", "purged"))
    whole = lines_with([first, second, third])

    def following(row: Vector, **changes: object) -> Vector:
        return signed({**row, "originator_version": 2}, **changes)

    def moved(position: int) -> Vector:
        return signed({**second, "originator_version": position})

    foreign = signed(first, OTHER, node_id=OTHER.node_id)
    chains = [
        ("an event is missing", [first, third]),
        ("the first event is missing", [second, third]),
        ("two events are in the wrong order", [second, first, third]),
        ("an event is there twice", [first, second, second]),
        ("an event was left out, and the next was given its position", [first, moved(3)]),
        ("it does not follow the event before it, although signed",
         [first, following(second, previous_digest="0" * 64)]),
        ("an event of a session raises the generation", [first, following(second, generation=2)]),
        ("a reset keeps the generation",
         [first, following(row_of(old_rows("v1.jsonl")[1]), generation=1,
                           previous_digest=digest_of(first))]),
        ("a stream begins with generation 2", [signed(first, generation=2)]),
        ("a stream begins with a key of which no event made it",
         [signed({**second, "originator_version": 1}, previous_digest="0" * 64)]),
        ("a purge stands behind another event",
         [signed({**purge, "originator_version": 1}, purged=False), purge]),
        ("an event is of another node", [foreign]),
    ]  # fmt: skip
    spaced = [line.replace('"version":1', '"version": 1') for line in whole[:-1]]
    return [
        *(good(f"tests/old_logs/{name}.jsonl", node_id=NODE, lines=lines)
          for name, lines in old.items()),
        good("an empty log", node_id=NODE, lines=lines_with([])),
        good("two streams, mixed", node_id=NODE, lines=lines_with([first, purge, second, after])),
        good("its end was cut off, which nothing in it shows", node_id=NODE,
             lines=lines_with([first])),
        *(bad(why, node_id=NODE, lines=lines_with(rows)) for why, rows in chains),
        bad("it is of another node", node_id=NODE, lines=lines_with([foreign], OTHER.node_id)),
        bad("it has no first line", node_id=NODE, lines=whole[1:]),
        bad("it has no last line", node_id=NODE, lines=whole[:-1]),
        bad("it is empty", node_id=NODE, lines=[]),
        bad("the last line feed is missing", node_id=NODE, lines=[*whole[:-1], whole[-1][:-1]]),
        bad("a line stands behind the last one", node_id=NODE, lines=[*whole, "\n"]),
        bad("the hash is of other lines", node_id=NODE, lines=[*whole[:2], *whole[3:]]),
        bad("the number of events is wrong", node_id=NODE,
            lines=[*whole[:-1], whole[-1].replace('"events":3', '"events":2')]),
        bad("a space where none belongs", node_id=NODE, lines=[*spaced, closing(spaced)]),
        bad("a version of the format that is yet to come", node_id=NODE,
            lines=[whole[0].replace('"version":1', '"version":2'), *whole[1:]]),
    ]  # fmt: skip
