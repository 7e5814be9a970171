"""A hand-written page with generated parts: what stands between two markers is made anew, all else is kept."""

from __future__ import annotations

import re
from collections.abc import Callable

from refusion.errors import UserError

_PART = re.compile(r"(<!-- table: (?P<name>[^>]+?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
_OPENING = re.compile(r"<!-- table: ")


def fill(page: str, make: Callable[[str], str | None]) -> str:
    """Returns the page with each part made anew.

    Args:
        page: Markdown with parts ``<!-- table: NAME -->`` … ``<!-- end -->``, each marker on a line of its own.
        make: returns the part of that name, or None where it is to stay as it is.

    Raises:
        UserError: a part has no end, or ``make`` knows no part of that name.

    >>> fill("before\\n<!-- table: one -->\\nold\\n<!-- end -->\\nafter", lambda name: f"new {name}")
    'before\\n<!-- table: one -->\\n\\nnew one\\n\\n<!-- end -->\\nafter'
    """

    def replace(found: re.Match[str]) -> str:
        if _OPENING.search(found["body"]):
            raise UserError(f"the part {found['name']!r} lacks its line <!-- end -->")
        made = make(found["name"])
        return found[0] if made is None else f"{found[1]}\n{made.rstrip()}\n\n{found[4]}"

    filled = _PART.sub(replace, page)
    if len(_OPENING.findall(page)) != len(_PART.findall(page)):
        raise UserError("a part of the page lacks its line <!-- end -->")
    return filled


def part_names(page: str) -> list[str]:
    """Returns the names of the page's parts, in their order."""
    return [found["name"] for found in _PART.finditer(page)]
