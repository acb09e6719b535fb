"""The HTML report of an audit: what it says, that it is only text, how it behaves in Chromium.

`python -m tests.api.test_report_html docs/audit.png` makes the picture of the README.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from keyturn import KeyChange, Service
from keyturn.domain.checkpoint import Checkpoint
from keyturn.projections.findings import AuditReport, Finding, FindingKind, HeldAgainst
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
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on the PATH: apt-get install chromium"
)
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
    held_against = HeldAgainst(NODE, {name: head.position for name, head in heads.items()})
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
        return [float((a["width"] or "").rstrip("%")) for a in self.all("rect", height="48")]


# --- what it says ---


def test_the_verdict_comes_first() -> None:
    parsed = Parsed(page(default=history()))

    headings = [tag for tag, _ in parsed.tags if tag in {"h1", "h2", "h3"}]
    assert headings == ["h1", "h2", "h2", "h3", "h3"]
    facts = (
        f"Node {NODE} Held against node {NODE}, the anchor of 1 manager "
        "Events 8 Managers 1 Findings 0 Warnings 0 Made (UTC) 2025-11-16 15:24:09"
    )
    verdict = "The record holds Every event is as it was signed, in its place, without a gap. "
    assert verdict + facts in parsed.text
    assert parsed.text.index("The record holds Every") < parsed.text.index("Keys of default")
    assert "keyturn-checkpoint-v1 " + NODE in parsed.text


def test_a_record_that_does_not_hold_says_so_with_each_finding_position_and_meaning() -> None:
    findings = (
        Finding(FindingKind.ALTERED, 3, "default", "its digest does not match"),
        Finding(FindingKind.FOREIGN, None, None, "a row has the alien topic 'x'"),
        Finding(FindingKind.TRUNCATED, 77, "default", "the history ends before position 77"),
    )

    parsed = Parsed(page(*findings, default=history()))

    assert "The record does not hold It is not as it was signed" in parsed.text
    assert "The record holds" not in parsed.text
    altered = (
        "altered default 3 its digest does not match What stands here is not what was signed"
    )
    assert altered in parsed.text
    assert "foreign not known not known a row has the alien topic 'x'" in parsed.text
    assert "truncated default 77" in parsed.text
    assert len(parsed.all("a", href="#m1-3")) == 2  # from the finding and the timeline
    assert not parsed.all("a", href="#m1-77")
    assert len(parsed.all("tr", **{"class": "bad"})) == 1
    assert "finding altered" in (parsed.segments()[2]["aria-label"] or "")


def test_a_warning_leaves_the_record_holding() -> None:
    warning = Finding(FindingKind.CLOCK, 3, "default", "the clock went back by 0:00:09")

    parsed = Parsed(page(warning, default=history()))

    assert "The record holds" in parsed.text
    assert "Findings 0 Warnings 1" in parsed.text
    assert "the clock went back by 0:00:09" in parsed.text


def test_many_findings_are_cut_with_a_note() -> None:
    finding = Finding(FindingKind.FOREIGN, None, None, "alien")

    text = Parsed(page(*[finding] * 1_500, default=history())).text

    assert "Of 1,500 findings, the first 1,000 are shown." in text
    assert text.count("alien") == 1_000


@pytest.mark.parametrize("changes", [{}, {"default": []}])
def test_an_empty_history_has_a_page(changes: dict[str, list[KeyChange]]) -> None:
    parsed = Parsed(render(AuditReport(None, 0, {}, ()), changes, made_at=MADE))

    assert "It is empty: no key has been made yet." in parsed.text
    assert not parsed.segments()


def ended_sessions(change: KeyChange, subject: str) -> KeyChange:
    """An end of sessions in the place of a change."""
    return dataclasses.replace(change, kind="sessions ended", subject=subject, lifetime=None)


def test_ends_of_sessions_are_rows_and_no_generations() -> None:
    *keys, last = history(WEEKS[:3])

    parsed = Parsed(page(default=[*keys, ended_sessions(last, "bob <b>")]))

    assert len(parsed.segments()) == 2
    assert "sessions ended: bob <b>" in parsed.text
    assert "Generation 2" in parsed.text


def test_a_history_of_nothing_but_ended_sessions_has_a_page() -> None:
    [change] = history(WEEKS[:1])

    parsed = Parsed(page(default=[ended_sessions(change, "bob")]))

    assert "sessions ended: bob" in parsed.text
    assert not parsed.segments()


def test_the_page_says_what_the_record_was_held_against_and_of_whom_no_end_is_known() -> None:
    audit = report(web=history(), cli=history())
    known = dataclasses.replace(
        audit,
        held_against=HeldAgainst(NODE, {"web": 8}, {"web": (3, 8)}),
        ends_known=frozenset({"web"}),
    )

    text = Parsed(render(known, {"web": history(), "cli": history()}, made_at=MADE)).text

    assert f"node {NODE}, the anchor of 1 manager, 2 checkpoints" in text
    assert "whether the end of the history of cli was cut off" in text


def test_each_manager_has_a_timeline_and_a_table() -> None:
    parsed = Parsed(page(web=history(), cli=history(WEEKS[:2]), idle=[]))

    ids = [a["id"] for _, a in parsed.tags if a.get("id")]
    targets = {(a["href"] or "")[1:] for a in parsed.all("a")}
    targets |= {a["aria-labelledby"] or "" for _, a in parsed.tags if a.get("aria-labelledby")}
    targets |= {a["for"] or "" for _, a in parsed.tags if a.get("for")}
    assert len(ids) == len(set(ids))
    assert targets <= set(ids)
    assert "cli 2 idle 0 web 8" in parsed.text
    assert len(parsed.all("svg", **{"class": "line"})) == 2
    assert len(parsed.all("table", **{"class": "changes"})) == 2
    assert "Keys of idle There are no changes of its keys to show." in parsed.text


def test_a_row_has_all_of_a_change() -> None:
    change = history()[2]

    parsed = Parsed(page(default=history()))

    row = "3 reset 3 2025-10-17 22:36:09 alice@laptop laptop stolen at the airport 28 min 48 s"
    assert f"{row} {change.digest[:10]}…" in parsed.text
    assert parsed.all("code", title=change.digest)
    assert {a["scope"] for a in parsed.all("th")} == {"col", "row"}


def test_segments_are_to_scale_and_the_shortest_can_be_seen_and_focused() -> None:
    parsed = Parsed(page(default=history()))

    widths = parsed.widths()
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert widths[0] / widths[3] == pytest.approx(7.1 / 6.58, rel=0.01)
    assert widths[2] == pytest.approx(0.45)  # half an hour of six weeks would be 0.05
    labels = [segment["aria-label"] or "" for segment in parsed.segments()]
    assert labels[2] == (
        "generation 3; change reset; when 2025-10-17 22:36:09 UTC; by alice@laptop; "
        "why laptop stolen at the airport; lived 28 min 48 s"
    )
    assert labels[-1].endswith("and is current")
    assert {segment["tabindex"] for segment in parsed.segments()} == {"0"}


def test_keys_that_were_destroyed_end_in_no_key() -> None:
    parsed = Parsed(page(default=history([*WEEKS[:2], ("destroyed", 20, "alice", None)])))

    assert "Current key None: destroyed for 21 d 7 h" in parsed.text
    label = parsed.segments()[-1]["aria-label"] or ""
    assert label.startswith("generation 2, the last; change destroyed")


def test_a_clock_that_ran_backwards_still_gives_a_page() -> None:
    rows = [("generated", 9.0, "alice", None), ("reset", 3.0, "bob", None)]

    parsed = Parsed(render(report(), {"default": history(rows)}, made_at=START))

    assert parsed.widths() == [50, 50]


@pytest.mark.parametrize("start", [datetime.min, datetime(2025, 11, 16, 15, 24), datetime.max])
def test_the_most_distant_times_still_give_a_page(start: datetime) -> None:
    (change,) = history(WEEKS[:1])
    far = dataclasses.replace(change, at=start.replace(tzinfo=UTC))

    parsed = Parsed(page(default=[far]))

    assert parsed.widths() == [100]


@pytest.mark.parametrize(
    ("days", "ticks"),
    [
        (0.0001, "08:12:10 08:12:15"),
        (0.2, "09:00 10:00 11:00 12:00 13:00"),
        (3, "6 Oct, 12:00 7 Oct, 00:00 7 Oct, 12:00 8 Oct, 00:00 8 Oct, 12:00 9 Oct, 00:00"),
        (200, "Nov 2025 Dec 2025 Jan 2026 Feb 2026 Mar 2026 Apr 2026"),
        (5_000, "2026 2028 2030 2032 2034 2036 2038"),
    ],
)
def test_the_axis_has_round_times(days: float, ticks: str) -> None:
    made_at = START + timedelta(days=days)

    text = render(report(), {"default": history(WEEKS[:1])}, made_at=made_at)

    axis = re.findall(r'y="96" text-anchor="\w+">([^<]*)<', text)
    assert " ".join(axis) == ticks


def test_ten_thousand_changes_stay_usable() -> None:
    rows = [
        ("reset", day / 9 + (day > 5_000) * 90, "alice", f"why {day}") for day in range(10_000)
    ]

    text = page(default=history(rows))

    parsed = Parsed(text)
    assert len(text) < 4_000_000
    assert "Of 10,000 changes, the newest 5,000 are shown." in parsed.text
    assert "10,000 changes are more than fit: short neighbours are merged" in parsed.text
    assert len(parsed.all("tr")) == 5_001
    assert 20 < len(parsed.segments()) <= 120
    assert min(parsed.widths()) >= 0.44
    assert sum(parsed.widths()) == pytest.approx(100, abs=0.1)


# --- that it is only text, and alone ---


def test_style_and_script_are_those_of_the_policy_and_nothing_else_may_load() -> None:
    text = page(default=history())

    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode() + "'"
        for inner in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", text, re.DOTALL)
    ]
    style, script = hashes
    assert policy == (
        f"default-src 'none'; style-src {style}; script-src {script}; "
        "base-uri 'none'; form-action 'none'"
    )
    attributes = {name for _, attrs in Parsed(text).tags for name in attrs}
    assert not {name for name in attributes if name.startswith("on")} | (attributes & {"style"})


def test_the_page_refers_to_nothing_but_itself() -> None:
    text = page(default=history())

    attributes = [a for _, attrs in Parsed(text).tags for a in attrs.items()]
    assert not {"src", "srcset", "action", "data", "xlink:href"} & {
        name for name, _ in attributes
    }
    assert all((value or "").startswith("#") for name, value in attributes if name == "href")
    assert set(re.findall(r"url\([^)]*\)", text)) == {"url(#hatch)"}
    assert not re.search(r"https?:|@import|@font-face|<link|<iframe|<object|<base", text)


@pytest.mark.parametrize("payload", HOSTILE)
def test_what_comes_from_the_log_is_shown_and_makes_no_tag(payload: str) -> None:
    def parsed(text: str) -> Parsed:
        rows = [("reset", 0.0, text, text), ("reset", 4.0, text, text * 9)]
        finding = Finding(FindingKind.ALTERED, 1, text, text)
        head = Checkpoint(text, text, 1, text, START, text)
        audit = AuditReport(text, 2, {text: head}, (finding,))
        return Parsed(render(audit, {text: history(rows), "z": []}, made_at=MADE))

    hostile, harmless = parsed(payload), parsed("x" * len(payload))

    def shape(page: Parsed) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes in page.tags]

    assert shape(hostile) == shape(harmless)
    assert hostile.text.count(" ".join(payload.split())) >= 9


def test_control_characters_and_marks_of_direction_are_spelled_out() -> None:
    reason = "\x00\x1b[31m\n\u202egnol\u2066\u200f\ud800"
    text = page(default=history([("reset", 0, reason, reason)]))

    text.encode("utf-8")
    assert r"\x00\x1b[31m\n\u202egnol\u2066\u200f\ud800" in text
    assert not set("\x00\x1b\u202e\u2066\u200f") & set(text)


def test_a_long_reason_is_folded_and_whole() -> None:
    text = page(default=history([("reset", 0, "alice", "long " * 2_000)]))

    assert "long " * 2_000 + "</details>" in text
    assert len(text) < 60_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(scheme: str) -> None:
    css = re.search(r"<style>(.*?)</style>", page(), re.DOTALL)
    assert css is not None
    light, dark = re.findall(r":root \{(.*?)\}", css[1], re.DOTALL)[:2]
    colors = dict(re.findall(r"--(\S+): (#\w{6})", light if scheme == "light" else dark))

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(colors[one]), luminance(colors[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    pairs = [(text, "card") for text in ("ink", "muted", "good", "bad", "warn")]
    pairs += [
        ("muted", "page"),
        ("bad", "bad-wash"),
        ("warn", "warn-wash"),
        ("muted", "bad-wash"),
    ]
    pairs += [("on", kind) for kind in ("generated", "reset", "rotated", "good", "bad")]
    assert {pair: round(contrast(*pair), 2) for pair in pairs if contrast(*pair) < 4.5} == {}


# --- in Chromium ---


def chromium(file: Path, *options: str) -> str:
    """Open a page in headless Chromium, and return its DOM or what else was asked for."""
    assert CHROMIUM is not None
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars"
    flags += " disable-background-networking disable-component-update disable-sync"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [
                CHROMIUM,
                *(f"--{flag}" for flag in flags.split()),
                f"--user-data-dir={profile}",
                "--virtual-time-budget=3000",
                *(options or ["--dump-dom"]),
                file.as_uri(),
            ],
            capture_output=True,
            encoding="utf-8",
            timeout=45,
            check=True,
        ).stdout


def with_script(text: str, script: str) -> str:
    """A copy of a page whose policy allows one more script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def drive(tmp_path: Path, text: str, steps: str) -> dict[str, Any]:
    """Run steps in a copy of a page, and return what they put into `seen`."""
    script = f"""
const $ = (css) => document.querySelector(css), $$ = (css) => [...document.querySelectorAll(css)];
const column = (n) => $$(".changes tbody tr:not([hidden])").map((r) => r.cells[n].textContent);
const seen = {{}};
try {{ {steps} }} catch (error) {{ seen.error = String(error); }}
const out = document.createElement("pre");
out.id = "seen"; out.textContent = JSON.stringify(seen); document.body.append(out);
"""
    file = tmp_path / "page.html"
    file.write_text(with_script(text, script), "utf-8")
    found = re.search(r'<pre id="seen">(.*?)</pre>', chromium(file), re.DOTALL)
    assert found is not None
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


