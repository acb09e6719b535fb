"""The page of an audit in the real Chromium: how it behaves, and that all can read it.

`python -m tests.api.test_report_in_chromium docs/audit.png` makes the picture in docs/.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn import Service
from keyturn.projections.findings import Finding, FindingKind
from keyturn.projections.unproven import Unproven
from keyturn.report import render
from tests.api.chromium import AXE, Browser, needs_axe, needs_chromium, running_browser
from tests.api.reports import HOSTILE, MADE, WEEKS, history, page

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def test_the_table_sorts_and_filters(browser: Browser) -> None:
    seen = browser.drive(
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
        "byInitiator": sorted(f"{row[2]} recorded by svc@core-1" for row in WEEKS),
        "filtered": ["laptop stolen at the airport"],
        "count": "1 of 8",
        "byDigest": ["5"],
        "none": [0, False],
        "revealed": 8,
    }


def test_who_and_why_are_shown_by_pointer_and_by_keyboard(browser: Browser) -> None:
    seen = browser.drive(
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


def test_a_script_in_a_reason_is_shown_and_does_not_run(
    browser: Browser, service: Service
) -> None:
    for payload in HOSTILE:
        service.reset_key(reason=payload, initiator=payload[:200])
    text = render(service.audit(), {"default": list(service.history())}, made_at=MADE)
    no_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)

    seen = browser.drive(
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
        "scripts": 1,
        "why": sorted(["", *HOSTILE]),
    }


def test_the_policy_stops_a_script_that_is_not_ours(browser: Browser) -> None:
    alien = "<script>document.title='run'</script><p onclick=''></p></body>"

    seen = browser.drive(
        page(default=history()).replace("</body>", alien),
        'seen.title = document.title; seen.ours = $("button") !== null;',
    )

    assert seen == {"title": "The record holds: Keyturn audit", "ours": True}


def test_what_is_not_genuine_sorts_to_its_place(browser: Browser) -> None:
    gone = Finding(FindingKind.MISSING, 3, "default", "2 events are missing", last=4)
    rest = [change for change in history() if change.position not in (3, 4)]

    seen = browser.drive(
        page(gone, default=rest),
        '$(".changes thead button").click(); seen.order = column(0);',
    )

    assert seen == {"order": ["1", "2", "3 to 4", "5", "6", "7", "8"]}


def test_one_filter_is_for_all_managers_and_hides_those_without_a_match(browser: Browser) -> None:
    seen = browser.drive(
        page(web=history(), cli=history(WEEKS[:1])),
        """
        const input = $(".filter input"), type = (text) => {
          input.value = text; input.dispatchEvent(new Event("input"));
        };
        const shown = () => $$(".manager").filter((s) => !s.hidden).map((s) => s.id);
        seen.all = shown();
        type("generated"); seen.both = $(".filter output").textContent;
        type("web generated"); seen.named = [shown(), $(".filter output").textContent];
        $("a[href='#m1']").dispatchEvent(new MouseEvent("click", {bubbles: true}));
        seen.revealed = shown();
        """,
    )

    assert seen == {
        "all": ["m1", "m2"],
        "both": "2 of 9",
        "named": [["m2"], "1 of 9"],
        "revealed": ["m1", "m2"],
    }


def test_many_changes_sort_and_filter_in_the_browser(browser: Browser) -> None:
    rows = [("reset", day / 9, f"user-{day % 7}", f"ticket-{day:05}") for day in range(1_500)]

    seen = browser.drive(
        page(default=history(rows)),
        """
        $$("thead button")[3].click();
        seen.first = $(".changes tbody tr").cells[0].textContent;
        const input = $(".filter input");
        input.value = "user-3 ticket-014"; input.dispatchEvent(new Event("input"));
        seen.count = $(".filter output").textContent;
        """,
    )

    expected = sum(day % 7 == 3 for day in range(1_400, 1_500))
    assert seen == {"first": "1", "count": f"{expected} of 1,500"}


def full_page() -> str:
    """A page with a part of everything: two managers, findings, rows that are not genuine."""
    said = Unproven("reset", "default", 3, "2025-10-17", "eve", "eve@evil", "x" * 300, "v-other")
    long = [("rotated", day / 9, "rotation policy", "daily " * 60) for day in range(300)]
    web = [
        dataclasses.replace(change, kind="session ended", sid="s" * 30, lifetime=None)
        if change.position % 7 == 3
        else change
        for change in history(long)
    ]
    findings = (
        Finding(FindingKind.FOREIGN, 3, "default", "signed by another node", None, said),
        Finding(FindingKind.MISSING, 9, "default", "3 events are missing", last=11),
        Finding(FindingKind.CLOCK, 2, "default", "the clock went back by 0:00:09"),
        Finding(FindingKind.FOREIGN, None, None, "unknown topic 'x'", None, Unproven("x")),
    )
    return page(*findings, default=history(), web=web)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (768, "dark"), (1200, "light")])
def test_the_page_can_be_read_at_each_width(browser: Browser, width: int, scheme: str) -> None:
    seen = browser.drive(
        full_page(),
        """
        const box = (e) => e.getBoundingClientRect();
        const overlap = (a, b) => a.left < b.right && b.left < a.right
          && a.top < b.bottom && b.top < a.bottom;
        seen.sideways = document.documentElement.scrollWidth > innerWidth
          || $$(".scroll").some((e) => e.scrollWidth > e.clientWidth);
        const why = $$(".changes tbody td:nth-child(6)").map((cell) => box(cell).width);
        seen.narrowestWhy = Math.min(...why);
        const shown = (css, line) => [...line.querySelectorAll(css)].filter((e) => box(e).width);
        seen.collisions = $$(".line").flatMap((line) => {
          const texts = shown(".axis text", line).map(box), marks = shown("use", line).map(box);
          return texts.flatMap((text, n) => [...texts.slice(n + 1), ...marks]
            .filter((other) => overlap(text, other)));
        }).length;
        """,
        width=width,
        scheme=scheme,
    )

    assert seen.pop("narrowestWhy") >= min(300, 0.6 * width)
    assert seen == {"sideways": False, "collisions": 0}


@needs_axe
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_axe_finds_nothing(browser: Browser, width: int, scheme: str) -> None:
    axe = AXE.read_text("utf-8")

    seen = browser.drive(
        full_page(),
        f"""
        {axe}
        const found = await axe.run(document, {{resultTypes: ["violations"]}});
        seen.passed = found.passes.length > 10;
        seen.violations = found.violations.map((v) => [v.id, v.nodes[0].html.slice(0, 200),
          v.nodes[0].failureSummary]);
        """,
        width=width,
        scheme=scheme,
    )

    assert seen == {"passed": True, "violations": []}


@pytest.mark.parametrize(
    ("scheme", "paper"), [("dark", "rgb(18, 21, 26)"), ("light", "rgb(243, 241, 236)")]
)
def test_the_page_is_dark_where_people_want_it_dark(
    browser: Browser, scheme: str, paper: str
) -> None:
    seen = browser.drive(
        page(default=history()),
        "seen.paper = getComputedStyle(document.body).backgroundColor;",
        scheme=scheme,
    )

    assert seen == {"paper": paper}


def make_picture(target: Path) -> None:
    """Make a picture of a report, a key's who and why shown."""
    show = '$$(".segment")[2].dispatchEvent(new PointerEvent("pointerenter"));'
    with running_browser() as browser:
        picture = browser.picture(page(default=history()), show, width=1200, height=1420)
    target.write_bytes(picture)


if __name__ == "__main__":
    make_picture(Path(sys.argv[1]))
