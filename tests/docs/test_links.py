"""Every link in README, CHANGELOG and docs leads to a page and an anchor that there is."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))]
MOST_CLICKS = 2


def prose_of(page: Path) -> str:
    """The text of a page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", lambda code: re.sub(r"[\[\]()#]", "", code[0]), text)


def links_of(page: Path) -> list[str]:
    return re.findall(r"\]\(<?([^)\s>]+)>?\)", prose_of(page))


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's `toc` and GitHub both make them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.M)
    titles = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s]+", "-", title) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)

    assert broken == []


def test_every_page_is_at_most_two_clicks_from_the_front_page() -> None:
    seen = {DOCS / "index.md"}
    for _ in range(MOST_CLICKS):
        paths = [(page, link.partition("#")[0]) for page in seen for link in links_of(page)]
        seen |= {(page.parent / path).resolve() for page, path in paths if path.endswith(".md")}

    assert [str(page) for page in DOCS.rglob("*.md") if page not in seen] == []


def test_no_page_of_the_site_links_to_what_is_not_in_it() -> None:
    outside = {
        link
        for page in DOCS.rglob("*.md")
        for link in links_of(page)
        if not re.match(r"[a-z]+:|#", link)
        and not (page.parent / link.partition("#")[0]).resolve().is_relative_to(DOCS)
    }

    assert outside == set()


def test_every_page_has_its_place_in_the_navigation() -> None:
    _, _, navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")

    placed = re.findall(r"[\w/.-]+\.md$", navigation, re.M)

    assert sorted(placed) == sorted(
        page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")
    )