@needs_chromium
def test_the_table_sorts_and_filters(tmp_path: Path) -> None:
    seen = drive(
        tmp_path,
        page(default=history()),
        """
        const head = (n) => $$(".changes thead th")[n];
        seen.first = column(0);
        head(6).querySelector("button").click();
        seen.byLifetime = column(0); seen.up = head(6).ariaSort;
        head(6).querySelector("button").click();
        seen.byLifetimeDown = column(0); seen.down = head(6).ariaSort;
        seen.other = head(0).ariaSort;
        head(4).querySelector("button").click();
        seen.byInitiator = column(4);
        const input = $(".filter input"), type = (text) => {
          input.value = text; input.dispatchEvent(new Event("input"));
        };
        type("RESET airport");
        seen.filtered = column(5); seen.count = $(".filter output").textContent;
        type(arguments_digest); seen.byDigest = column(0);
        type("nobody"); seen.none = [column(0).length, $(".none").hidden];
        $("a[href='#m1-2']").dispatchEvent(new MouseEvent("click", {bubbles: true}));
        seen.revealed = column(0).length;
        """.replace("arguments_digest", json.dumps(history()[4].digest)),
    )

    assert seen == {
        "first": list("87654321"),
        "byLifetime": list("36284751"),
        "up": "ascending",
        "byLifetimeDown": list("51748263"),
        "down": "descending",
        "other": None,
        "byInitiator": sorted(row[2] for row in WEEKS),
        "filtered": ["laptop stolen at the airport"],
        "count": "1 of 8",
        "byDigest": ["5"],
        "none": [0, False],
        "revealed": 8,
    }


