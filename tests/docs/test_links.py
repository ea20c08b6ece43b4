"""Links lead somewhere, and every page can be reached."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

_HIDDEN = re.compile(r"^[ \t]*```.*?^[ \t]*```|<!--.*?-->|`[^`\n]*`(?!\])", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*?)(?: \{ #([\w-]+) \})?$", re.MULTILINE)
_IN_NAV = re.compile(r"^ +- .*: (\S+\.md)$|^  - .*: (\S+\.md)$", re.MULTILINE)

EXTERNAL = {
    "https://dashboard.bfl.ai",
    "https://docs.bfl.ml/account_management/credits_billing",
    "https://docs.bfl.ml/account_management/organizations_projects",
    "mailto:flux@blackforestlabs.ai",
}
"""They are only listed here: no test asks them. Look at them by hand before a release."""


def links_of(page: Path) -> list[str]:
    """Where a page leads, code left out."""
    return _LINK.findall(_HIDDEN.sub("", (ROOT / page).read_text("utf-8")))


def is_external(link: str) -> bool:
    return link.startswith(("https://", "http://", "mailto:"))


def slug(title: str) -> str:
    """The anchor that Markdown makes of a heading."""
    plain = re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's own headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {named or slug(title) for title, named in _HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_of_the_page_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    """From a page of the site, only to what is in the site."""
    broken = []
    for link in links_of(page):
        if is_external(link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        in_site = page == Path("README.md") or (ROOT / "docs") in target.resolve().parents
        if not (target.exists() and in_site and (not anchor or anchor in anchors_of(target.resolve()))):
            broken.append(link)
    assert broken == []


def test_links_to_elsewhere_are_those_that_are_listed() -> None:
    """So that somebody looks at a new one."""
    assert {link for page in PAGES for link in links_of(page) if is_external(link)} == EXTERNAL


def test_every_page_is_in_the_navigation_once() -> None:
    """No page is orphaned, and none is promised that is not there."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = [one or other for one, other in _IN_NAV.findall(text)]
    assert sorted(listed) == sorted(
        page.relative_to("docs").as_posix() for page in PAGES if page.parts[0] == "docs"
    )
