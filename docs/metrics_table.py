"""Replaces the line `<!-- metrics -->` of a page by the table of all metrics, from the catalogue."""

from __future__ import annotations

from typing import Any

from refusion.metrics.listing import markdown_table

PLACE = "<!-- metrics -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns the page's text with the table in its place; mkdocs calls this for every page."""
    return markdown.replace(PLACE, markdown_table()) if PLACE in markdown else markdown