@needs_chromium
def test_who_and_why_are_shown_by_pointer_and_by_keyboard(tmp_path: Path) -> None:
    seen = drive(
        tmp_path,
        page(default=history()),
        """
        const tip = $(".tip"), segments = $$(".segment");
        const press = (key) => document.activeElement.dispatchEvent(
          new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        seen.before = tip.hidden;
        segments[2].dispatchEvent(new PointerEvent("pointerenter"));
        seen.pointed = tip.innerText;
        const box = tip.getBoundingClientRect(), frame = $(".chart").getBoundingClientRect();
        seen.inside = box.left >= frame.left && box.right <= frame.right + 1;
        press("Escape"); seen.escaped = tip.hidden;
        seen.stops = segments.filter((s) => s.tabIndex === 0).length;
        segments[7].focus(); press("ArrowLeft");
        seen.arrow = document.activeElement === segments[6] && tip.innerText;
        press("Home"); seen.home = document.activeElement === segments[0];
        seen.ring = getComputedStyle(segments[0].querySelector("rect")).strokeWidth;
        segments[0].blur(); seen.after = tip.hidden;
        """,
    )

    assert {"alice@laptop", "laptop stolen at the airport"} <= set(seen["pointed"].split("\n"))
    assert {"carol@security", "contractor's access ended"} <= set(seen["arrow"].split("\n"))
    flags = {name: seen[name] for name in ("before", "inside", "escaped", "home", "after")}
    assert set(flags.values()) == {True}, flags
    assert seen["stops"] == 1
    assert seen["ring"] == "4px"


