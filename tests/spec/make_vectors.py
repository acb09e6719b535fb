"""Writes `docs/spec/vectors`: `python -m tests.spec.make_vectors`.

Each vector has a sentence that says why it is good or bad. Released vectors do not change: add
to them. Everything in here is public and fixed, so the files come out the same each time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from keyturn.config.anchor import Anchor
from keyturn.config.local_key_ring import KeyRing
from keyturn.domain import chain
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.key_ring import key_id_of
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import manager_id
from keyturn.domain.stored_events import read_event
from keyturn.projections.export import lines_of
from tests.domain import golden
from tests.domain.builders import OLD_LOGS, old_rows

FOLDER = Path(__file__).parent.parent.parent / "docs" / "spec" / "vectors"
RING = KeyRing(bytes(32), bytes(range(32)))
OTHER = KeyRing(bytes([1]) * 32, bytes(range(32)))
NODE = RING.node_id

Vector = dict[str, Any]


def good(why: str, **values: Any) -> Vector:
    return {"why": why, "good": True, **values}


def bad(why: str, **values: Any) -> Vector:
    return {"why": why, "good": False, **values}


# --- identity --------------------------------------------------------------------------------


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


def sealed_keys() -> list[Vector]:
    event = read_event(old_rows("v2.jsonl")[0])
    place = {
        "sealing_key": bytes(range(32)).hex(),
        "manager": "default",
        "generation": 1,
        "key_id": event.key_id,
        "sealed_key": event.sealed_key,  # type: ignore[attr-defined]
    }
    altered = place["sealed_key"][:-1] + "A"  # type: ignore[index]
    return [
        good("the first key of the old log", **place, key=(bytes([1]) * 32).hex()),
        bad("it was sealed for another generation", **{**place, "generation": 2}),
        bad("it was sealed for another manager", **{**place, "manager": "another"}),
        bad("it was sealed for another key id", **{**place, "key_id": key_id_of(bytes(32))}),
        bad("another key ring", **{**place, "sealing_key": bytes(32).hex()}),
        bad("its last byte was altered", **{**place, "sealed_key": altered}),
    ]


# --- events ----------------------------------------------------------------------------------


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


COMPACT: Any = {"separators": (",", ":"), "ensure_ascii": False}


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


# --- what remembers where a log ended --------------------------------------------------------


def checkpoints() -> list[Vector]:
    head = read_event(old_rows("v2.jsonl")[-1])
    line = str(Checkpoint.of(head))
    named = read_event(old_rows("v2.jsonl", "purged")[0])
    tag, node_id, name, position, digest, at, signature = line.split(" ")

    def with_parts(*parts: str) -> str:
        return " ".join((tag, *parts))

    id_ = manager_id("Zoë/1 2")
    odd = chain.sign(RING, id_, 7, "ab" * 32)
    spelt = with_parts(NODE, "Zo%C3%AB%2F1%202", "7", "ab" * 32, "2026-01-01T00:00:00Z", odd)
    return [
        good("the end of the old log", line=line, manager=name, position=int(position)),
        good("a purge", line=str(Checkpoint.of(named)), manager="purged", position=2),
        good("a name with other characters", line=spelt, manager="Zoë/1 2", position=7),
        bad("hex in lower case", line=spelt.replace("%C3%AB", "%c3%ab")),
        bad("another position", line=with_parts(node_id, name, "15", digest, at, signature)),
        bad("another digest", line=with_parts(node_id, name, position, "0" * 64, at, signature)),
        bad("another name", line=with_parts(node_id, "a", position, digest, at, signature)),
        bad("another node", line=with_parts(OTHER.node_id, name, position, digest, at, signature)),
        bad("a leading zero", line=with_parts(node_id, name, "014", digest, at, signature)),
        bad("an offset instead of Z",
            line=with_parts(node_id, name, position, digest, at.replace("Z", "+00:00"), signature)),
        bad("two spaces", line=line.replace(" ", "  ", 1)),
        bad("a part too few", line=line.rpartition(" ")[0]),
        bad("another tag", line=line.replace("v1", "v2", 1)),
    ]  # fmt: skip


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
        good("an import put it there", **shared, manager="default", position=14, content=imported),
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


# --- secrets ---------------------------------------------------------------------------------


def key_rings() -> list[Vector]:
    plain, locked = golden.OPEN_KEY_RING.decode(), golden.LOCKED_KEY_RING.decode()
    secrets = {"seed": bytes(32).hex(), "sealing_key": bytes(range(32)).hex()}
    greedy = locked.replace("65536", "4194304")
    return [
        good("without a password", file=plain, password=None, **secrets),
        good("with one", file=locked, password="golden", **secrets),
        bad("another password", file=locked, password="silver"),
        bad("no password for one that has one", file=locked, password=None),
        bad("a password for one that has none", file=plain, password="golden"),
        bad("the checksum is wrong", file=plain.replace("a4f2", "a4f3"), password=None),
        bad("an altered node id", file=plain.replace("v7dl", "v7dk"), password=None),
        bad("a version to come", file=plain.replace(": 1,", ": 2,"), password=None),
        bad("Argon2id with more memory than any", file=rechecked(greedy), password="golden"),
    ]


def rechecked(file: str) -> str:
    """The key ring with the checksum that is right for it."""
    ring = json.loads(file)
    names = ("format", "version", "node_id", "kdf")
    bound = json.dumps([ring[name] for name in names], sort_keys=True, **COMPACT)
    ring["checksum"] = hashlib.sha256((bound + ring["secrets"]).encode()).hexdigest()
    return json.dumps(ring, indent=2) + "\n"


NOW = 1_800_000_000


def tokens() -> list[Vector]:
    key = bytes([1]) * 32
    header = {"alg": "HS256", "kid": key_id_of(key), "typ": "JWT"}
    claims = {
        "iss": NODE,
        "sub": "alice",
        "iat": NOW,
        "jti": "jjjjjjjjjjjjjjjjjjjjjj",
        "sid": "ssssssssssssssssssssss",
        "auth_time": NOW,
        "keyturn_pos": 1,
        "exp": NOW + 3600,
    }

    def token(payload: str, head: str | None = None, sign: Callable[..., bytes] = hmac.digest,
              algorithm: str = "sha256") -> str:  # fmt: skip
        first = head if head is not None else json.dumps(header, **COMPACT)
        text = f"{base64url(first.encode())}.{base64url(payload.encode())}"
        return f"{text}.{base64url(sign(key, text.encode(), algorithm))}"

    def of(**changes: object) -> str:
        changed = {**claims, **changes}
        return token(json.dumps({k: v for k, v in changed.items() if v is not ...}, **COMPACT))

    plain = json.dumps(claims, **COMPACT)
    text = of()
    shared = {"key": key.hex(), "now": NOW}
    goods = [
        ("a token", text),
        ("it never expires", of(exp=...)),
        ("it expires in this second, through which it is good", of(exp=NOW)),
        ("claims of the host's own, of every kind of JSON",
         of(role="admin", ünï=[1, 2.5, None, True, {"a": "b"}, -3], text="\x00\n\"\\é😀")),
        ("of version 0.1: no position", of(keyturn_pos=...)),
    ]  # fmt: skip
    bads = [
        ("malformed", "empty", ""),
        ("malformed", "two parts", text.rpartition(".")[0]),
        ("malformed", "four parts", text + ".e30"),
        ("bad signature", "padding", text + "="),
        ("bad signature", "a line feed at the end", text + "\n"),
        ("malformed", "not ASCII", text + "é"),
        ("malformed", "longer than 8192 characters", of(text="x" * 8192)),
        ("bad signature", "another byte in the signature", flipped(text)),
        ("bad signature", "unused bits in the last character", text[:-1] + next_of(text[-1])),
        ("malformed", "no signature, and alg none", token(plain, '{"alg":"none","typ":"JWT"}')),
        ("malformed", "another algorithm", token(plain, json.dumps({**header, "alg": "HS512"},
                                                                **COMPACT), algorithm="sha512")),
        ("malformed", "the header's members in another order",
         token(plain, json.dumps(dict(reversed(header.items())), **COMPACT))),
        ("malformed", "another member in the header",
         token(plain, json.dumps({**header, "crit": ["a"]}, **COMPACT))),
        ("unknown key", "a key that is not there",
         token(plain, json.dumps({**header, "kid": key_id_of(bytes([2]) * 32)}, **COMPACT))),
        ("malformed", "white space in the payload", token(json.dumps(claims))),
        ("malformed", "an escape without need", token(plain.replace("alice", "\\u0061lice"))),
        ("malformed", "a claim twice", token(plain[:-1] + ',"sub":"bob"}')),
        ("malformed", "the payload is a list", token("[]")),
        ("malformed", "a claim is missing", of(sid=...)),
        ("malformed", "a time is a fraction", of(exp=NOW + 0.5)),
        ("malformed", "a subject is a number", of(sub=7)),
        ("expired", "it expired a second ago", of(exp=NOW - 1)),
    ]  # fmt: skip
    return [good(why, **shared, token=each) for why, each in goods] + [
        bad(why, **shared, token=each, reason=reason) for reason, why, each in bads
    ]


def flipped(token: str) -> str:
    return token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]


def next_of(character: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) + 1]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_key(ring: KeyRing) -> str:
    return base64.b32hexdecode(ring.node_id[1:].upper() + "====").hex()


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
