"""Reports of audits that no log has to be made for, and the page of one as a parser sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from keyturn import KeyChange
from keyturn.domain.checkpoint import Checkpoint
from keyturn.projections.findings import AuditReport, Finding, HeldAgainst, NodeIdFrom
from keyturn.report import render

NODE = "v7q4m2c9t0u8k3hs5p6ord2e8s7n4g0f3l9jv6e5uat0qkd2c1r8m"
START = datetime(2025, 10, 6, 8, 12, 9, tzinfo=UTC)
WEEKS = [
    ("generated", 0, "deploy@ci-runner", "first start"),
    ("rotated", 7.1, "scheduler@core-1", "weekly rotation"),
    ("reset", 11.6, "alice@laptop", "laptop stolen at the airport"),
    ("reset", 11.62, "bob@ops", "pasted a token into the support chat"),
    ("rotated", 18.2, "scheduler@core-1", "weekly rotation"),
    ("rotated", 25.3, "scheduler@core-1", "weekly rotation"),
    ("reset", 29.4, "carol@security", "contractor's access ended"),
    ("rotated", 36.4, "scheduler@core-1", "weekly rotation"),
]
MADE = START + timedelta(days=41.3)
VOID = {"meta", "input", "br"}
HOSTILE = [
    "<script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "\"'><svg onload=\"document.title='run'\"></svg>",
    "' autofocus tabindex=0 onfocus=document.title='run' x='",
    "</title></style></script><script>document.title='run'</script>",
    "&lt;b&gt; {{7*7}} ${title} %s",
    "javascript:document.title='run'",
]


def history(rows: Sequence[tuple[str, float, str, str | None]] = WEEKS) -> list[KeyChange]:
    """Changes by kind, day, initiator and reason."""
    ends: list[float | None] = [*(row[1] for row in rows[1:]), None]
    return [
        KeyChange(
            position=number,
            kind=kind,
            generation=number - (kind == "destroyed"),
            key_id=f"key-{number}",
            at=START + timedelta(days=day),
            initiator=initiator,
            reason=reason,
            node_id=NODE,
            digest=hashlib.sha256(str(number).encode()).hexdigest(),
            lifetime=None if end is None else timedelta(days=end - day),
            recorded_by="svc@core-1",
        )
        for number, ((kind, day, initiator, reason), end) in enumerate(
            zip(rows, ends, strict=True), 1
        )
    ]


def report(*findings: Finding, **changes: Sequence[KeyChange]) -> AuditReport:
    heads = {
        name: Checkpoint(NODE, name, own[-1].position, own[-1].digest, own[-1].at, "c2ln")
        for name, own in changes.items()
        if own
    }
    events = sum(map(len, changes.values()))
    anchor = {name: head.position for name, head in heads.items()}
    held_against = HeldAgainst(NODE, anchor, {}, NodeIdFrom.KEY_RING)
    return AuditReport(NODE, events, heads, findings, held_against, frozenset(heads))


def page(*findings: Finding, **changes: Sequence[KeyChange]) -> str:
    return render(report(*findings, **changes), changes, made_at=MADE)


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and its texts; the tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"style", "script"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and all(attributes.get(k) == v for k, v in wanted.items())
        ]

    def segments(self) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if (a.get("class") or "").startswith("segment ")]

    def widths(self) -> list[float]:
        return [float((a["width"] or "").rstrip("%")) for a in self.all("rect", height="46")]
