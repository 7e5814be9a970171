from __future__ import annotations

import pytest

from refusion.errors import UserError
from refusion.results.template import fill, part_names

PAGE = "# Head\n\nprose\n\n<!-- table: one -->\nold\n<!-- end -->\n\nmore\n\n<!-- table: two 2 -->\n<!-- end -->\n"


def test_parts_are_made_anew_and_prose_is_kept() -> None:
    filled = fill(PAGE, lambda name: f"{name}!\n\n")
    assert filled == PAGE.replace("old\n", "\none!\n\n").replace("two 2 -->\n", "two 2 -->\n\ntwo 2!\n\n")
    assert fill(filled, lambda _: None) == filled
    assert fill(filled, lambda name: f"{name}!") == filled
    assert part_names(filled) == ["one", "two 2"]


def test_backslashes_of_a_table_stay() -> None:
    assert r"a\_b \1" in fill(PAGE, lambda _: r"a\_b \1")


@pytest.mark.parametrize("page", [PAGE.replace("<!-- end -->", "", 1), PAGE + "<!-- table: three -->\n"])
def test_a_part_without_its_end_is_refused(page: str) -> None:
    with pytest.raises(UserError, match="lacks its line <!-- end -->"):
        fill(page, lambda _: "new")
