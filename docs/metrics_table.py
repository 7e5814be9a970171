"""Replaces the line `<!-- metrics -->` of a page by the table of all metrics, from the catalogue.

Run as a program, it writes the lists of metrics and baselines anew that ``--help`` shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import refusion
from refusion.baselines import BASELINES
from refusion.metrics.listing import help_text, markdown_table

PLACE = "<!-- metrics -->"
TEXTS = Path(refusion.__file__).parent / "cli" / "texts"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns the page's text with the table in its place; mkdocs calls this for every page."""
    return markdown.replace(PLACE, markdown_table()) if PLACE in markdown else markdown


def help_texts() -> dict[str, str]:
    """Returns the lists that ``--help`` shows, by name: to make them takes PyTorch, and PyTorch takes seconds."""
    baselines = "\n".join(f"  {name}: {baseline.title}" for name, baseline in BASELINES.items())
    return {"baselines": f"{baselines}\n", "metrics": f"{help_text()}\n"}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in help_texts().items():
        (TEXTS / f"{name}.txt").write_text(text, encoding="utf-8")
