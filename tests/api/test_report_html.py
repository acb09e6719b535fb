"""The page of an audit: what it says, and that what comes from the log is only text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from keyturn import KeyChange
from keyturn.domain.checkpoint import Checkpoint
from keyturn.projections.findings import AuditReport, Finding, FindingKind, HeldAgainst
from keyturn.projections.unproven import Unproven
from keyturn.report import contents, render
from tests.api.reports import HOSTILE, MADE, NODE, START, WEEKS, Parsed, history, page, report

# --- what it says ---


def test_the_verdict_comes_first() -> None:
    parsed = Parsed(page(default=history()))

    headings = [tag for tag, _ in parsed.tags if tag in {"h1", "h2", "h3"}]
    assert headings == ["h1", "h2", "h2", "h2", "h3", "h3", "h2", "h2"]
    facts = (
        f"Node {NODE} Held against this node id (from the key ring) "
        "the anchor of 1 manager: default at 8 Events 8 Managers 1 "
        "Findings 0 Warnings 0 Made (UTC) 2025-11-16 15:24:09"
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
    assert parsed.all("tr", id="m1-3", **{"class": "k-reset bad"})
    assert parsed.all("a", href="#f1")  # back from the row
    assert "finding altered" in (parsed.segments()[2]["aria-label"] or "")


def test_a_warning_leaves_the_record_holding() -> None:
    warning = Finding(FindingKind.CLOCK, 3, "default", "the clock went back by 0:00:09")

    parsed = Parsed(page(warning, default=history()))

    assert "The record holds" in parsed.text
    assert "Findings 0 Warnings 1" in parsed.text
    assert "the clock went back by 0:00:09" in parsed.text


STRANGER = Unproven(
    kind="rotated",
    manager="default",
    generation=4,
    at="2025-10-18T02:00:00+02:00",
    initiator="eve",
    recorded_by="eve@evil",
    reason="weekly rotation, really",
    node_id="v-other",
)


def test_a_row_that_is_not_genuine_stands_beside_the_genuine_one_and_is_linked() -> None:
    message = "the event was signed by another node, v-other"
    finding = Finding(FindingKind.FOREIGN, 4, "default", message, None, STRANGER)

    parsed = Parsed(page(finding, default=history()))

    assert parsed.all("a", href="#f1-row")
    assert parsed.all("tr", id="f1-row", **{"class": "k-unproven bad apart"})
    assert parsed.all("tr", id="m1-4", **{"class": "k-reset"})
    claimed = (
        "4 claims: rotated foreign 4 2025-10-18 00:00:00 eve recorded by eve@evil "
        "weekly rotation, really node v-other"
    )
    assert f"{claimed} 4 reset 4 2025-10-17" in parsed.text  # right above the genuine one
    assert not any("eve" in (segment["aria-label"] or "") for segment in parsed.segments())


def test_what_is_missing_has_a_row_at_its_place() -> None:
    gone = Finding(FindingKind.MISSING, 3, "default", "2 events are missing", last=4)
    rest = [change for change in history() if change.position not in (3, 4)]

    parsed = Parsed(page(gone, default=rest))

    assert parsed.all("a", href="#f1-row")
    row = "3 to 4 nothing genuine missing There is no genuine event here."
    assert row in parsed.text
    assert parsed.text.index("5 rotated 5") < parsed.text.index(row)
    assert parsed.text.index(row) < parsed.text.index("2 rotated 2")


def test_events_that_were_put_back_are_marked_each() -> None:
    finding = Finding(FindingKind.PUT_BACK, 1, "default", "2 events came back", last=2)

    parsed = Parsed(page(finding, default=history()))

    marked = [a["id"] for a in parsed.all("tr") if " bad" in (a.get("class") or "")]
    assert marked == ["m1-2", "m1-1"]


def test_a_row_of_no_manager_has_a_table_of_its_own() -> None:
    row = Finding(FindingKind.FOREIGN, None, None, "unknown topic 'x'", None, Unproven("x"))

    parsed = Parsed(page(row, default=history()))

    assert "Rows of no manager of this record" in parsed.text
    assert "not known claims: x foreign" in parsed.text
    assert parsed.all("a", href="#f1-row")


def test_only_a_record_that_holds_offers_checkpoints_and_after_the_findings() -> None:
    finding = Finding(FindingKind.ALTERED, 3, "default", "its signature is wrong")

    holds, does_not = page(default=history()), page(finding, default=history())

    assert holds.index("keyturn-checkpoint-v1") > holds.index('id="findings"')
    assert "keyturn-checkpoint" not in does_not


def test_the_overview_says_of_each_manager_its_verdict_its_key_and_its_last_change() -> None:
    finding = Finding(FindingKind.ALTERED, 3, "web", "its signature is wrong")
    warning = Finding(FindingKind.CLOCK, 3, "cli", "the clock went back by 0:00:09")

    bad = Parsed(page(finding, warning, web=history(), cli=history(WEEKS[:3]))).text
    good = Parsed(page(warning, web=history(), cli=history(WEEKS[:3]))).text

    assert "cli nothing found here, 1 warning generation 3 29 d 16 h reset, 2025-10-17" in bad
    assert "web does not hold: 1 finding generation 8 4 d 21 h rotated, 2025-11-11" in bad
    assert "22:36:09, by alice@laptop 3 anchor at 3" in bad
    assert "web holds generation 8" in good
    assert bad.index("cli nothing found") < bad.index("Keys of cli")


def test_a_manager_of_whom_only_the_anchor_knows_is_in_the_overview() -> None:
    finding = Finding(FindingKind.TRUNCATED, 7, "gone", "the history ends before position 7")
    audit = dataclasses.replace(report(finding), held_against=HeldAgainst(NODE, {"gone": 7}))

    parsed = Parsed(render(audit, {}, made_at=MADE))

    assert "gone does not hold: 1 finding none none 0 anchor at 7" in parsed.text
    assert "7 nothing genuine truncated" in parsed.text


def test_changes_since_a_moment_and_of_some_managers_are_shown_alone() -> None:
    changes = {"web": history(), "cli": history()}

    text = Parsed(
        render(
            report(**changes), changes, made_at=MADE, since=history()[5].at, names=["web", "x"]
        )
    ).text

    assert "Shown: changes since 2025-10-31 15:24:09 UTC, 1 of 2 managers." in text
    assert "Keys of web" in text
    assert "Keys of cli" not in text
    assert "6 rotated 6" in text
    assert "5 rotated 5" not in text
    later = Parsed(render(report(**changes), changes, made_at=MADE, since=MADE))
    assert "There are no changes of its keys to show." in later.text
    assert not later.segments()


def test_a_quick_audit_says_what_it_does_not_show() -> None:
    quick = dataclasses.replace(report(default=history()), is_quick=True)

    text = Parsed(render(quick, {"default": history()}, made_at=MADE)).text

    assert "A quick audit: of each history only the newest signature was checked" in text
    assert "Every event is as it was signed" not in text


def test_a_record_held_against_nothing_says_so() -> None:
    alone = dataclasses.replace(report(default=history()), held_against=HeldAgainst())

    text = Parsed(render(alone, {"default": history()}, made_at=MADE)).text

    assert "Held against nothing but itself" in text
    assert "Nobody said whose record it should be" in text


def test_the_page_says_what_is_proved_and_what_is_only_said() -> None:
    text = Parsed(page(default=history())).text

    assert "By: only said Who asked for a change, as the program that asked for it said." in text


def test_many_findings_are_cut_with_a_note() -> None:
    finding = Finding(FindingKind.FOREIGN, None, None, "alien")

    text = Parsed(page(*[finding] * 1_500, default=history())).text

    assert "Of 1,500 findings, the first 1,000 are shown." in text
    assert text.count("alien") == 1_000


def test_a_manager_whose_findings_are_not_shown_does_not_hold_all_the_same() -> None:
    many = [Finding(FindingKind.FOREIGN, None, None, "alien")] * 1_000
    one = Finding(FindingKind.ALTERED, 3, "default", "its signature is wrong")

    text = Parsed(page(*many, one, default=history())).text

    assert "default does not hold: 1 finding" in text


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

    assert "the anchor of 1 manager: web at 8 2 checkpoints: web at 3 and 8" in text
    assert f"Held against node {NODE}" not in text  # it stands right above
    assert "whether the end of the history of cli was cut off" in text


def test_each_manager_has_a_timeline_and_a_table() -> None:
    parsed = Parsed(page(web=history(), cli=history(WEEKS[:2]), idle=[]))

    ids = [a["id"] for _, a in parsed.tags if a.get("id")]
    targets = {(a["href"] or "")[1:] for a in parsed.all("a")}
    targets |= {a["aria-labelledby"] or "" for _, a in parsed.tags if a.get("aria-labelledby")}
    targets |= {a["for"] or "" for _, a in parsed.tags if a.get("for")}
    assert len(ids) == len(set(ids))
    assert targets <= set(ids)
    assert len(parsed.all("svg", **{"class": "line"})) == 2
    assert len(parsed.all("table", **{"class": "changes"})) == 2
    assert len(parsed.all("input")) == 1  # one filter for all
    assert "Keys of idle There are no changes of its keys to show." in parsed.text


def test_a_row_has_all_of_a_change() -> None:
    change = history()[2]

    parsed = Parsed(page(default=history()))

    row = (
        "3 reset 3 2025-10-17 22:36:09 alice@laptop recorded by svc@core-1 "
        "laptop stolen at the airport 28 min 48 s"
    )
    assert f"{row} {change.digest}" in parsed.text
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
        "recorded by svc@core-1; why laptop stolen at the airport; lived 28 min 48 s"
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

    # the current key, too, was made after this page, by its clock
    parsed = Parsed(render(report(), {"default": history(rows)}, made_at=START))

    assert parsed.widths() == [50, 50]
    assert "the clock went back" in parsed.text
    assert "lived the clock went back" in (parsed.segments()[0]["aria-label"] or "")


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

    axis = re.findall(r'y="113" text-anchor="\w+">([^<]*)<', text)
    assert " ".join(axis) == ticks


def test_the_newest_changes_of_many_are_on_a_page_of_less_than_500_bytes_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contents, "_MAX_ROWS", 2_000)
    why = "a reason of some length, as people write them"
    rows = [("reset", day / 9 + (day > 500) * 90, "alice", why) for day in range(2_001)]

    text = page(default=history(rows))

    parsed = Parsed(text)
    assert len(text) < 500 * 2_000
    assert "Of 2,001 changes, the newest 2,000 are shown." in parsed.text
    assert "2,001 changes are more than fit: short neighbours are merged" in parsed.text
    assert len(parsed.all("th", scope="row")) == 2_000 + 1
    assert 20 < len(parsed.segments()) <= 120
    assert min(parsed.widths()) >= 0.44
    assert sum(parsed.widths()) == pytest.approx(100, abs=0.1)


def test_the_rows_of_many_managers_share_the_page() -> None:
    many = {f"tenant-{number:03}": history(WEEKS) for number in range(60)}

    parsed = Parsed(page(**many))

    assert not parsed.segments()
    assert len(parsed.all("tr")) == 60 * (1 + 1 + 8) + 1


def test_a_reset_is_never_lost_among_many_changes() -> None:
    rows = [("rotated", day / 50, "policy", None) for day in range(500)]
    rows[234] = ("reset", 234 / 50, "alice", "laptop stolen")

    parsed = Parsed(page(default=history(rows)))

    resets = [s for s in parsed.segments() if s["class"] == "segment k-reset"]
    assert [s["href"] for s in resets] == ["#m1-235"]
    assert "why laptop stolen" in (resets[0]["aria-label"] or "")


def test_many_resets_keep_their_marks_and_the_newest_ones_their_reasons() -> None:
    rows = [("reset", day / 50, "alice", f"case {day}") for day in range(500)]

    parsed = Parsed(page(default=history(rows)))

    merged = [s for s in parsed.segments() if s["class"] == "segment k-merged"]
    assert len(parsed.all("use", **{"class": "k-reset"})) == len(parsed.segments())
    assert all("; reset " in (s["aria-label"] or "") for s in merged)
    assert "alice: case " in (merged[0]["aria-label"] or "")


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
