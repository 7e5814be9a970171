from __future__ import annotations

import pytest

from refusion.config.layers import check
from refusion.config.ranges import RangeRule, SourceRanges, parse_ranges
from refusion.errors import UserError


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("", RangeRule(), RangeRule()),
        ("auto", RangeRule(), RangeRule()),
        ("full", RangeRule("full"), RangeRule("full")),
        ("a=data@folder", RangeRule("data", scope="folder"), RangeRule()),
        ("b=percentile:0.5,99 a=full", RangeRule("full"), RangeRule("percentile", 0.5, 99)),
        ("-40,60.5@pair", RangeRule("fixed", -40, 60.5, "pair"), RangeRule("fixed", -40, 60.5, "pair")),
    ],
)
def test_rules_are_read(text: str, a: RangeRule, b: RangeRule) -> None:
    assert parse_ranges(text) == SourceRanges(a, b)
    assert SourceRanges(a, b).of("a") == a
    assert SourceRanges(a, b).of("b") == b


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("wide", "choose auto, full, data, percentile:LOW,HIGH or LOW,HIGH"),
        ("7600,7000", "LOW must be less than HIGH"),
        ("7600", "choose auto"),
        ("0,inf", "both finite"),
        ("percentile:1,101", "between 0 and 100"),
        ("c=full", "a=RULE or b=RULE"),
        ("full a=data", "source a has two rules"),
        ("full@video", "after @ comes picture, pair, folder"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        parse_ranges(text)
    assert "--range" in str(caught.value)


def test_the_setting_is_checked() -> None:
    assert check([{"range": "a=0,16383"}]).range == "a=0,16383"
    with pytest.raises(UserError, match="LOW must be less than HIGH"):
        check([{"range": "2,1"}])