@needs_chromium
def test_a_script_in_a_reason_is_shown_and_does_not_run(service: Service, tmp_path: Path) -> None:
    for payload in HOSTILE:
        service.reset_key(reason=payload, initiator=payload[:200])
    text = render(service.audit(), {"default": list(service.history())}, made_at=MADE)
    no_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)

    seen = drive(
        tmp_path,
        no_policy,
        """
        for (const segment of $$(".segment")) {
          segment.focus();
          segment.dispatchEvent(new PointerEvent("pointerenter"));
        }
        $$("thead button").forEach((b) => b.click());
        seen.title = document.title; seen.images = $$("img").length;
        seen.scripts = document.scripts.length; seen.why = column(5).sort();
        """,
    )

    assert seen == {
        "title": "The record holds: Keyturn audit",
        "images": 0,
        "scripts": 2,
        "why": sorted(["", *HOSTILE]),
    }


@needs_chromium
def test_the_policy_stops_a_script_that_is_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    alien = "<script>document.title='run'</script><p onclick=''></p></body>"
    file.write_text(page(default=history()).replace("</body>", alien), "utf-8")

    dom = chromium(file)

    assert "<title>The record holds: Keyturn audit</title>" in dom
    assert "<button" in dom  # while ours did run


@needs_chromium
def test_ten_thousand_changes_sort_and_filter_in_the_browser(tmp_path: Path) -> None:
    rows = [("reset", day / 9, f"user-{day % 7}", f"ticket-{day:05}") for day in range(10_000)]

    seen = drive(
        tmp_path,
        page(default=history(rows)),
        """
        $$("thead button")[3].click();
        seen.first = column(0)[0];
        const input = $(".filter input");
        input.value = "user-3 ticket-099"; input.dispatchEvent(new Event("input"));
        seen.count = $(".filter output").textContent;
        """,
    )

    expected = sum(day % 7 == 3 for day in range(9_900, 10_000))
    assert seen == {"first": "5001", "count": f"{expected} of 5,000"}


@needs_chromium
@pytest.mark.parametrize(("scheme", "paper"), [(0, "rgb(18, 21, 26)"), (1, "rgb(243, 241, 236)")])
def test_the_page_is_dark_where_people_want_it_dark(
    tmp_path: Path, scheme: int, paper: str
) -> None:
    script = "document.title = getComputedStyle(document.body).backgroundColor"
    file = tmp_path / "page.html"
    file.write_text(with_script(page(default=history()), script), "utf-8")

    dom = chromium(file, f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom")

    assert f"<title>{paper}</title>" in dom


def make_picture(target: Path) -> None:
    """Make a picture of a report, a key's who and why shown."""
    script = """
document.querySelectorAll(".segment")[2].dispatchEvent(new PointerEvent("pointerenter"));
"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(with_script(page(default=history()), script), "utf-8")
        chromium(
            file,
            "--window-size=1200,1340",
            "--blink-settings=preferredColorScheme=1",
            f"--screenshot={target.absolute()}",
        )


if __name__ == "__main__":
    make_picture(Path(sys.argv[1]))
