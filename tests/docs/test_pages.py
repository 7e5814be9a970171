"""The README and the pages: short enough, no dead link, a picture that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def targets(page: Path) -> list[str]:
    """Returns the relative targets of a page's links and pictures."""
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as mkdocs and GitHub both make them of plain words."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def test_every_page_is_in_the_navigation() -> None:
    content = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def files(entries: list[dict[str, object]]) -> set[str]:
        found: set[str] = set()
        for entry in entries:
            for value in entry.values():
                found |= files(value) if isinstance(value, list) else {str(value)}
        return found

    assert files(content["nav"]) == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_the_picture_is_small() -> None:
    assert 10_000 < (ROOT / "docs" / "images" / "fused.jpg").stat().st_size < 150_000
