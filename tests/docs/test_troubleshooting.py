"""The troubleshooting page quotes sentences as the code has them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
# Stands for what the code fills in, and for what the page leaves out.
GAP = "\0"


@cache
def texts() -> tuple[str, ...]:
    """Returns every text in the code, each expression inside an f-string as one gap."""
    found = []
    for folder in ("platform/refusion", "jobs", "analysis"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found += [text for node in ast.walk(tree) if (text := text_of(node))]
    return tuple(found)


def text_of(node: ast.AST) -> str | None:
    """Returns the text of a literal, or None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or GAP for part in node.values)
    return None


def quoted() -> list[str]:
    """Returns the sentences in the first column of the page's tables."""
    rows = re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [row.replace("\\|", "|") for row in rows]


def stands_in_code(sentence: str) -> bool:
    parts = [re.escape(part.strip()) for part in sentence.split("…") if part.strip()]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in texts())


def test_the_page_has_sentences() -> None:
    assert len(quoted()) > 80


@pytest.mark.parametrize("sentence", quoted())
def test_the_sentence_stands_in_the_code(sentence: str) -> None:
    assert len(re.sub(r"[…\W]", "", sentence)) > 6, "too short to be told from others"
    assert stands_in_code(sentence)


def test_a_sentence_that_the_code_lacks_is_found_out() -> None:
    assert not stands_in_code("--run-name …: there are no names of this length")
